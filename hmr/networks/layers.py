"""Small layers that several networks share."""

from __future__ import annotations

import torch
from torch import Tensor, nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Of the pixels 0..1, RGB: what all encoders' images are normalised with."""


class Mlp(nn.Module):
    """Linear, GELU, Linear over the last axis (`fc1`, `fc2`: key names of HMR2.0, Swin and VMamba)."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(..., dim) -> (..., dim)."""
        return self.fc2(self.act(self.fc1(x)))


class DropPath(nn.Module):
    """Stochastic depth: in training, zero a residual branch for a random share `rate` of the batch items.

    Kept items are scaled by 1 / (1 - rate), so evaluation needs no correction (Huang et al. 2016).
    """

    def __init__(self, rate: float = 0.0) -> None:
        super().__init__()
        if not 0.0 <= rate < 1.0:
            raise ValueError(f"drop-path rate must lie in [0, 1), got {rate}")
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """(B, ...) -> (B, ...)."""
        if self.rate == 0.0 or not self.training:
            return x
        keep = 1.0 - self.rate
        mask = torch.empty((x.shape[0],) + (1,) * (x.ndim - 1), dtype=x.dtype, device=x.device)
        return x * mask.bernoulli_(keep) / keep


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of a map."""

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__(channels, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def drop_path_rates(highest: float, depth: int) -> list[float]:
    """Rates that rise linearly from 0 at the first block to `highest` at the last, as the papers do."""
    return [highest * i / max(depth - 1, 1) for i in range(depth)]


def init_linear(module: nn.Module) -> None:
    """Truncated normal (std 0.02) weights and zero biases for linear layers; for `module.apply`."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def tokens_to_map(tokens: Tensor, grid_hw: tuple[int, int]) -> Tensor:
    """Row-major tokens (B, H*W, C) -> map (B, C, H, W)."""
    return tokens.transpose(1, 2).unflatten(2, grid_hw)


def map_to_tokens(feature_map: Tensor) -> Tensor:
    """Map (B, C, H, W) -> row-major tokens (B, H*W, C)."""
    return feature_map.flatten(2).transpose(1, 2)
