"""Live: limbs that leap where nobody can move them are held until they are back, or stay there.

Left and right exchanged for some frames, or keypoints on something else: a file knows the frames after them
(app/world/clip_smoothing.py), a live run waits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bodycast.app.records import F32, F64
from bodycast.app.world.clip_smoothing import LIMBS, TRUNK_M, TRUNK_TURNED

LEAP_M_S = 8.0
LEAP_M = 0.08
"""Faster, and so much more, is a leap: speed and noise of a limb's end, seen from the body."""
BACK_M = 0.15
"""So near to where it was, a limb is back."""
WAITS_S = 0.2
LONGEST_STEP_S = 0.15
"""Frames farther apart say nothing of leaps."""
_ENDS: NDArray[np.intp] = np.array([limb.ends for limb in LIMBS], np.intp)
_BASES: NDArray[np.intp] = np.array([limb.base for limb in LIMBS], np.intp)
_TURNED = (TRUNK_TURNED, *(limb.turned for limb in LIMBS))


@dataclass
class _Seen:
    time_s: float
    raw_m: F32
    good_m: F32
    pose: F32
    since_s: F64


class Leaps:
    """Of one person. First part: the trunk, without which nothing of the pose is believed."""

    def __init__(self) -> None:
        self._seen: _Seen | None = None

    def forget(self) -> None:
        """After a gap or a cut."""
        self._seen = None

    def steady(self, pose: F32, joints_m: F32, time_s: float) -> F32:
        """The pose (24,3,3), with limbs that leapt as they were. joints_m (24,3): of that pose."""
        ends_m = _ends(pose, joints_m)
        seen = self._seen
        if seen is None or not 0 < time_s - seen.time_s <= LONGEST_STEP_S:
            self._seen = _Seen(time_s, ends_m, ends_m, pose, np.full(len(_TURNED), np.nan))
            return pose
        limit_m = LEAP_M_S * (time_s - seen.time_s) + LEAP_M
        leaps = _farthest(ends_m - seen.raw_m) > limit_m
        doubted = np.isfinite(seen.since_s)
        over = (_farthest(ends_m - seen.good_m) < BACK_M) | (time_s - seen.since_s > WAITS_S)
        doubted = np.where(doubted, ~over, leaps)
        seen.since_s = np.where(doubted, np.where(np.isfinite(seen.since_s), seen.since_s, time_s), np.nan)
        seen.time_s, seen.raw_m = time_s, ends_m
        if doubted.any():
            pose = pose.copy()
            for part in np.flatnonzero(doubted | doubted[0]).tolist():
                pose[list(_TURNED[part])] = seen.pose[list(_TURNED[part])]
        seen.good_m = np.where((doubted | doubted[0])[:, None, None], seen.good_m, ends_m)
        seen.pose = pose
        return pose


def _ends(pose: F32, joints_m: F32) -> F32:
    """(5,3,3) points of trunk and limbs, m, whose motion is looked at; the limbs have two, one of them twice."""
    limbs = joints_m[_ENDS] - joints_m[_BASES][:, None]
    return np.concatenate([TRUNK_M * pose[:1], np.concatenate([limbs, limbs[:, :1]], axis=1)])


def _farthest(way_m: F32) -> F32:
    """(5,) the longest of each part's ways (5,3,3)."""
    return np.linalg.norm(way_m, axis=-1).max(axis=1)
