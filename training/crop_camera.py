"""The camera of crops in torch: twins of hmr.geometry's crop_ray and camera, for losses and labels."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F


class Cropped(Protocol):
    """How B crops lie in their pictures, as `training.batch.Batch` has it: (B,2) and, for size and focal, (B,)."""

    @property
    def centre_px(self) -> Tensor: ...
    @property
    def size_px(self) -> Tensor: ...
    @property
    def focal_px(self) -> Tensor: ...
    @property
    def image_wh(self) -> Tensor: ...


def ray_rotation(batch: Cropped) -> Tensor:
    """(B,3,3) from each crop's frame to the camera's: torch twin of hmr.geometry.crop_ray.crop_ray_rotation."""
    xy = (batch.centre_px - batch.image_wh / 2) / batch.focal_px[:, None]
    ray = F.normalize(torch.cat([xy, torch.ones_like(xy[:, :1])], dim=1), dim=1)
    zero = torch.zeros_like(ray[:, 0])
    a, b = -ray[:, 1], ray[:, 0]
    cross = torch.stack([zero, zero, b, zero, zero, -a, -b, a, zero], dim=1).reshape(-1, 3, 3)
    return torch.eye(3, device=ray.device, dtype=ray.dtype) + cross + cross @ cross / (1 + ray[:, 2, None, None])


def full_translation(camera: Tensor, batch: Cropped) -> Tensor:
    """(B,3) translation in the picture's camera: torch twin of hmr.geometry.camera.cam_crop_to_full."""
    bs = batch.size_px * camera[:, 0].clamp_min(0.05)
    xy = camera[:, 1:] + 2 * (batch.centre_px - batch.image_wh / 2) / bs[:, None]
    return torch.cat([xy, (2 * batch.focal_px / bs)[:, None]], dim=1)


def in_crop(points: Tensor, batch: Cropped) -> Tensor:
    """Camera-frame points (B,J,3) -> crop coordinates (B,J,2) in crop heights, 0 at the crop's centre."""
    pixels = points[..., :2] / points[..., 2:].clamp_min(0.1) * batch.focal_px[:, None, None]
    pixels = pixels + batch.image_wh[:, None] / 2
    return (pixels - batch.centre_px[:, None]) / batch.size_px[:, None, None]
