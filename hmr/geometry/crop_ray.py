"""The frame in which a crop shows a body: the camera turned towards the crop's centre.

A crop hides where in the picture it was cut. Under perspective a person at the picture's edge shows another side than
the same person in the middle, so the orientation that a crop-based network can know is relative to the ray through
the crop's centre (cf. CLIFF, Li et al. 2022, section 3, on what a crop cannot tell). HMR2.0 leaves this out: its root
orientation is taken as it is. A model package says which of both its engine gives (`orientation_frame`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from bodycast.hmr.geometry.arrays import FloatArray, as_float, require_last_axes
from bodycast.hmr.geometry.rotations import skew


def rotation_to_ray(ray: ArrayLike) -> FloatArray:
    """Smallest rotation that turns +z to `ray` (..., 3), z > 0, any length; (..., 3, 3)."""
    direction = as_float(ray)
    require_last_axes(direction, (3,), "ray")
    if np.any(direction[..., 2] <= 0):
        raise ValueError("a ray must point forwards (z > 0)")
    direction = direction / np.linalg.norm(direction, axis=-1, keepdims=True)
    axis = np.stack([-direction[..., 1], direction[..., 0], np.zeros_like(direction[..., 0])], axis=-1)
    cross = skew(axis)
    scale = 1.0 / (1.0 + direction[..., 2])
    return (np.eye(3) + cross + scale[..., None, None] * (cross @ cross)).astype(direction.dtype)


def crop_ray_rotation(centre_px: ArrayLike, focal_px: ArrayLike, principal_px: ArrayLike) -> FloatArray:
    """Rotation (..., 3, 3) from a crop's frame to the camera's: root orientation in the camera = this @ the network's.

    centre_px, principal_px (..., 2) px; focal_px scalar or (...,) px.
    """
    centre = as_float(centre_px)
    require_last_axes(centre, (2,), "centre_px")
    xy = (centre - as_float(principal_px)) / np.asarray(focal_px, centre.dtype)[..., None]
    return rotation_to_ray(np.concatenate([xy, np.ones_like(xy[..., :1])], axis=-1))
