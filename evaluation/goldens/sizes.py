"""Sizes read off a state dict, so that a golden file need not spell them out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import torch
from numpy.typing import NDArray
from torch import Tensor, nn


def count_indices(keys: Iterable[str], pattern: str) -> int:
    """How many numbers the pattern's first group takes among the keys (0, 1, ... up to the largest)."""
    return 1 + max((int(found[1]) for key in keys if (found := re.search(pattern, key))), default=-1)


def count_per_stage(keys: Iterable[str], pattern: str) -> tuple[int, ...]:
    """Blocks of each stage; the pattern's groups are the stage and the block."""
    blocks: dict[int, int] = {}
    for key in keys:
        if found := re.search(pattern, key):
            stage, block = int(found[1]), int(found[2])
            blocks[stage] = max(blocks.get(stage, 0), block + 1)
    return tuple(blocks.get(stage, 0) for stage in range(1 + max(blocks, default=-1)))


def hidden_ratio(fc1: NDArray[object]) -> float:
    """Hidden width of an MLP over its width (a hair more, since networks round the product down)."""
    hidden, width = fc1.shape[:2]
    return hidden / width * (1 + 1e-9)


def with_absent_biases(state: Mapping[str, Tensor], net: nn.Module, pattern: str = r"qkv\.bias$") -> dict[str, Tensor]:
    """Zeros for biases that the official network was built without: ours always has them."""
    absent = {
        key: torch.zeros_like(value)
        for key, value in net.state_dict().items()
        if key not in state and re.search(pattern, key)
    }
    return dict(state) | absent
