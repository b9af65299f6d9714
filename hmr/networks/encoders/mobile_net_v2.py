"""MobileNetV2 as MoveNet has it: an encoder that can begin with features of real people.

Sources: MobileNetV2 (Sandler et al. 2018, arXiv 1801.04381); feature pyramid (Lin et al. 2017, arXiv 1612.03144). The
layout is that of Google's MoveNet singlepose v4 (Apache-2.0), read off its published graph: batch normalisation is
folded into the convolutions, strided convolutions pad on the right and below only, and the pyramid takes the last map
of each stride but for stride 16, where it takes the 64-channel map before the 96-channel blocks. Stages end where the
pyramid reads, so that a network cut after a stage still has its map.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bodycast.hmr.networks.encoders.common import MapNorm, check_cut, check_images, map_norms
from bodycast.hmr.networks.layers import IMAGENET_MEAN, IMAGENET_STD

EXPANSION = 6
# Per stage: (channels at width 1, blocks, stride of the first block) of its groups of blocks.
STAGES: tuple[tuple[tuple[int, int, int], ...], ...] = (
    ((24, 2, 2),),
    ((32, 3, 2),),
    ((64, 4, 2),),
    ((96, 3, 1), (160, 3, 2), (320, 1, 1)),
)
STEM, FIRST, LAST = 32, 16, 1280


WIDTHS = {"lightning": 1.0, "thunder": 1.75}
"""Factors on the channels of all layers but the last, by MoveNet's names."""


def scaled(channels: int, width: float) -> int:
    """Channels times width, to the nearest multiple of 8 that is not below nine tenths of it (MobileNetV2's rule)."""
    wanted = channels * width
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * wanted else rounded


class SameConv(nn.Conv2d):
    """A convolution that pads as TensorFlow's SAME does: for stride 2 and even sizes, on the right and below only."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, bias: bool = True):
        padding = kernel // 2 if stride == 1 else 0
        super().__init__(inputs, outputs, kernel, stride, padding, groups=groups, bias=bias)

    def forward(self, input: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H / stride, W / stride)."""
        return super().forward(F.pad(input, (0, 1, 0, 1)) if self.stride[0] == 2 else input)


class InvertedResidual(nn.Module):
    """Expand, filter each channel, project; added to its input where the shape stays."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int = EXPANSION) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.expand = SameConv(inputs, hidden, 1) if expansion != 1 else None
        self.filter = SameConv(hidden, hidden, 3, stride, groups=hidden)
        self.project = SameConv(hidden, outputs, 1)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H / stride, W / stride)."""
        hidden = x if self.expand is None else F.relu6(self.expand(x))
        out = self.project(F.relu6(self.filter(hidden)))
        return x + out if self.residual else out


class MobileNetV2(nn.Module):
    """The first `stages` stages of MobileNetV2 in MoveNet's layout.

    Args:
        width: factor on the channels: 1 in MoveNet lightning, 1.75 in thunder.
        stages: how many stages to keep; their strides are 4, 8, 16, 32.
        image_hw: input height and width in pixels, multiples of the last stride.
        norm: which maps get a LayerNorm over their channels (`none`, `last`, `all`); MoveNet has none.

    Attributes:
        feature_info: (channels, stride) per kept stage.

    Images are ImageNet-normalised as for all encoders here; MoveNet's own range of -1..1 is restored inside.
    """

    centre: Tensor
    scale: Tensor

    def __init__(
        self,
        width: float = 1.0,
        stages: int = 4,
        image_hw: tuple[int, int] = (256, 192),
        norm: MapNorm = "none",
    ) -> None:
        super().__init__()
        check_cut(stages, len(STAGES))
        least = 2 ** (stages + 1)
        if any(side % least or side <= 0 for side in image_hw):
            raise ValueError(f"image_hw: expected multiples of {least}, got {image_hw[0]}x{image_hw[1]}")
        self.image_hw = image_hw
        mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
        self.register_buffer("scale", (2 * std).view(3, 1, 1), persistent=False)
        self.register_buffer("centre", (2 * mean - 1).view(3, 1, 1), persistent=False)
        channels = scaled(STEM, width)
        first = scaled(FIRST, width)
        self.stem = SameConv(3, channels, 3, 2)
        self.first = InvertedResidual(channels, first, 1, expansion=1)
        channels, stride = first, 2
        self.stages = nn.ModuleList()
        self.feature_info: list[tuple[int, int]] = []
        for groups in STAGES[:stages]:
            blocks: list[nn.Module] = []
            for base, count, step in groups:
                for index in range(count):
                    outputs = scaled(base, width)
                    blocks.append(InvertedResidual(channels, outputs, step if index == 0 else 1))
                    channels = outputs
                stride *= step
            self.stages.append(nn.Sequential(*blocks))
            self.feature_info.append((channels, stride))
        self.last = None
        if stages == len(STAGES):
            self.last = SameConv(channels, LAST, 1)
            self.feature_info[-1] = (self.last.out_channels, stride)
        self.norms = map_norms(self.feature_info, norm, 1e-5)

    def forward(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) -> one map (B, channels, H / stride, W / stride) per kept stage, fine to coarse."""
        check_images(images, self.image_hw)
        return self.maps(images * self.scale + self.centre)

    def maps(self, images: Tensor) -> list[Tensor]:
        """The same for images in MoveNet's range, -1..1."""
        x = self.first(F.relu6(self.stem(images)))
        maps: list[Tensor] = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        if self.last is not None:
            maps[-1] = F.relu6(self.last(maps[-1]))
        return [norm(one) for norm, one in zip(self.norms, maps, strict=True)]


class Separable(nn.Module):
    """A 3x3 filter per channel, then a 1x1 convolution and a ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.filter = SameConv(inputs, inputs, 3, groups=inputs, bias=False)
        self.project = SameConv(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H, W)."""
        return F.relu(self.project(self.filter(x)))


class FeaturePyramid(nn.Module):
    """MoveNet's pyramid: from stride 32 to the stride-4 map that its heads read.

    channels: of the encoder's four maps, fine to coarse. Lateral maps keep their encoder's channels, each step up ends
    with those of the next finer map.
    """

    def __init__(self, channels: Sequence[int], lateral: Sequence[int], finest: int) -> None:
        """lateral: channels of the merged maps at strides 16, 8 and 4. finest: channels of the result."""
        super().__init__()
        self.top = SameConv(channels[3], lateral[0], 1)
        self.lateral = nn.ModuleList(SameConv(channels[2 - i], lateral[i], 1) for i in range(3))
        outputs = (*lateral[1:], finest)
        self.smooth = nn.ModuleList(Separable(lateral[i], outputs[i]) for i in range(3))

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Four maps, fine to coarse -> the merged map (B, finest, H / 4, W / 4)."""
        merged = self.top(maps[3])
        for i, (lateral, smooth) in enumerate(zip(self.lateral, self.smooth, strict=True)):
            above = F.interpolate(merged, scale_factor=2.0, mode="bilinear", align_corners=False)
            merged = smooth(above + lateral(maps[2 - i]))
        return merged
