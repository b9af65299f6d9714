"""Where bodies lie in the picture: their joints' pixels and the boxes around their meshes."""

from __future__ import annotations

import numpy as np

from bodycast.app.records import F32
from bodycast.hmr.geometry.camera import Intrinsics, project_intrinsics

NEAR_M = 0.05  # vertices nearer than this, or behind the camera, have no image


def joint_pixels(joints: F32, intrinsics: Intrinsics) -> F32:
    """Pixels (N,24,2) of joints (N,24,3) m. A joint behind the camera is put at 1 cm before it, far outside."""
    before_camera = joints.copy()
    before_camera[..., 2] = np.maximum(before_camera[..., 2], 0.01)
    return project_intrinsics(before_camera, intrinsics).astype(np.float32)


def mesh_boxes(vertices: F32, intrinsics: Intrinsics) -> F32:
    """Boxes (N,4) px around the projected vertices (N,V,3) m that lie before the camera; nan where none does."""
    depth = vertices[..., 2]
    depth = np.where(depth > NEAR_M, depth, np.float32(np.nan))
    x, y = vertices[..., 0] / depth, vertices[..., 1] / depth
    # A projection keeps the order along x and y, so only the extremes are projected; fmin and fmax pass over nan.
    low = np.stack([np.fmin.reduce(x, axis=1), np.fmin.reduce(y, axis=1)], axis=-1)
    high = np.stack([np.fmax.reduce(x, axis=1), np.fmax.reduce(y, axis=1)], axis=-1)
    focal, centre = np.array([intrinsics.fx, intrinsics.fy]), np.array([intrinsics.cx, intrinsics.cy])
    return np.concatenate([low * focal + centre, high * focal + centre], axis=-1).astype(np.float32)
