"""The backbone of NanoDet-g, a CSPNet of 3x3 convolutions: an encoder that can begin with features of a detector.

Sources: cross stage partial networks (Wang et al. 2019, arXiv 1911.11929); the layout is that of NanoDet-g (Apache-2.0,
github.com/RangiLyu/nanodet), read off its published graph, batch normalisation folded into the convolutions.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

SLOPE = 0.1
STEM = 32
STAGES: tuple[tuple[int, int, int], ...] = ((32, 1, 1), (64, 2, 2), (128, 2, 2), (256, 3, 2))
"""Per stage: channels, pairs of convolutions, stride of the first one. Its map has twice the channels."""


def convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """3x3, LeakyReLU."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1), nn.LeakyReLU(SLOPE, True))


class CspStage(nn.Module):
    """A first convolution, pairs of convolutions of half the width, each pair put together, and one over the last
    pair, beside the first one's map."""

    def __init__(self, inputs: int, channels: int, pairs: int, stride: int) -> None:
        super().__init__()
        half = channels // 2
        self.first = convolution(inputs, channels, stride)
        self.pairs = nn.ModuleList(
            nn.ModuleList([convolution(channels, half), convolution(half, half)]) for _ in range(pairs)
        )
        self.last = convolution(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, 2 channels, H / stride, W / stride)."""
        first = x = self.first(x)
        for pair in self.pairs:
            one = pair[0](x)
            x = torch.cat([pair[1](one), one], 1)
        return torch.cat([self.last(x), first], 1)


class CspNet(nn.Module):
    """ImageNet-normalised pictures (B, 3, H, W), RGB -> maps at strides 4, 8, 16 and 32.

    Attributes:
        feature_info: (channels, stride) per map.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = convolution(3, STEM, 2)
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.stages = nn.ModuleList()
        self.feature_info: list[tuple[int, int]] = []
        inputs, stride = STEM, 4
        for channels, pairs, step in STAGES:
            self.stages.append(CspStage(inputs, channels, pairs, step))
            inputs, stride = 2 * channels, stride * step
            self.feature_info.append((inputs, stride))

    def forward(self, images: Tensor) -> list[Tensor]:
        """See the class; fine to coarse."""
        x = self.pool(self.stem(images))
        maps: list[Tensor] = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps
