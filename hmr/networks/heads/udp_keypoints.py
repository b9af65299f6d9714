"""Heat maps to keypoints inside an exported graph: `udp_decoding.refine_peaks` with method "udp", in torch.

Sources: see `udp_decoding`, which a test compares this with. Only what is read is blurred, the seven cells around each
peak: their windows are gathered, so the decoding has no products that a lower precision would round.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

NEIGHBOURS = ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, -1))
"""(dx, dy) of the cells whose blurred values the refinement reads."""
DIFFERENCES = (
    (0.0, 0.5, -0.5, 0.0, 0.0, 0.0, 0.0),  # x
    (0.0, 0.0, 0.0, 0.5, -0.5, 0.0, 0.0),  # y
    (-2.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0),  # xx
    (1.0, -0.5, -0.5, -0.5, -0.5, 0.5, 0.5),  # xy
    (-2.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0),  # yy
)
"""First and second differences as weights of the neighbours."""
KERNEL = 11
LOWEST, HIGHEST = 0.001, 50.0
"""Blurred values are clipped to these before their logarithm is taken."""
FARTHEST = 2.0
"""Cells that the refinement may move a peak: on a flat map the step is the rounding of numbers near zero."""
EPSILON = float(np.finfo(np.float32).eps)


def blur_taps() -> NDArray[np.float32]:
    """(121,) weights of a window, the Gaussian of `udp_decoding.gaussian_blur`."""
    radius = KERNEL // 2
    sigma = 0.3 * (radius - 1) + 0.8
    taps = np.exp(-(np.arange(-radius, radius + 1) ** 2) / (2 * sigma**2))
    taps /= taps.sum()
    return np.outer(taps, taps).reshape(-1).astype(np.float32)


def window_table(size: int, axis: int) -> NDArray[np.int64]:
    """(size, 7, 11): for each cell along an axis (0: x, 1: y) and neighbour, the cells its blur reads.

    A neighbour beyond the border is the border; the blur reflects there, without repeating the edge.
    Raises ValueError for maps too small to reflect.
    """
    radius = KERNEL // 2
    if size <= radius:
        raise ValueError(f"heat maps need more than {radius} cells a side, got {size}")
    shifts = np.array([shift[axis] for shift in NEIGHBOURS])
    centres = np.clip(np.arange(size)[:, None] + shifts, 0, size - 1)
    read = np.abs(centres[..., None] + np.arange(-radius, radius + 1))
    return (size - 1 - np.abs(size - 1 - read)).astype(np.int64)


class UdpKeypoints(nn.Module):
    """Heat maps (N, K, H, W) -> keypoints (N, K, 3): x and y in crop heights from the crop's centre, and how high the
    peak is, clipped to 0..1. A map without a positive value has confidence 0 and no refinement."""

    rows: Tensor
    columns: Tensor
    taps: Tensor
    differences: Tensor
    per_cell: Tensor
    middle: Tensor

    def __init__(self, map_hw: tuple[int, int], image_hw: tuple[int, int]) -> None:
        """image_hw: height and width of the crop in px. Raises ValueError for maps too small to blur."""
        super().__init__()
        height, width = map_hw
        self.width = width
        self.register_buffer("rows", torch.from_numpy(window_table(height, 1) * width), persistent=False)
        self.register_buffer("columns", torch.from_numpy(window_table(width, 0)), persistent=False)
        self.register_buffer("taps", torch.from_numpy(blur_taps()), persistent=False)
        self.register_buffer("differences", torch.tensor(DIFFERENCES), persistent=False)
        # The first cell lies on the first pixel, the last on the last; the crop's centre is pixel (w/2, h/2).
        per_cell = [(image_hw[1] - 1) / (width - 1), (image_hw[0] - 1) / (height - 1)]
        self.register_buffer("per_cell", torch.tensor(per_cell) / image_hw[0], persistent=False)
        self.register_buffer("middle", torch.tensor([image_hw[1] / 2, image_hw[0] / 2]) / image_hw[0], persistent=False)

    def forward(self, maps: Tensor) -> Tensor:
        """See the class."""
        flat = maps.float().flatten(2)
        peak = flat.argmax(2)  # (N, K)
        height = torch.gather(flat, 2, peak[..., None])
        y = torch.div(peak, self.width, rounding_mode="floor")
        x = peak - y * self.width
        read = self.rows[y][..., :, None] + self.columns[x][..., None, :]  # (N, K, 7, 11, 11)
        windows = torch.gather(flat, 2, read.flatten(2)).unflatten(2, (len(NEIGHBOURS), KERNEL * KERNEL))
        logs = (windows * self.taps).sum(-1).clamp(LOWEST, HIGHEST).log()
        step = newton_step((logs[:, :, None] * self.differences).sum(-1))
        cells = torch.stack([x, y], dim=2).to(flat.dtype)
        cells = torch.where(height > 0, cells - step, cells)
        return torch.cat([cells * self.per_cell - self.middle, height.clamp(0, 1)], dim=2)


def newton_step(differences: Tensor) -> Tensor:
    """(N, K, 5) as `DIFFERENCES` has them -> (N, K, 2), by how much a peak is moved against x and y."""
    gx, gy, xx, xy, yy = differences.unbind(-1)
    xx, yy = xx + EPSILON, yy + EPSILON
    determinant = xx * yy - xy * xy
    safe = torch.where(determinant != 0, determinant, torch.ones_like(determinant))
    step = torch.stack([yy * gx - xy * gy, xx * gy - xy * gx], dim=-1) / safe[..., None]
    step = torch.where((determinant != 0)[..., None], step, torch.zeros_like(step))
    return step.clamp(-FARTHEST, FARTHEST)
