"""Predictions against a synthetic crop set, whose labels are exact: MPJPE, PA-MPJPE, PVE, error in the picture."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from bodycast.app.errors import UsageError
from bodycast.hmr.body.body_model import BodyModel
from bodycast.hmr.geometry.camera import project
from bodycast.npz import map_npy
from evaluation.body_errors import body_errors
from evaluation.predictions import Predictions

GOOD_SCORE = 0.5


def score_crops(predictions: Predictions, folder: Path, body: BodyModel) -> dict[str, float]:
    """Figures by name, over the good crops (label `score` above 0.5); row i is sample `annotation_id[i]`.

    Raises: UsageError where the predictions were made on another set.
    """
    finished = int(json.loads((folder / "meta.json").read_text())["finished"])
    samples = predictions.annotation_id
    if predictions.meta.get("labels") != folder.name or (len(samples) and samples.max() >= finished):
        raise UsageError(f"the predictions were made on {predictions.meta.get('labels')!r}, not on {folder}")
    truth = {
        name: np.asarray(map_npy(folder / f"{name}.npy")[samples])
        for name in ("joints", "pose", "betas", "score", "focal_px", "image_wh", "centre_px", "size_px")
    }
    good = (truth["score"] > GOOD_SCORE) & predictions.valid
    result: dict[str, float] = {"samples": len(samples), "good_samples": int(good.sum())}
    if not good.any():
        raise UsageError(f"{folder}: none of the {len(samples)} predicted samples is a good crop")
    result |= body_errors(predictions, truth["joints"], np.flatnonzero(good), body, _true_vertices(truth, body))
    centre = truth["image_wh"][:, None] / 2
    true_px = project(truth["joints"], truth["focal_px"][:, None, None], centre)
    in_crop = (true_px - truth["centre_px"][:, None]) / truth["size_px"][:, None, None]
    inside = (np.abs(in_crop) <= [0.375, 0.5]).all(-1) & good[:, None]
    error = np.linalg.norm(predictions.joints_2d - true_px, axis=-1) / truth["size_px"][:, None]
    result["error_2d_percent"] = float(100 * error[inside].mean())
    result["score_of_good"] = float(predictions.score[good].mean())
    if (~good).any():
        result["score_of_bad"] = float(predictions.score[~good].mean())
    return result


def _true_vertices(truth: dict[str, np.ndarray], body: BodyModel):
    """Function from rows to true vertices relative to the true pelvis, in the camera's frame."""
    from bodycast.hmr.geometry.crop_ray import crop_ray_rotation

    def vertices(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        pose = truth["pose"][rows].copy()
        centre, focal = truth["centre_px"][rows], truth["focal_px"][rows]
        pose[:, 0] = crop_ray_rotation(centre, focal, truth["image_wh"][rows] / 2) @ pose[:, 0]
        posed = body(pose, truth["betas"][rows], np.zeros((len(rows), 3)))
        return posed.vertices, posed.joints[:, 0]

    return vertices
