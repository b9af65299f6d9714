"""The same picture through a camera that is rolled, and with another box around the person: new crops from old ones.

A camera rolled about its optical axis turns the picture about its principal point, exactly; a moved or smaller box cuts
another part of it. All labels follow. What lies outside the old crop repeats its border.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from training.batch import STORED_HW, Batch
from training.crop_camera import full_translation, ray_rotation

ASPECT = STORED_HW[1] / STORED_HW[0]


def reframed(batch: Batch, turn: Tensor, zoom: Tensor, shift: Tensor) -> Batch:
    """The batch seen by a camera rolled by `turn` (B,) rad, clockwise in the picture, with boxes `zoom` (B,) times
    smaller whose centres are moved by `shift` (B,2) crop heights of the old box."""
    cos, sin = turn.cos(), turn.sin()
    zero, one = torch.zeros_like(cos), torch.ones_like(cos)
    flat = torch.stack([cos, -sin, sin, cos], dim=1).reshape(-1, 2, 2)
    roll = torch.stack([cos, -sin, zero, sin, cos, zero, zero, zero, one], dim=1).reshape(-1, 3, 3)

    middle = batch.image_wh / 2
    centre = batch.centre_px + shift * batch.size_px[:, None] - middle
    moved = replace(
        batch,
        centre_px=(flat @ centre[:, :, None])[:, :, 0] + middle,
        size_px=batch.size_px / zoom,
        joints=batch.joints @ roll.transpose(1, 2),
    )
    root = ray_rotation(moved).transpose(1, 2) @ roll @ ray_rotation(batch) @ batch.pose[:, 0]
    known = batch.known
    if known is not None:
        points = (known.points_2d - shift[:, None]) @ flat.transpose(1, 2) * zoom[:, None, None]
        known = replace(known, points_2d=points)
    return replace(
        moved,
        images=_cut(batch.images, flat, zoom, shift, "bilinear"),
        parts=_cut(batch.parts[:, None].float(), flat, zoom, shift, "nearest")[:, 0].long(),
        pose=torch.cat([root[:, None], batch.pose[:, 1:]], dim=1),
        camera=_camera(batch, moved, roll),
        known=known,
    )


def _camera(batch: Batch, moved: Batch, roll: Tensor) -> Tensor:
    """(B,3) the weak-perspective camera of the moved box: inverse of `full_translation`."""
    translation = full_translation(batch.camera, batch)
    pelvis = batch.joints[:, 0]
    # The body turns about its pelvis, which does not lie where the body's own frame begins.
    translation = (roll @ pelvis[:, :, None])[:, :, 0] - (pelvis - translation)
    scale = 2 * moved.focal_px / (moved.size_px * translation[:, 2])
    offset = translation[:, 2:] * (moved.centre_px - moved.image_wh / 2) / moved.focal_px[:, None]
    camera = torch.cat([scale[:, None], translation[:, :2] - offset], dim=1)
    # A scale of zero is an unlabelled camera's.
    return torch.where(batch.camera[:, :1] > 0, camera, batch.camera)


def _cut(planes: Tensor, flat: Tensor, zoom: Tensor, shift: Tensor, mode: str) -> Tensor:
    """Planes (B,C,h,w) of the old crop seen in the new one."""
    half = flat.new_tensor([ASPECT / 2, 0.5])  # crop heights at the picture's border
    off = flat.new_tensor([1 / STORED_HW[1], 1 / STORED_HW[0]])  # a crop's centre is a pixel's, half a pixel aside
    turned = flat.transpose(1, 2) * half / half[:, None] / zoom[:, None, None]
    moved = shift / half + off - (turned @ off[:, None])[:, :, 0]
    grid = F.affine_grid(torch.cat([turned, moved[:, :, None]], dim=2), list(planes.shape), align_corners=False)
    return F.grid_sample(planes, grid, mode=mode, padding_mode="border", align_corners=False)
