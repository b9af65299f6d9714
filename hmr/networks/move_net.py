"""MoveNet singlepose: 17 COCO keypoints of the person in the middle of a square crop.

Source: Google's MoveNet singlepose v4 (Apache-2.0), whose published graph this network equals (a test holds the four
heads to 1e-3). It follows CenterNet (Zhou et al. 2019, arXiv 1904.07850): a map of people's centres, keypoints
regressed from the centre, heat maps of keypoints, and offsets within a cell.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from bodycast.hmr.networks.encoders.mobile_net_v2 import FeaturePyramid, MobileNetV2, SameConv, Separable

KEYPOINTS = 17
HEAD_WIDTH = 96
STRIDE = 4
PIXEL_SCALE = 0.00784302
"""From 0..255 to 0..2: 1 / 127.5 in half precision, as the published graph has it."""
NEARNESS = 1.8
"""Cells added to a distance before a map is divided by it: what is nearest to the middle or the expected place wins."""


class MoveNetMaps(NamedTuple):
    """All at a quarter of the crop: centre (B, 1, h, w) and heatmaps (B, 17, h, w) in 0..1, regression (B, 34, h, w)
    and offsets (B, 34, h, w) in cells, y before x for each keypoint."""

    centre: Tensor
    heatmaps: Tensor
    regression: Tensor
    offsets: Tensor


class _Head(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.body = Separable(inputs, HEAD_WIDTH)
        self.out = SameConv(HEAD_WIDTH, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.body(x))


class MoveNet(nn.Module):
    """Images (B, 3, H, W) in -1..1, RGB, H and W multiples of 32 -> `MoveNetMaps`."""

    def __init__(self, width: float = 1.0, image_hw: tuple[int, int] = (192, 192)) -> None:
        super().__init__()
        self.image_hw = image_hw
        self.backbone = MobileNetV2(width, 4, image_hw)
        channels = [count for count, _ in self.backbone.feature_info]
        # Read off both published graphs: the pyramid has the same channels at every width.
        lateral, finest = (64, 32, 24), 24
        self.pyramid = FeaturePyramid(channels, lateral, finest)
        self.centre = _Head(finest, 1)
        self.heatmaps = _Head(finest, KEYPOINTS)
        self.regression = _Head(finest, 2 * KEYPOINTS)
        self.offsets = _Head(finest, 2 * KEYPOINTS)

    def forward(self, images: Tensor) -> MoveNetMaps:
        """See the class."""
        finest = self.pyramid(self.backbone.maps(images))
        # In the order of the published graph.
        regression, offsets = self.regression(finest), self.offsets(finest)
        heatmaps, centre = self.heatmaps(finest).sigmoid(), self.centre(finest).sigmoid()
        return MoveNetMaps(centre, heatmaps, regression, offsets)


def normalised(pixels: Tensor) -> Tensor:
    """uint8 or float pixels (B, H, W, 3) RGB, 0..255 -> what `MoveNet` takes."""
    # Cast first: TensorRT transposes no bytes.
    return pixels.float().permute(0, 3, 1, 2) * PIXEL_SCALE - 1


def _cells(rows: int, columns: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """(rows * columns,) y and x of all cells."""
    y = torch.arange(rows, dtype=like.dtype, device=like.device)
    x = torch.arange(columns, dtype=like.dtype, device=like.device)
    return y[:, None].expand(rows, columns).reshape(-1), x[None].expand(rows, columns).reshape(-1)


def decode(maps: MoveNetMaps) -> Tensor:
    """Keypoints (B, 17, 3): y and x as shares of the crop's height and width, confidence in 0..1.

    The most likely centre, pulled to the crop's middle; around the places regressed from there, the best cell of each
    heat map; its offset. Batched; the published graph does one crop.
    """
    count, _, rows, columns = maps.centre.shape
    y, x = _cells(rows, columns, maps.centre)
    from_middle = torch.sqrt((y - rows / 2) ** 2 + (x - columns / 2) ** 2) + NEARNESS
    best = (maps.centre.flatten(1) / from_middle).argmax(1)  # (B,)
    regression = maps.regression.flatten(2).unflatten(1, (KEYPOINTS, 2))  # (B, 17, 2, cells)
    at = best[:, None, None, None].expand(count, KEYPOINTS, 2, 1)
    away = torch.gather(regression, 3, at)[..., 0]
    expected_y, expected_x = y[best][:, None] + away[..., 0], x[best][:, None] + away[..., 1]
    distance = torch.sqrt((y - expected_y[..., None]) ** 2 + (x - expected_x[..., None]) ** 2) + NEARNESS
    heat = maps.heatmaps.flatten(2)
    peak = (heat / distance).argmax(2, keepdim=True)  # (B, 17, 1)
    confidence = torch.gather(heat, 2, peak)[..., 0]
    offsets = maps.offsets.flatten(2).unflatten(1, (KEYPOINTS, 2))
    within = torch.gather(offsets, 3, peak[:, :, None].expand(-1, -1, 2, -1))[..., 0]
    place_y = (y[peak[..., 0]] + within[..., 0]) / rows
    place_x = (x[peak[..., 0]] + within[..., 1]) / columns
    return torch.stack([place_y, place_x, confidence], dim=2)


def in_crop_heights(decoded: Tensor, image_hw: tuple[int, int]) -> Tensor:
    """`decode`'s (B, 17, 3) -> (B, 17, 3) as packages give keypoints: x and y in crop heights from the crop's centre,
    confidence.

    MoveNet counts from the crop's corner and our pixels from the first one's middle, half a pixel further
    (docs/conventions.md).
    """
    height, width = image_hw
    y = decoded[..., 0] - 0.5 - 0.5 / height
    x = (decoded[..., 1] - 0.5) * (width / height) - 0.5 / height
    return torch.stack([x, y, decoded[..., 2]], dim=2)


class ExportedMoveNet(nn.Module):
    """What goes into a package: uint8 crops (N, H, W, 3) RGB -> keypoints (N, 17, 3) in crop heights from the crop's
    centre, with confidences."""

    def __init__(self, net: MoveNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, crops: Tensor) -> tuple[Tensor]:
        """See the class."""
        return (in_crop_heights(decode(self.net(normalised(crops))), self.net.image_hw),)
