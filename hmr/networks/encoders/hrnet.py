"""HRNet: maps of four resolutions side by side, which exchange what they see after every module.

Source: Wang et al. 2020, arXiv 1908.07919. Parameter names are those of the released networks, so their files load as
they are. `HrNet` ends as CameraHMR's field-of-view network has it (Patel and Black 2024, arXiv 2411.08128): the three
finer maps are brought down to the coarsest one's size by strided convolutions and joined to it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STEM_WIDTH = 64
BLOCKS = 4
MODULES = (1, 4, 3)
"""Of the published networks."""


def _conv(inputs: int, outputs: int, side: int = 3, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, side, stride, side // 2, bias=False)


def _conv_norm(inputs: int, outputs: int, side: int = 3, stride: int = 1, relu: bool = True) -> nn.Sequential:
    layers = [_conv(inputs, outputs, side, stride), nn.BatchNorm2d(outputs)]
    return nn.Sequential(*layers, nn.ReLU()) if relu else nn.Sequential(*layers)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions, added to the input: (B, width, H, W) to the same."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = _conv(width, width), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = _conv(width, width), nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        inner = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(inner)) + x)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions to four times `width`, added to the input: (B, inputs, H, W) to (B, 4 width, H,
    W)."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = _conv(inputs, width, 1), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = _conv(width, width), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = _conv(width, 4 * width, 1), nn.BatchNorm2d(4 * width)
        self.downsample = None if inputs == 4 * width else _conv_norm(inputs, 4 * width, 1, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        inner = F.relu(self.bn1(self.conv1(x)))
        inner = F.relu(self.bn2(self.conv2(inner)))
        inner = self.bn3(self.conv3(inner))
        return F.relu(inner + (x if self.downsample is None else self.downsample(x)))


class ExchangeModule(nn.Module):
    """A few blocks in every branch; then each branch becomes the sum of all, brought to its size."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(nn.Sequential(*(BasicBlock(width) for _ in range(BLOCKS))) for width in widths)
        self.fuse_layers = nn.ModuleList(
            nn.ModuleList(_to_branch(widths, source, target) for source in range(len(widths)))
            for target in range(len(widths))
        )

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """One map (B, widths[i], H / 2^i, W / 2^i) a branch, to the same."""
        maps = [branch(x) for branch, x in zip(self.branches, maps, strict=True)]
        fused: list[Tensor] = []
        for layers in self.fuse_layers:
            total = layers[0](maps[0])
            for layer, x in zip(layers[1:], maps[1:], strict=True):
                total = total + layer(x)
            fused.append(F.relu(total))
        return fused


def _to_branch(widths: Sequence[int], source: int, target: int) -> nn.Module:
    """From one branch's map to the size and width of another's."""
    if source == target:
        return nn.Identity()
    if source > target:
        layers = _conv_norm(widths[source], widths[target], 1, relu=False)
        return layers.append(nn.Upsample(scale_factor=2 ** (source - target), mode="nearest"))
    last = target - source - 1
    return nn.Sequential(
        *(
            _conv_norm(widths[source], widths[target if i == last else source], stride=2, relu=i != last)
            for i in range(last + 1)
        )
    )


class HrNet(nn.Module):
    """Normalised images (B, 3, H, W), sides multiples of 32, to one map (B, 15 width, H / 32, W / 32).

    width: of the finest branch, 48 for HRNet-W48; each coarser one has twice the width of the one before. modules: in
    the stages of two, three and four branches.
    """

    def __init__(self, width: int = 48, modules: Sequence[int] = MODULES) -> None:
        super().__init__()
        widths = [width * 2**i for i in range(4)]
        self.channels = sum(widths)
        self.conv1, self.bn1 = _conv(3, STEM_WIDTH, stride=2), nn.BatchNorm2d(STEM_WIDTH)
        self.conv2, self.bn2 = _conv(STEM_WIDTH, STEM_WIDTH, stride=2), nn.BatchNorm2d(STEM_WIDTH)
        inputs = [STEM_WIDTH] + [4 * STEM_WIDTH] * (BLOCKS - 1)
        self.layer1 = nn.Sequential(*(Bottleneck(count, STEM_WIDTH) for count in inputs))
        stem = 4 * STEM_WIDTH
        self.transition1 = nn.ModuleList(
            [_conv_norm(stem, widths[0]), nn.Sequential(_conv_norm(stem, widths[1], stride=2))]
        )
        self.transition2, self.transition3 = (_new_branch(widths, count) for count in (3, 4))
        self.stage2, self.stage3, self.stage4 = (
            nn.Sequential(*(ExchangeModule(widths[: 2 + i]) for _ in range(count))) for i, count in enumerate(modules)
        )
        self.downsample_stage_1, self.downsample_stage_2, self.downsample_stage_3 = (
            _down(widths[i], 3 - i) for i in range(3)
        )

    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        x = F.relu(self.bn1(self.conv1(images)))
        x = self.layer1(F.relu(self.bn2(self.conv2(x))))
        maps = self.stage2([layer(x) for layer in self.transition1])
        for transition, stage in ((self.transition2, self.stage3), (self.transition3, self.stage4)):
            maps = stage([*maps, transition[-1](maps[-1])])
        downs = (self.downsample_stage_1, self.downsample_stage_2, self.downsample_stage_3)
        return torch.cat([*(down(x) for down, x in zip(downs, maps, strict=False)), maps[-1]], dim=1)


def _new_branch(widths: Sequence[int], branches: int) -> nn.ModuleList:
    """What makes the newest of `branches` from the one before; the others go on as they are."""
    kept = [nn.Identity() for _ in range(branches - 1)]
    return nn.ModuleList([*kept, nn.Sequential(_conv_norm(widths[branches - 2], widths[branches - 1], stride=2))])


def _down(width: int, halvings: int) -> nn.Sequential:
    """Strided convolutions of one width, in one row of layers."""
    return nn.Sequential(*(layer for _ in range(halvings) for layer in _conv_norm(width, width, stride=2)))
