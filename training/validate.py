"""Scores of a network on a crop set, beside the mean pose's on the same crops."""

from __future__ import annotations

import warnings
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn

from evaluation.metrics import mpjpe_mm, pa_mpjpe_mm
from hmr.body.torch_body import TorchBody
from training.crop_camera import full_translation, in_crop, ray_rotation
from training.crop_set import Batch, CropSet

BATCH = 32


def good_rows(crops: CropSet, limit: int | None = None) -> np.ndarray:
    """Indices of the samples that show their person."""
    rows = np.flatnonzero(np.asarray(crops.arrays["score"][: len(crops)]) > 0.5)
    return rows if limit is None else rows[:limit]


def _joints(
    body: TorchBody, pose: Tensor, betas: Tensor, camera: Tensor, batch: Batch
) -> tuple[np.ndarray, np.ndarray]:
    """Camera-frame joints (B,24,3) m and crop coordinates (B,24,2) in crop heights."""
    joints = body.posed_joints(pose, betas, torch.zeros(len(pose), 3))
    root = joints[:, :1]
    turned = (ray_rotation(batch) @ (joints - root).transpose(1, 2)).transpose(1, 2)
    placed = turned + (full_translation(camera, batch) + root[:, 0])[:, None]
    return placed.numpy(), in_crop(placed, batch).numpy()


def validate(net: nn.Module, crops: CropSet, image_hw: tuple[int, int], limit: int | None = None) -> dict[str, float]:
    """Scores (see `score_batches`) on the good samples of a crop set, the first `limit` of them."""
    rows = good_rows(crops, limit)
    return score_batches(net, (crops.rows(rows[i : i + BATCH], image_hw) for i in range(0, len(rows), BATCH)))


@torch.no_grad()
def score_batches(net: nn.Module, batches: Iterable[Batch]) -> dict[str, float]:
    """MPJPE and PA-MPJPE in mm, 2D error in per cent of the crop's height (24 joints, pelvis-aligned), and the same for
    the mean pose: one fixed pose and shape, the best there is without looking (its root is the mean orientation)."""
    net.eval()
    device = next(net.parameters()).device
    body = TorchBody.load()
    scores: dict[str, list[np.ndarray]] = {}
    head = net.smpl_head
    mean_pose = rotations(head.init_body_pose.cpu())
    for batch in batches:
        with torch.autocast(device.type, torch.bfloat16):
            prediction = net(batch.images.to(device))
        truth = batch.joints.numpy()
        truth_2d = in_crop(batch.joints, batch).numpy()
        count = len(truth)
        candidates = {
            "": (prediction.rotmat.float().cpu(), prediction.betas.float().cpu(), prediction.camera.float().cpu()),
            "mean_pose_": (
                mean_pose.expand(count, -1, -1, -1),
                head.init_betas.cpu().expand(count, -1),
                head.init_cam.cpu().expand(count, -1),
            ),
        }
        for name, (pose, betas, camera) in candidates.items():
            joints, flat = _joints(body, pose, betas, camera, batch)
            inside = (np.abs(truth_2d) < [0.375, 0.5]).all(-1)
            error = np.where(inside, np.linalg.norm(flat - truth_2d, axis=-1), np.nan)
            centred, wanted = joints - joints[:, :1], truth - truth[:, :1]
            scores.setdefault(f"{name}mpjpe_mm", []).append(mpjpe_mm(centred, wanted))
            scores.setdefault(f"{name}pa_mpjpe_mm", []).append(pa_mpjpe_mm(centred, wanted))
            with warnings.catch_warnings():  # a crop that shows no joint at all has no 2D error
                warnings.simplefilter("ignore", RuntimeWarning)
                scores.setdefault(f"{name}error_2d_percent", []).append(100 * np.nanmean(error, axis=1))
    return {name: float(np.nanmean(np.concatenate(values))) for name, values in scores.items()}


def rotations(init_body_pose: Tensor) -> Tensor:
    """(1,144) mean 6D -> (1,24,3,3)."""
    from hmr.networks.rotation import rotmat_from_6d

    return rotmat_from_6d(init_body_pose.view(1, 24, 6))
