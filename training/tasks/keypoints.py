"""COCO's 17 keypoints as heat maps: ViTPose's training (arXiv 2204.12484) on any encoder of PoseNet.

Mean squared error to Gaussians of sigma 2 cells under UDP's coordinates (arXiv 1911.07524): the centre of the first
cell lies on the crop's first pixel, that of the last on its last. Keypoints outside the crop weigh nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bodycast.hmr.body.body_model import EMBEDDED_BODY
from bodycast.hmr.body.surface_joints import COCO_FROM_POINTS, COCO_JOINT_NAMES
from bodycast.hmr.body.torch_body import TorchBody
from bodycast.hmr.networks.heads.udp_decoding import refine_peaks
from training.batch import STORED_HW, Batch
from training.config import Recipe
from training.losses import Labels, SurfaceBody, Truth, weighted_mean
from training.tasks.base import Task, autocast

SIGMA_CELLS = 2.0
SCALE = 1000.0  # the mean squared error of a heat map is about a thousandth
_TORSO = tuple(COCO_JOINT_NAMES.index(name) for name in ("left_shoulder", "right_shoulder", "left_hip", "right_hip"))


class KeypointTask(Task):
    """Heat maps of COCO's keypoints."""

    def __init__(self, recipe: Recipe, body: Path = EMBEDDED_BODY) -> None:
        super().__init__(recipe, body)
        self.labels = Labels(SurfaceBody(TorchBody.load(body)))
        self.register_buffer("coco", torch.from_numpy(np.asarray(COCO_FROM_POINTS)), persistent=False)

    def fast_modules(self, net: nn.Module) -> list[nn.Module]:
        return [net.get_submodule("backbone")]

    def slow_modules(self, net: nn.Module) -> list[nn.Module]:
        return [net.get_submodule("keypoint_head")]

    def predict(self, net: nn.Module, batch: Batch) -> Tensor:
        return net(batch.images)

    def truth(self, batch: Batch) -> Truth:
        return self.labels(batch)

    def loss(
        self, predicted: Any, batch: Batch, truth: Truth | None, body_scale: float
    ) -> tuple[Tensor, dict[str, Tensor]]:
        truth = self.truth(batch) if truth is None else truth
        maps = predicted.float()
        cells = to_cells(truth.points[:, self.coco], tuple(batch.images.shape[-2:]), tuple(maps.shape[-2:]))
        rows, columns = maps.shape[-2:]
        inside = ((cells >= 0) & (cells <= cells.new_tensor([columns - 1, rows - 1]))).all(-1)
        weight = truth.point_weight[:, self.coco] * inside
        error = SCALE * weighted_mean((maps - gaussians(cells, rows, columns)) ** 2, weight)
        return error, {"heatmap": error.detach()}

    @torch.no_grad()
    def score(self, net: nn.Module, batches: Iterable[Batch]) -> dict[str, float]:
        """2D error in per cent of the crop's height, and PCK: the share within 0.2 torso lengths; labelled keypoints
        inside the crop."""
        net.eval()
        device = next(net.parameters()).device
        errors, near = [np.zeros(0)], [np.zeros(0)]
        for batch in batches:
            moved = batch.to(device)
            truth = self.labels(moved)
            with autocast(device):
                maps = net(moved.images).float().cpu().numpy()
            points = truth.points[:, self.coco].cpu().numpy()
            cells, _ = refine_peaks(maps, "udp")
            found = from_cells(cells, tuple(batch.images.shape[-2:]), tuple(maps.shape[-2:]))
            inside = (np.abs(points) < [STORED_HW[1] / STORED_HW[0] / 2, 0.5]).all(-1)
            inside &= truth.point_weight[:, self.coco].cpu().numpy() > 0
            distance = np.linalg.norm(found - points, axis=-1)
            shoulders, hips = points[:, _TORSO[:2]].mean(1), points[:, _TORSO[2:]].mean(1)
            torso = np.linalg.norm(shoulders - hips, axis=-1, keepdims=True)
            errors.append(distance[inside])
            near.append((distance < 0.2 * torso)[inside])
        error, share = np.concatenate(errors), np.concatenate(near)
        if not len(error):
            raise ValueError("nothing to score: no labelled keypoint lies in any crop")
        return {"error_2d_percent": 100 * float(error.mean()), "pck20_percent": 100 * float(share.mean())}


def _scales(image_hw: tuple[int, ...], cells_hw: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Cells per pixel and pixels of the network's crop per crop height, both (2,) for x and y."""
    sides = np.array([image_hw[1], image_hw[0]], np.float64)
    cells = np.array([cells_hw[1], cells_hw[0]], np.float64)
    return (cells - 1) / (sides - 1), sides * STORED_HW[0] / np.array([STORED_HW[1], STORED_HW[0]])


def to_cells(points: Tensor, image_hw: tuple[int, ...], cells_hw: tuple[int, ...]) -> Tensor:
    """Crop coordinates (...,2) to heat-map cells. A crop's centre is pixel (96, 128) of its stored 256x192."""
    per_pixel, per_height = _scales(image_hw, cells_hw)
    half = 0.5 / STORED_HW[0]
    x = ((points[..., 0] + half) * per_height[0] + (image_hw[1] - 1) / 2) * per_pixel[0]
    y = ((points[..., 1] + half) * per_height[1] + (image_hw[0] - 1) / 2) * per_pixel[1]
    return torch.stack([x, y], dim=-1)


def from_cells(cells: np.ndarray, image_hw: tuple[int, ...], cells_hw: tuple[int, ...]) -> np.ndarray:
    """The inverse of `to_cells`, in numpy."""
    per_pixel, per_height = _scales(image_hw, cells_hw)
    middle = (np.array([image_hw[1], image_hw[0]]) - 1) / 2
    return (cells / per_pixel - middle) / per_height - 0.5 / STORED_HW[0]


def gaussians(cells: Tensor, rows: int, columns: int) -> Tensor:
    """Targets (B,K,rows,columns) around cells (B,K,2) as x, y; 1 at the peak."""
    x = torch.arange(columns, device=cells.device) - cells[..., :1]
    y = torch.arange(rows, device=cells.device) - cells[..., 1:]
    along_x = torch.exp(-(x**2) / (2 * SIGMA_CELLS**2))
    along_y = torch.exp(-(y**2) / (2 * SIGMA_CELLS**2))
    return along_y[..., :, None] * along_x[..., None, :]
