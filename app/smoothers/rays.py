"""Places on the camera's rays: a direction, which one camera sees well, and a depth, which it does not."""

from __future__ import annotations

import numpy as np

from bodycast.app.records import F32


def on_ray(points_m: F32, nearest_m: float = 0.05) -> F32:
    """(...,3) metres, camera frame -> x/z, y/z, log z; a depth below `nearest_m` counts as that."""
    z = np.maximum(points_m[..., 2:], np.float32(nearest_m))
    return np.concatenate([points_m[..., :2] / z, np.log(z)], axis=-1).astype(np.float32)


def off_ray(places: F32) -> F32:
    """Inverse of `on_ray`: (...,3) -> (...,3) metres."""
    z = np.exp(places[..., 2:])
    return np.concatenate([places[..., :2] * z, z], axis=-1).astype(np.float32)
