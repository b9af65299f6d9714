"""2D skeletons over a picture: the keypoints that the network saw, or the body's joints where it saw none."""

from __future__ import annotations

import cv2
import numpy as np

from bodycast.app.records import F32, U8, FrameResult
from bodycast.app.renderers.shading import person_colours
from bodycast.hmr.body.joints import PARENTS

COCO_LIMBS: tuple[tuple[int, int], ...] = (
    (0, 1), (0, 2), (1, 3), (2, 4), (5, 6), (5, 7), (7, 9), (6, 8), (8, 10), (5, 11), (6, 12), (11, 12), (11, 13),
    (13, 15), (12, 14), (14, 16),
)  # fmt: skip
"""Pairs of COCO's 17 keypoints that are drawn as a line."""
SMPL_LIMBS: tuple[tuple[int, int], ...] = tuple((int(p), j) for j, p in enumerate(PARENTS) if p >= 0)
LEAST_CONFIDENCE = 0.3
"""Keypoints below it are not drawn: the networks give a place for joints out of sight too."""
_SUBPIXEL_BITS = 4
_FARTHEST_PX = 30000
"""OpenCV's fixed-point coordinates end here."""


def draw_skeletons(picture: U8, result: FrameResult) -> U8:
    """A new (H,W,3) uint8 BGR picture: `picture` with a skeleton for each person of the frame, nearest last.

    Keypoints of at least LEAST_CONFIDENCE, joined where both ends are drawn. Of a person without keypoints in this
    frame (a network that sees none, a frame that was filled in) the body's 24 joints, projected.
    """
    out = picture.copy()
    depth = result.estimates.transl_m[:, 2]
    colours = person_colours(result.estimates.id)
    for row in np.argsort(-depth, kind="stable"):
        points, limbs = _points(result, int(row))
        box = result.xyxy[row]
        width = float(np.clip(0.012 * np.max(box[2:] - box[:2]), 1.5, 12))
        _draw(out, points, limbs, tuple(float(value) for value in colours[row]), width)
    return out


def _points(result: FrameResult, row: int) -> tuple[F32, tuple[tuple[int, int], ...]]:
    """(K,3) x, y px and confidence, and which of them are joined."""
    seen = result.estimates.keypoints[row]
    if len(seen) and (seen[:, 2] > 0).any():
        return seen, COCO_LIMBS if len(seen) == 17 else SMPL_LIMBS
    joints = result.bodies.joints_px[row]
    sure = np.isfinite(joints).all(axis=1, keepdims=True).astype(np.float32)
    return np.concatenate([np.nan_to_num(joints), sure], axis=1).astype(np.float32), SMPL_LIMBS


def _draw(out: U8, points: F32, limbs: tuple[tuple[int, int], ...], colour: tuple[float, ...], width: float) -> None:
    sure = (points[:, 2] >= LEAST_CONFIDENCE) & (np.abs(points[:, :2]) < _FARTHEST_PX).all(axis=1)
    at = np.round(points[:, :2] * (1 << _SUBPIXEL_BITS)).astype(np.int64)
    for first, second in limbs:
        if sure[first] and sure[second]:
            ends = at[first].tolist(), at[second].tolist()
            for shade, thick in (((0.0, 0.0, 0.0), width + 2), (colour, width)):
                cv2.line(out, *ends, shade, round(thick), cv2.LINE_AA, _SUBPIXEL_BITS)
    for place in at[sure].tolist():
        radius = round((width + 1) * (1 << _SUBPIXEL_BITS) * 0.8)
        cv2.circle(out, place, radius, (255, 255, 255), -1, cv2.LINE_AA, _SUBPIXEL_BITS)
