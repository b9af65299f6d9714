"""What the detector's maps should say, and how far off they are.

Focal loss on the centres (Zhou et al. 2019, with the elliptical Gaussians of TTFNet, Liu et al. 2019, arXiv
1909.00700) and generalised IoU on the boxes around them (Rezatofighi et al. 2019, arXiv 1902.09630).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bodycast.hmr.networks.person_detector import STRIDE, DetectorMaps, cell_middles
from training.detector.sets import HIDDEN, REGION

F32 = NDArray[np.float32]
SPREAD = 0.54 / 6
"""Standard deviation of a person's Gaussian in box sides (TTFNet's alpha over six)."""
BOX_HEAT = 0.25
"""Cells at least so hot learn the box."""


class Targets(NamedTuple):
    """heat (N,h,w) 0..1, peak (N,h,w) 1 at centres, ask (N,h,w) 0 where nothing is asked, box (N,h,w,4) px and its
    weight (N,h,w)."""

    heat: Tensor
    peak: Tensor
    ask: Tensor
    box: Tensor
    weight: Tensor

    def on(self, device: torch.device | str) -> Targets:
        """The same on another device."""
        return Targets(*(value.to(device, non_blocking=True) for value in self))


def targets(boxes: list[F32], hw: tuple[int, int]) -> Targets:
    """What the maps (h,w) should say about each picture's boxes (K,5)."""
    count = len(boxes)
    heat, peak, weight = (np.zeros((count, *hw), np.float32) for _ in range(3))
    ask, box = np.ones((count, *hw), np.float32), np.zeros((count, *hw, 4), np.float32)
    xs, ys = (m.numpy() for m in cell_middles(*hw))
    for n, rows in enumerate(boxes):
        area = (rows[:, 2] - rows[:, 0]) * (rows[:, 3] - rows[:, 1])
        for row in rows[np.argsort(-area)]:  # small ones last: they have the fewest cells
            if row[4] == REGION:
                ask[n][(xs >= row[0]) & (xs <= row[2]) & (ys >= row[1]) & (ys <= row[3])] = 0
                continue
            middle, size = (row[:2] + row[2:4]) / 2, row[2:4] - row[:2]
            sigma = np.maximum(SPREAD * size, 0.5 * STRIDE)
            blob = np.exp(-0.5 * (((xs - middle[0]) / sigma[0]) ** 2 + ((ys - middle[1]) / sigma[1]) ** 2))
            if row[4] == HIDDEN:
                ask[n][blob > 0.1] = 0
                continue
            column, line = (int(np.clip(middle[k] // STRIDE, 0, hw[1 - k] - 1)) for k in (0, 1))
            blob[line, column] = 1
            heat[n] = np.maximum(heat[n], blob)
            peak[n, line, column] = 1
            near = blob > BOX_HEAT
            box[n][near], weight[n][near] = row[:4], blob[near] / blob[near].sum()
    return Targets(*(torch.from_numpy(a) for a in (heat, peak, np.maximum(ask, peak), box, weight)))


def losses(maps: DetectorMaps, wanted: Targets) -> tuple[Tensor, Tensor]:
    """Focal loss of the centres and generalised IoU of the boxes, both per person."""
    people = wanted.peak.sum().clamp_min(1)
    chance = maps.centre.sigmoid().clamp(1e-4, 1 - 1e-4)
    hit = wanted.peak * (1 - chance) ** 2 * chance.log()
    miss = (1 - wanted.peak) * (1 - wanted.heat) ** 4 * chance**2 * (1 - chance).log()
    centre = -((hit + miss) * wanted.ask).sum() / people
    x, y = cell_middles(*maps.centre.shape[1:], device=maps.centre.device)
    left, top, right, bottom = maps.sides.unbind(1)
    found = torch.stack([x - left, y - top, x + right, y + bottom], dim=-1)
    overlap = generalised_iou(found, wanted.box)
    return centre, ((1 - overlap) * wanted.weight).sum() / people


def generalised_iou(a: Tensor, b: Tensor) -> Tensor:
    """(..., 4) and (..., 4) xyxy -> (...) -1..1."""
    low, high = torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:])
    shared = (high - low).clamp_min(0).prod(-1)
    area_a, area_b = (c[..., 2:].sub(c[..., :2]).clamp_min(0).prod(-1) for c in (a, b))
    union = area_a + area_b - shared
    hull = (torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])).clamp_min(0).prod(-1)
    return shared / union.clamp_min(1e-6) - (hull - union) / hull.clamp_min(1e-6)
