"""MPJPE, PA-MPJPE and PVE of predicted rows against true joints and, where there are any, true vertices."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from bodycast.hmr.body.body_model import BodyModel
from bodycast.hmr.geometry.metrics import mpjpe_mm, pa_mpjpe_mm, pve_mm
from bodycast.hmr.geometry.rotations import axis_angle_to_matrix
from evaluation.predictions import Predictions

ROWS_AT_ONCE = 64

TrueVertices = Callable[[NDArray[np.intp]], tuple[NDArray[np.floating], NDArray[np.floating]]]
"""Rows -> true vertices (N,V,3) m and the true root (N,3) that they are compared relative to."""


def posed_rows(predictions: Predictions, rows: NDArray[np.intp], body: BodyModel) -> tuple[NDArray, NDArray]:
    """Vertices (N,V,3) and joints (N,24,3) of predicted rows, camera frame, m."""
    pose = axis_angle_to_matrix(predictions.poses[rows].reshape(-1, 24, 3))
    posed = body(pose, predictions.betas[rows], predictions.trans[rows])
    return posed.vertices, posed.joints


def body_errors(
    predictions: Predictions,
    true_joints: NDArray[np.floating],
    rows: NDArray[np.intp],
    body: BodyModel,
    true_vertices: TrueVertices | None = None,
) -> dict[str, float]:
    """Means over `rows`, mm: 24 joints aligned at the pelvis; after Procrustes; vertices aligned at the pelvis.

    true_joints (R,24,3) m, in the predictions' row order.
    """
    found = predictions.joints_3d[rows]
    result = {
        "mpjpe_mm": float(mpjpe_mm(found, true_joints[rows], root=0).mean()),
        "pa_mpjpe_mm": float(pa_mpjpe_mm(found, true_joints[rows]).mean()),
    }
    if true_vertices is not None:
        errors = []
        for start in range(0, len(rows), ROWS_AT_ONCE):
            part = rows[start : start + ROWS_AT_ONCE]
            vertices, joints = posed_rows(predictions, part, body)
            expected, root = true_vertices(part)
            errors.append(pve_mm(vertices, expected, joints[:, 0], root))
        result["pve_mm"] = float(np.concatenate(errors).mean())
    return result
