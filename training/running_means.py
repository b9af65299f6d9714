"""Smoothed losses of a run."""

from __future__ import annotations

import torch
from torch import Tensor

SMOOTHING = 0.98


class RunningMeans:
    """Smoothed loss terms of one network, kept on its device: nothing waits for them until they are read."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._values: Tensor | None = None
        self._count = 0

    @torch.no_grad()
    def add(self, terms: dict[str, Tensor]) -> None:
        """The terms of one step."""
        values = torch.stack([value.float() for value in terms.values()])
        if self._names != list(terms) or self._values is None:
            self._names, self._values, self._count = list(terms), values, 1
            return
        self._count += 1
        # A plain mean at first: the first step of all would stay in sight for hundreds of others.
        weight = max(1 - SMOOTHING, 1 / self._count)
        before = self._values.to(values.device)
        # Single bad steps (see FlatGradients.clip) must not stay in the mean.
        self._values = before.lerp(values, weight).where(torch.isfinite(values), before)

    def restore(self, values: dict[str, float]) -> None:
        """Go on from what `read` gave."""
        if values:
            self._names, self._values = list(values), torch.tensor(list(values.values()))
            self._count = round(1 / (1 - SMOOTHING))

    def read(self) -> dict[str, float]:
        """Waits for the device."""
        return {} if self._values is None else dict(zip(self._names, self._values.tolist(), strict=True))
