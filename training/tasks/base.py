"""What every task has: a loss on a batch, helper modules that are thrown away afterwards, a score."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor, nn

from bodycast.hmr.body.body_model import EMBEDDED_BODY
from training.batch import Batch
from training.config import Recipe
from training.losses import Truth


class Task(nn.Module):
    """Knows how a kind of network learns. `helper` holds what learns along and is thrown away afterwards."""

    main_score = "error_2d_percent"

    def __init__(self, recipe: Recipe, body: Path = EMBEDDED_BODY) -> None:
        """body: the file of the body that labels and answers are shapes of."""
        super().__init__()
        self.recipe, self.body_file = recipe, body
        self.helper: nn.Module = nn.Module()

    def prepare(self, net: nn.Module) -> None:
        """Fit the helper modules to a new network; called once."""

    def fast_modules(self, net: nn.Module) -> list[nn.Module]:
        """Modules that learn at the full rate."""
        return [net, self.helper]

    def slow_modules(self, net: nn.Module) -> list[nn.Module]:
        """Modules that learn at a fraction of it (see optimiser.py)."""
        del net
        return []

    def predict(self, net: nn.Module, batch: Batch):
        """All outputs that the loss needs; runs under autocast, and is what `--compile` compiles."""
        raise TypeError(f"{type(self).__name__} does not say how to predict")

    def truth(self, batch: Batch) -> Truth | None:
        """What the labels say, for `loss`; the same for all tasks, so that several networks can share it."""
        del batch
        return None

    def loss(self, predicted, batch: Batch, truth: Truth | None, body_scale: float) -> tuple[Tensor, dict[str, Tensor]]:
        """The sum to minimise and its terms, detached; a `total` among them is logged instead of the sum."""
        raise TypeError(f"{type(self).__name__} does not say what it minimises")

    def score(self, net: nn.Module, batches: Iterable[Batch]) -> dict[str, float]:
        """Scores of a network on undisturbed batches."""
        raise TypeError(f"{type(self).__name__} does not say how it is scored")


def autocast(device: torch.device) -> torch.autocast:
    """bfloat16 where it is safe, on either device."""
    return torch.autocast(device.type, torch.bfloat16)
