"""Outputs of engines that are not finite: their rows are left out and counted, and too many in a row end the run."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from bodycast.app.errors import RunError
from bodycast.app.records import BodyEstimates
from bodycast.engines.package import Tensor

MAX_EMPTY_OUTPUTS = 60
"""Outputs in a row without one finite row, after which the engine counts as broken."""

MOST_SKEW, MOST_BETA, FARTHEST_M = 0.5, 100.0, 1e6
"""How far a rotation times its transpose may be from one; shape coefficients are standard deviations."""


class FiniteRows:
    """Counts over a run. Used by one thread."""

    def __init__(self) -> None:
        self._left_out = self._empty_outputs = self._absurd = 0

    def believable(self, estimates: BodyEstimates) -> BodyEstimates:
        """The bodies that could be somebody's: finite, rotations that turn, a shape and a place within wide limits. The
        others are left out and counted."""
        if len(estimates) == 0:
            return estimates
        with np.errstate(all="ignore"):
            squared = np.swapaxes(estimates.pose, -1, -2) @ estimates.pose - np.eye(3, dtype=np.float32)
            sane = np.abs(squared).reshape(len(estimates), -1).max(axis=1) < MOST_SKEW
            sane &= np.abs(estimates.betas).max(axis=1) < MOST_BETA
            sane &= np.abs(estimates.transl_m).max(axis=1) < FARTHEST_M
        if sane.all():
            return estimates
        self._absurd += int((~sane).sum())
        return estimates.select(sane)

    def of(self, outputs: Mapping[str, Tensor], who: str) -> NDArray[np.bool_]:
        """(N,) which rows are finite in every array (N, ...). who: the engine, in words.

        Raises: RunError where nothing finite has come MAX_EMPTY_OUTPUTS times in a row.
        """
        rows = [np.isfinite(array).reshape(len(array), -1).all(axis=1) for array in outputs.values()]
        finite = np.logical_and.reduce(rows)
        self._left_out += int((~finite).sum())
        self._empty_outputs = 0 if finite.any() else self._empty_outputs + 1
        if self._empty_outputs >= MAX_EMPTY_OUTPUTS:
            name = next(name for name, array in outputs.items() if not np.isfinite(array).all())
            raise RunError(
                f"{who}: output {name!r} has values that are not finite, "
                f"{MAX_EMPTY_OUTPUTS} times in a row; try another --engine or export the package again"
            )
        return finite

    @property
    def warnings(self) -> tuple[str, ...]:
        """What went wrong without ending the run."""
        lines: list[str] = []
        if self._left_out:
            lines.append(f"{self._left_out} bodies were left out: the engine's output was not finite")
        if self._absurd:
            lines.append(f"{self._absurd} bodies were left out: their pose, shape or place cannot be")
        return tuple(lines)
