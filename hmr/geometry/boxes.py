"""Axis-aligned boxes, `xyxy` in pixels."""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import ArrayLike

from bodycast.hmr.geometry.arrays import BoolArray, FloatArray, as_float, require_last_axes


def area(xyxy: ArrayLike) -> FloatArray:
    """(..., 4) -> (...) in px^2; an inverted box counts as empty."""
    boxes = as_float(xyxy)
    require_last_axes(boxes, (4,), "xyxy")
    size = np.maximum(boxes[..., 2:] - boxes[..., :2], 0)
    return size[..., 0] * size[..., 1]


def iou_matrix(first: ArrayLike, second: ArrayLike) -> FloatArray:
    """Intersection over union of every pair: (N, 4), (M, 4) -> (N, M) in 0..1 (two empty boxes: 0)."""
    a, b = as_float(first).reshape(-1, 4), as_float(second).reshape(-1, 4)
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    overlap = np.maximum(high - low, 0)
    intersection = overlap[..., 0] * overlap[..., 1]
    union = area(a)[:, None] + area(b)[None, :] - intersection
    return cast(FloatArray, intersection / np.where(union > 0, union, 1))


def clip(xyxy: ArrayLike, image_wh: tuple[int, int]) -> FloatArray:
    """Boxes (..., 4) moved inside the image: x in 0..W, y in 0..H."""
    boxes = as_float(xyxy)
    require_last_axes(boxes, (4,), "xyxy")
    limit = np.array([image_wh[0], image_wh[1]] * 2, dtype=boxes.dtype)
    return np.clip(boxes, 0, limit).astype(boxes.dtype)


def pad(xyxy: ArrayLike, fraction: float) -> FloatArray:
    """Boxes (..., 4) grown on every side by `fraction` of their width and height (negative shrinks)."""
    boxes = as_float(xyxy)
    require_last_axes(boxes, (4,), "xyxy")
    margin = (boxes[..., 2:] - boxes[..., :2]) * fraction
    return np.concatenate([boxes[..., :2] - margin, boxes[..., 2:] + margin], axis=-1).astype(boxes.dtype)


def from_points(points_px: ArrayLike, valid: BoolArray | None = None, padding: float = 0.0) -> FloatArray:
    """Tight box around points (..., K, 2) -> (..., 4), grown by `padding` of its size on every side.

    valid (..., K) leaves points out; non-finite points are left out too. A set without any valid point gives nan.
    """
    points = as_float(points_px)
    require_last_axes(points, (2,), "points_px")
    keep: BoolArray = np.all(np.isfinite(points), axis=-1)
    if valid is not None:
        keep = keep & valid
    infinity = np.asarray(np.inf, dtype=points.dtype)
    low = np.where(keep[..., None], points, infinity).min(axis=-2)
    high = np.where(keep[..., None], points, -infinity).max(axis=-2)
    some = np.any(keep, axis=-1, keepdims=True)
    box = np.where(some, np.concatenate([low, high], axis=-1), np.nan).astype(points.dtype)
    return pad(box, padding)


def union(first: ArrayLike, second: ArrayLike) -> FloatArray:
    """Smallest boxes that hold both: (..., 4), (..., 4) -> (..., 4)."""
    a, b = as_float(first), as_float(second)
    require_last_axes(a, (4,), "first")
    require_last_axes(b, (4,), "second")
    return np.concatenate([np.minimum(a[..., :2], b[..., :2]), np.maximum(a[..., 2:], b[..., 2:])], axis=-1)


def centre_size(xyxy: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Centres (..., 2) and sizes wh (..., 2)."""
    boxes = as_float(xyxy)
    require_last_axes(boxes, (4,), "xyxy")
    return 0.5 * (boxes[..., :2] + boxes[..., 2:]), boxes[..., 2:] - boxes[..., :2]
