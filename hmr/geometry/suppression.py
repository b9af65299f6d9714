"""One box per person: greedy non-maximum suppression."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bodycast.hmr.geometry.arrays import F32, FloatArray
from bodycast.hmr.geometry.boxes import area, iou_matrix


def non_maximum_suppression(xyxy: F32, score: F32, iou_limit: float) -> NDArray[np.intp]:
    """Rows to keep, best first: a box goes when a better one that stays overlaps it by more than `iou_limit`.

    xyxy (N,4), score (N,) -> (M,).
    """
    order = np.argsort(-score, kind="stable")
    overlaps = iou_matrix(xyxy, xyxy) > iou_limit
    keep: list[int] = []
    for row in order:
        if not overlaps[row, keep].any():
            keep.append(int(row))
    return np.array(keep, np.intp)


def covered_share(boxes: FloatArray, by: FloatArray) -> FloatArray:
    """Share of each box's area that lies inside each of the others: (N,4), (M,4) -> (N,M) in 0..1."""
    low = np.maximum(boxes[:, None, :2], by[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], by[None, :, 2:])
    inside = np.prod(np.maximum(high - low, 0), axis=-1)
    return inside / np.maximum(area(boxes), 1e-9)[:, None]
