"""Left and right kept from frame to frame.

Keypoint networks take people who stand with their back to the camera, or in bad light, for ones who face it, and back,
within a frame: all left keypoints change places with all right ones, and the body turns round. Nobody does. So where
the exchanged keypoints continue the last frame and the given ones do not, they are exchanged, until the network has
said otherwise for MOST_FRAMES.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bodycast.app.records import F32, I32
from bodycast.hmr.body.surface_joints import COCO_MIRROR

_BODY = slice(5, 17)
"""Shoulders to ankles: faces are often seen from one side only."""
AWAY = 0.05
"""Mean way of the keypoints in one frame, in crop heights, from which an exchange is thought of."""
NEARER = 0.5
"""Exchanged, they must be nearer to the last frame than this share of it."""
MOST_FRAMES = 20
"""So long the network is contradicted."""
GAP_FRAMES = 5
"""Somebody not seen for so long is judged afresh."""
LEAST_CONFIDENCE = 1.5
"""Sum of the twelve keypoints' confidences without which nothing is said."""


@dataclass
class _Last:
    keypoints: F32
    call: int
    contradicted: int = 0


class Sides:
    """What is remembered of each id. Use it from one thread, frames in order."""

    def __init__(self) -> None:
        self._last: dict[int, _Last] = {}
        self._calls = 0

    def exchanged(self, ids: I32, keypoints_px: F32, crop_px: F32) -> NDArray[np.bool_]:
        """(N,) whose left and right are to be exchanged. ids: (N,); keypoints_px: (N,17,3) COCO's, px and confidence;
        crop_px: (N,) height of each crop. An id may come several times: frame after frame."""
        self._calls += 1
        found = np.zeros(len(ids), np.bool_)
        for row, person in enumerate(ids.tolist()):
            last = self._last.get(person)
            contradicted = 0
            if last is not None and self._calls - last.call <= GAP_FRAMES:
                found[row] = _continues_exchanged(last.keypoints, keypoints_px[row], float(crop_px[row]))
                contradicted = last.contradicted + 1 if found[row] else 0
                if contradicted > MOST_FRAMES:
                    found[row], contradicted = False, 0
            now = keypoints_px[row][COCO_MIRROR] if found[row] else keypoints_px[row]
            self._last[person] = _Last(now, self._calls, contradicted)
        self._last = {n: last for n, last in self._last.items() if self._calls - last.call <= GAP_FRAMES}
        return found


def exchanged_sides(keypoints: F32) -> F32:
    """Keypoints (N,17,3) with left and right exchanged."""
    return keypoints[:, COCO_MIRROR]


def _continues_exchanged(before: F32, now: F32, crop_px: float) -> bool:
    other = now[COCO_MIRROR]
    weight = np.minimum(before[_BODY, 2], np.minimum(now[_BODY, 2], other[_BODY, 2]))
    total = float(weight.sum())
    if total < LEAST_CONFIDENCE:
        return False
    kept, exchanged = (
        float((np.linalg.norm(at[_BODY, :2] - before[_BODY, :2], axis=1) * weight).sum()) / total / crop_px
        for at in (now, other)
    )
    return kept > AWAY and exchanged < NEARER * kept
