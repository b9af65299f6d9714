"""Similarity alignment of point sets (Procrustes; Umeyama, PAMI 1991), with the reflection guard.

This is the alignment behind PA-MPJPE: the rotation is proper even where a mirrored fit would be closer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import ArrayLike

from bodycast.hmr.geometry.arrays import FloatArray, as_float


@dataclass(frozen=True)
class Similarity:
    """`y = scale * R @ x + translation`, batched.

    scale (...), rotation (..., 3, 3), translation (..., 3), in the unit of the target points.
    """

    scale: FloatArray
    rotation: FloatArray
    translation: FloatArray

    def apply(self, points: ArrayLike) -> FloatArray:
        """Move points (..., K, 3)."""
        x = as_float(points)
        moved = x @ np.swapaxes(self.rotation, -1, -2)
        return cast(FloatArray, self.scale[..., None, None] * moved + self.translation[..., None, :])


def fit_similarity(source: ArrayLike, target: ArrayLike) -> Similarity:
    """Least-squares similarity that takes `source` (..., K, 3) onto `target` (..., K, 3), K >= 3.

    A source without extent (all points equal) gets scale 1. Raises ValueError where the shapes differ.
    """
    x, y = as_float(source), as_float(target)
    if x.shape != y.shape or x.ndim < 2 or x.shape[-1] != 3 or x.shape[-2] < 3:
        raise ValueError(f"source and target must share a shape (..., K >= 3, 3), got {x.shape} and {y.shape}")
    mean_x, mean_y = x.mean(axis=-2), y.mean(axis=-2)
    x0, y0 = x - mean_x[..., None, :], y - mean_y[..., None, :]
    variance = np.sum(x0 * x0, axis=(-1, -2))
    covariance = np.swapaxes(y0, -1, -2) @ x0
    U, singular, Vt = np.linalg.svd(covariance)
    sign = np.where(np.linalg.det(U @ Vt) < 0, -1.0, 1.0).astype(x.dtype)
    left = np.concatenate([U[..., :2], U[..., 2:] * sign[..., None, None]], axis=-1)
    rotation = left @ Vt
    trace = singular[..., 0] + singular[..., 1] + sign * singular[..., 2]
    scale = np.where(variance > 0, trace / np.where(variance > 0, variance, 1.0), 1.0).astype(x.dtype)
    translation = mean_y - scale[..., None] * (rotation @ mean_x[..., None])[..., 0]
    return Similarity(scale=scale, rotation=rotation, translation=cast(FloatArray, translation))


def align(source: ArrayLike, target: ArrayLike) -> FloatArray:
    """`source` (..., K, 3) after the best similarity onto `target`; same unit as `target`."""
    return fit_similarity(source, target).apply(source)
