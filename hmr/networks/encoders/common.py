"""What every hierarchical encoder shares: argument checks and the norms on its maps."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from bodycast.hmr.networks.layers import ChannelNorm

MapNorm = Literal["none", "last", "all"]


def check_cut(stages: int, available: int) -> None:
    """Raise ValueError unless a network of `available` stages can be cut after `stages`."""
    if not 1 <= stages <= available:
        raise ValueError(f"cannot cut after stage {stages}: the network has stages 1 to {available}")


def check_images(images: Tensor, image_hw: tuple[int, int]) -> None:
    """Raise ValueError unless `images` is (B, 3, height, width) of the size the network was built for."""
    if images.ndim != 4 or tuple(images.shape[1:]) != (3, *image_hw):
        raise ValueError(f"images must be (B, 3, {image_hw[0]}, {image_hw[1]}), got {tuple(images.shape)}")


def map_norms(feature_info: list[tuple[int, int]], which: MapNorm, eps: float) -> nn.ModuleList:
    """One LayerNorm over channels, or nothing, per map.

    The papers leave open what stands between a truncated encoder and its decoder. Residual streams grow with depth
    and the decoder reads them raw, so the last map is normed by default; `all` is for decoders that read several.
    """
    last = len(feature_info) - 1
    return nn.ModuleList(
        ChannelNorm(channels, eps) if which == "all" or (which == "last" and i == last) else nn.Identity()
        for i, (channels, _) in enumerate(feature_info)
    )
