"""A small person detector: where the middles of people's visible boxes are, and how far their sides.

One map of centres at an eighth of the picture (Zhou et al. 2019, "Objects as Points", arXiv 1904.07850) and four
distances a cell (Tian et al. 2019, FCOS, arXiv 1904.01355), on a feature pyramid (Lin et al. 2017, arXiv 1612.03144) of
a plain residual network, or of one that can begin with published numbers: MobileNetV2 with MoveNet's, a CSPNet with
NanoDet's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bodycast.hmr.networks.encoders.csp_net import CspNet
from bodycast.hmr.networks.encoders.mobile_net_v2 import MobileNetV2

Backbone = Literal["residual", "mobilenet-v2", "csp"]
STRIDE = 8
LONGEST_LOG = 4.0
"""Largest natural logarithm of a distance in strides: 437 px."""


class DetectorMaps(NamedTuple):
    """centre (N, h, w) logits of a person's middle; sides (N, 4, h, w) px from a cell's middle to the box's left, top,
    right and bottom."""

    centre: Tensor
    sides: Tensor


class PersonDetector(nn.Module):
    """Pictures (N, 3, H, W), normalised, H and W multiples of 32 -> `DetectorMaps` at an eighth of their size.

    `calibration` (2,): slope and shift that make a centre's logit say how often there is a person (Platt 1999).
    """

    calibration: Tensor

    def __init__(
        self,
        image_hw: tuple[int, int] = (256, 448),
        backbone: Backbone = "csp",
        widths: Sequence[int] = (16, 32, 64, 96, 160),
        depths: Sequence[int] = (0, 1, 2, 3, 2),
        neck: int = 128,
        head: int = 64,
    ) -> None:
        """widths, depths: channels and residual blocks at strides 2 to 32 of the residual backbone. neck, head:
        channels of the pyramid and of the convolutions after it. Raises: ValueError."""
        super().__init__()
        if any(side % 32 or side <= 0 for side in image_hw):
            raise ValueError(f"image_hw: expected multiples of 32, got {image_hw[0]}x{image_hw[1]}")
        self.image_hw = image_hw
        self.register_buffer("calibration", torch.tensor([1.0, 0.0]))
        if backbone == "mobilenet-v2":
            self.backbone = MobileNetV2(image_hw=tuple(image_hw))
            channels = [count for count, _ in self.backbone.feature_info[1:]]
        elif backbone == "csp":
            self.backbone = CspNet()
            channels = [count for count, _ in self.backbone.feature_info[1:]]
        elif backbone == "residual":
            self.backbone = _ResidualBackbone(widths, depths)
            channels = list(widths[2:])
        else:
            raise ValueError(f"backbone: expected residual, mobilenet-v2 or csp, got {backbone!r}")
        self.around = nn.Linear(channels[-1], neck)
        self.lateral = nn.ModuleList(nn.Conv2d(width, neck, 1) for width in channels)
        self.smooth = nn.Sequential(_conv(neck, head, 3), _conv(head, head, 3))
        self.head = nn.Sequential(_conv(head, head, 3), nn.Conv2d(head, 5, 1))
        last = self.head[-1]
        assert isinstance(last, nn.Conv2d) and last.bias is not None
        nn.init.normal_(last.weight, std=0.01)
        with torch.no_grad():
            last.bias.copy_(torch.tensor([-4.0, 1.5, 1.5, 1.5, 1.5]))

    def forward(self, images: Tensor) -> DetectorMaps:
        """See the class."""
        fine, middle, top = self.features(images)
        # What the whole picture shows tells a close-up from a crowd.
        merged = self.lateral[2](top) + self.around(top.mean((2, 3)))[:, :, None, None]
        for lateral, maps in zip((self.lateral[1], self.lateral[0]), (middle, fine), strict=True):
            merged = lateral(maps) + F.interpolate(merged, scale_factor=2.0, mode="bilinear")
        out = self.head(self.smooth(merged))
        sides = STRIDE * torch.exp(out[:, 1:].float().clamp(-LONGEST_LOG, LONGEST_LOG))
        return DetectorMaps(out[:, 0].float(), sides)

    def features(self, images: Tensor) -> Sequence[Tensor]:
        """Maps (N, C, h, w) at an eighth, a sixteenth and a thirty-second of the pictures."""
        if isinstance(self.backbone, MobileNetV2):
            # Not its forward, which takes one size alone: training begins with smaller pictures.
            return self.backbone.maps(images * self.backbone.scale + self.backbone.centre)[-3:]
        return self.backbone(images)[-3:]

    def detect(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """boxes (N, K, 4) xyxy px and scores (N, K), calibrated; see `boxes_of`."""
        centre, sides = self(images)
        return boxes_of(DetectorMaps(centre * self.calibration[0] + self.calibration[1], sides))


def cell_middles(height: int, width: int, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """x (h, w) and y (h, w) px of the middles of the cells."""
    y, x = torch.meshgrid(torch.arange(height, device=device), torch.arange(width, device=device), indexing="ij")
    return (x + 0.5) * STRIDE, (y + 0.5) * STRIDE


def boxes_of(maps: DetectorMaps) -> tuple[Tensor, Tensor]:
    """boxes (N, h * w, 4) xyxy px and scores (N, h * w): 0 where a neighbouring cell is surer."""
    chance = maps.centre.sigmoid()
    highest = F.max_pool2d(chance[:, None], 3, 1, 1)[:, 0]
    scores = torch.where(chance >= highest, chance, torch.zeros_like(chance))
    x, y = (middle.to(chance) for middle in cell_middles(*chance.shape[1:], device=chance.device))
    left, top, right, bottom = maps.sides.unbind(1)
    boxes = torch.stack([x - left, y - top, x + right, y + bottom], dim=-1)
    return boxes.flatten(1, 2), scores.flatten(1)


def _conv(channels: int, width: int, kernel: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, width, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(width), nn.ReLU(True)
    )


class _ResidualBackbone(nn.Module):
    """Pictures -> maps at strides 2 to 32."""

    def __init__(self, widths: Sequence[int], depths: Sequence[int]) -> None:
        super().__init__()
        if len(widths) != 5 or len(depths) != 5:
            raise ValueError(f"widths and depths: expected one for each of 5 strides, got {widths} and {depths}")
        stages, channels = [], 3
        for width, depth in zip(widths, depths, strict=True):
            stages.append(nn.Sequential(_conv(channels, width, 3, 2), *(_Residual(width) for _ in range(depth))))
            channels = width
        self.stages = nn.ModuleList(stages)

    def forward(self, images: Tensor) -> list[Tensor]:
        maps: list[Tensor] = []
        for stage in self.stages:
            images = stage(images)
            maps.append(images)
        return maps


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = _conv(width, width, 3)
        self.second = nn.Sequential(nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width))

    def forward(self, maps: Tensor) -> Tensor:
        return F.relu(maps + self.second(self.first(maps)))
