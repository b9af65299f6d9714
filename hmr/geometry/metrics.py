"""Errors of recovered bodies, in the field's definitions (numpy; points in metres, errors in millimetres).

Notation: P predicted and G true points (..., F, K, 3); K joints or vertices, F frames. The leading axes are batch
axes and survive, so a caller averages over frames as its protocol asks. Alignments are never hidden: what a metric
does to the points before it measures stands in its name or its arguments.

The protocol of the papers (4D-Humans' evaluation, FastHMR): 3DPW and Human3.6M use 14 of the 44 joints, EMDB uses
SMPL's 24, all aligned at the pelvis.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bodycast.hmr.geometry.arrays import FloatArray, as_float
from bodycast.hmr.geometry.procrustes import align

MM = 1000.0


def root_relative(points: ArrayLike, root: ArrayLike | int) -> FloatArray:
    """Points (..., K, 3) minus their root: a joint index, or root points (..., 3)."""
    x = as_float(points)
    centre = x[..., root, :] if isinstance(root, int) else as_float(root)
    return x - centre[..., None, :]


def _distances(predicted: ArrayLike, truth: ArrayLike) -> FloatArray:
    p, g = as_float(predicted), as_float(truth)
    if p.shape != g.shape or p.ndim < 2:
        raise ValueError(f"predicted and true points must share a shape (..., K, D), got {p.shape} and {g.shape}")
    difference = p - g
    return np.sqrt(np.sum(difference * difference, axis=-1))


def mpjpe_mm(predicted: ArrayLike, truth: ArrayLike, root: ArrayLike | int | None = None) -> FloatArray:
    """Mean per-joint position error: mean_k |P_k - G_k|, (..., K, 3) m -> (...) mm.

    root: joint index that both sets are moved to first (the usual protocol); None compares as given.
    """
    if root is not None:
        predicted, truth = root_relative(predicted, root), root_relative(truth, root)
    return MM * _distances(predicted, truth).mean(axis=-1)


def pa_mpjpe_mm(predicted: ArrayLike, truth: ArrayLike) -> FloatArray:
    """MPJPE after the best similarity (scale, proper rotation, translation) of each pose: (..., K, 3) m -> (...) mm."""
    return MM * _distances(align(predicted, truth), truth).mean(axis=-1)


def pve_mm(
    predicted_vertices: ArrayLike,
    true_vertices: ArrayLike,
    predicted_root: ArrayLike | None = None,
    true_root: ArrayLike | None = None,
) -> FloatArray:
    """Per-vertex error: mean_v |P_v - G_v|, (..., V, 3) m -> (...) mm; with roots (..., 3), relative to them."""
    if (predicted_root is None) != (true_root is None):
        raise ValueError("give both roots or none: vertices relative to different things do not compare")
    if predicted_root is not None and true_root is not None:
        predicted_vertices = root_relative(predicted_vertices, predicted_root)
        true_vertices = root_relative(true_vertices, true_root)
    return MM * _distances(predicted_vertices, true_vertices).mean(axis=-1)


def acceleration(points: ArrayLike) -> FloatArray:
    """Second difference along the frames: (..., F, K, 3) -> (..., F-2, K, 3), x[t-1] - 2 x[t] + x[t+1]."""
    x = as_float(points)
    if x.ndim < 3 or x.shape[-3] < 3:
        raise ValueError(f"acceleration needs (..., F >= 3, K, 3), got {x.shape}")
    return x[..., :-2, :, :] - 2 * x[..., 1:-1, :, :] + x[..., 2:, :, :]


def acceleration_error_mm(
    predicted: ArrayLike, truth: ArrayLike, visible: NDArray[np.bool_] | None = None
) -> FloatArray:
    """Mean over joints of |a(P) - a(G)|, in mm per frame^2: (F, K, 3) m -> (F-2,).

    This is the "Accel" of VIBE, WHAM and FastHMR. visible (F,): a triple that touches an invisible frame is left out.
    """
    error = MM * _distances(acceleration(predicted), acceleration(truth)).mean(axis=-1)
    if visible is None:
        return error
    seen = np.asarray(visible, dtype=bool)
    if error.ndim != 1 or seen.shape != (error.shape[0] + 2,):
        raise ValueError(f"visible must be (F,) for points (F, K, 3), got {seen.shape}")
    return error[seen[:-2] & seen[1:-1] & seen[2:]]


def jitter_m_s3(points: ArrayLike, fps: float) -> FloatArray:
    """Mean norm of the jerk, |x[t] - 3 x[t+1] + 3 x[t+2] - x[t+3]| fps^3: (..., F >= 4, K, 3) m -> (...) m/s^3.

    Needs no truth, so it also measures real videos. The literature often prints it in 10 m/s^3.
    """
    x = as_float(points)
    if x.ndim < 3 or x.shape[-3] < 4:
        raise ValueError(f"jitter needs (..., F >= 4, K, 3), got {x.shape}")
    third = np.diff(x, n=3, axis=-3)
    return np.sqrt(np.sum(third * third, axis=-1)).mean(axis=(-1, -2)) * fps**3
