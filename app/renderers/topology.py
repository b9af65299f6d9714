"""What the list of faces says about the surface, found once when a renderer is made."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from bodycast.app.records import F32, I32

# A body has small holes (between the lips, behind the eyelids). A surface with more border than this is an open sheet.
_MOST_BORDER = 0.01


def is_closed(faces: I32) -> bool:
    """Whether every edge of (F,3) faces is shared by exactly two of them, run through in opposite directions.

    Only then are the faces that turn away from the camera always hidden, so that they need not be drawn.
    """
    forward, backward = _edges(faces)
    return len(np.unique(forward)) == len(forward) and bool(np.array_equal(np.sort(forward), np.sort(backward)))


def close_holes(faces: I32) -> I32:
    """(F,3) faces with a fan over each small hole, which makes the surface `is_closed`.

    Returned as they are where nothing is open, where much is (a sheet), or where the border branches.
    """
    forward, backward = _edges(faces)
    border = ~np.isin(forward, backward)
    if not border.any() or border.mean() > _MOST_BORDER:
        return faces
    start, end = faces.reshape(-1)[border], np.roll(faces, -1, axis=1).reshape(-1)[border]
    after = dict(zip(start.tolist(), end.tolist(), strict=True))
    if len(after) < len(start) or sorted(after) != sorted(after.values()):
        return faces
    fans: list[tuple[int, int, int]] = []
    while after:
        first, last = after.popitem()
        while last != first:
            following = after.pop(last)
            if following != first:
                # Backwards along the border, so that the fan faces the way its neighbours do.
                fans.append((following, last, first))
            last = following
    return np.concatenate([faces, np.array(fans, np.int32).reshape(-1, 3)])


def closed_surface(faces: I32) -> tuple[I32, bool]:
    """`close_holes`, and whether the result `is_closed`. Remembered, since a batch makes a renderer for every film."""
    return _closed_surface(np.ascontiguousarray(faces, np.int32).tobytes())


@lru_cache(maxsize=2)
def _closed_surface(faces: bytes) -> tuple[I32, bool]:
    closed = close_holes(np.frombuffer(faces, np.int32).reshape(-1, 3))
    return closed, is_closed(closed)


def winds_outwards(vertices: F32, faces: I32) -> bool:
    """Whether the faces of a closed mesh (V,3) are counter-clockwise from outside (its signed volume is positive)."""
    first, second, third = (vertices[faces[:, corner]].astype(np.float64) for corner in range(3))
    return float(np.einsum("ij,ij->", first, np.cross(second, third))) > 0


def _edges(faces: I32) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Every directed edge of (F,3) faces as one number, and the same edges reversed."""
    start = faces.reshape(-1).astype(np.int64)
    end = np.roll(faces, -1, axis=1).reshape(-1).astype(np.int64)
    count = int(faces.max()) + 1
    return start * count + end, end * count + start
