"""What the list of faces says about the surface, found once when a renderer is made."""

from __future__ import annotations

import numpy as np

from app.records import F32, I32


def is_closed(faces: I32) -> bool:
    """Whether every edge of (F,3) faces is shared by exactly two of them, run through in opposite directions.

    Only then are the faces that turn away from the camera always hidden, so that they need not be drawn.
    """
    start, end = faces.reshape(-1), np.roll(faces, -1, axis=1).reshape(-1)
    count = int(faces.max()) + 1
    forward = np.sort(start.astype(np.int64) * count + end)
    backward = np.sort(end.astype(np.int64) * count + start)
    return bool(np.array_equal(forward, backward)) and len(np.unique(forward)) == len(forward)


def winds_outwards(vertices: F32, faces: I32) -> bool:
    """Whether the faces of a closed mesh (V,3) are counter-clockwise from outside (its signed volume is positive)."""
    first, second, third = (vertices[faces[:, corner]].astype(np.float64) for corner in range(3))
    return float(np.einsum("ij,ij->", first, np.cross(second, third))) > 0
