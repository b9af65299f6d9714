"""Scores of a network on a crop set, beside the mean pose's on the same crops."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

from bodycast.hmr.body.torch_body import TorchBody
from bodycast.hmr.geometry.metrics import mpjpe_mm, pa_mpjpe_mm
from bodycast.hmr.networks.decoders.smpl_transformer import MeanParameters
from bodycast.hmr.networks.rotation import rotmat_from_6d
from training.batch import Batch
from training.crop_camera import full_translation, in_crop, ray_rotation
from training.crop_set import Crops
from training.network_inputs import run_network

BATCH = 32


def good_rows(crops: Crops, limit: int | None = None) -> np.ndarray:
    """Indices of the samples that show their person."""
    rows = np.flatnonzero(np.asarray(crops.stored["score"][: len(crops)]) > 0.5)
    return rows if limit is None else rows[:limit]


def good_batches(crops: Crops, image_hw: tuple[int, int], limit: int | None = None) -> Iterator[Batch]:
    """The samples that show their person, the first `limit` of them, in small batches."""
    rows = good_rows(crops, limit)
    return (crops.rows(rows[i : i + BATCH], image_hw) for i in range(0, len(rows), BATCH))


def placed_joints(body: TorchBody, pose: Tensor, betas: Tensor, camera: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Camera-frame joints (B,24,3) m and crop coordinates (B,24,2) in crop heights, of a prediction."""
    joints = body.posed_joints(pose, betas, torch.zeros_like(pose[:, 0, 0]))
    root = joints[:, :1]
    turned = (ray_rotation(batch) @ (joints - root).transpose(1, 2)).transpose(1, 2)
    placed = turned + (full_translation(camera, batch) + root[:, 0])[:, None]
    return placed, in_crop(placed, batch)


def validate(net: nn.Module, crops: Crops, image_hw: tuple[int, int], limit: int | None = None) -> dict[str, float]:
    """Scores (see `score_batches`) on the good samples of a crop set, the first `limit` of them."""
    return score_batches(net, good_batches(crops, image_hw, limit))


@torch.no_grad()
def score_batches(net: nn.Module, batches: Iterable[Batch], body: TorchBody | None = None) -> dict[str, float]:
    """MPJPE and PA-MPJPE in mm, 2D error in per cent of the crop's height (24 joints, pelvis-aligned), and the same for
    the mean pose: one fixed pose and shape, the best there is without looking (its root is the mean orientation).
    body: the embedded one where None."""
    net.eval()
    device = next(net.parameters()).device
    body = TorchBody.load() if body is None else body
    mean = next((module for module in net.modules() if isinstance(module, MeanParameters)), None)
    scores: dict[str, list[np.ndarray]] = {}
    for batch in batches:
        with torch.autocast(device.type, torch.bfloat16):
            prediction = run_network(net, batch.to(device))
        count = len(batch)
        candidates = {
            "": (prediction.rotmat.float().cpu(), prediction.betas.float().cpu(), prediction.camera.float().cpu())
        }
        if mean is not None:
            candidates["mean_pose_"] = (
                rotmat_from_6d(mean.init_body_pose.cpu().view(1, 24, 6)).expand(count, -1, -1, -1),
                mean.init_betas.cpu().expand(count, -1),
                mean.init_cam.cpu().expand(count, -1),
            )
        for name, values in candidates.items():
            for key, value in _errors(*placed_joints(body, *values, batch), batch).items():
                scores.setdefault(f"{name}{key}", []).append(value)
    return {name: float(np.nanmean(np.concatenate(values))) for name, values in scores.items()}


def _errors(placed: Tensor, flat: Tensor, batch: Batch) -> dict[str, np.ndarray]:
    """Each (B,), of camera-frame joints (B,24,3) and their places in the crop (B,24,2)."""
    joints, truth, truth_2d = placed.numpy(), batch.joints.numpy(), in_crop(batch.joints, batch).numpy()
    inside = (np.abs(truth_2d) < [0.375, 0.5]).all(-1)
    error = np.where(inside, np.linalg.norm(flat.numpy() - truth_2d, axis=-1), np.nan)
    centred, wanted = joints - joints[:, :1], truth - truth[:, :1]
    with warnings.catch_warnings():  # a crop that shows no joint at all has no 2D error
        warnings.simplefilter("ignore", RuntimeWarning)
        percent = 100 * np.nanmean(error, axis=1)
    return {
        "mpjpe_mm": mpjpe_mm(centred, wanted),
        "pa_mpjpe_mm": pa_mpjpe_mm(centred, wanted),
        "error_2d_percent": percent,
    }
