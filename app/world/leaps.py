"""Live: limbs that leap where nobody can move them are held until they are back, or stay there.

Left and right exchanged for some frames, or keypoints on something else: a file knows the frames after them
(app/world/clip_smoothing.py), a live run waits.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bodycast.app.records import F32
from bodycast.app.world.clip_smoothing import FROM_REST, LEAP_M, LEAP_M_S, LIMBS, TRUNK_M, TRUNK_TURNED

BACK_M = 0.15
"""So near to where it was, a limb is back."""
WAITS_S = 0.2
LONGEST_STEP_S = 0.15
"""Frames farther apart say nothing of leaps."""
_ENDS: NDArray[np.intp] = np.array([(*limb.ends, limb.ends[0]) for limb in LIMBS], np.intp)
_BASES: NDArray[np.intp] = np.array([limb.base for limb in LIMBS], np.intp)
_TURNED = (TRUNK_TURNED, *(limb.turned for limb in LIMBS))


PARTS = len(_TURNED)
STATE = np.dtype(
    [
        ("time_s", "f8"),
        ("raw", "f4", (PARTS, 3, 3)),
        ("way_m", "f4", (PARTS,)),
        ("good", "f4", (PARTS, 3, 3)),
        ("since_s", "f8", (PARTS,)),
        ("pose", "f4", (24, 3, 3)),
    ]
)
"""What is kept of one person: when they were looked at, where trunk and limbs were then and how far they had come since
the last look; where they were before they leapt; since when each is doubted, NaN for not; the last pose given."""


def nobody() -> NDArray[np.void]:
    """() of dtype STATE, of somebody who was not seen before."""
    state = np.zeros((), STATE)
    state["time_s"] = -np.inf
    return state


def hold_leaps(
    state: NDArray[np.void], pose: F32, joints_m: F32, time_s: float, looked: NDArray[np.bool_] | None = None
) -> F32:
    """Poses (N,24,3,3) of N people, with limbs that leapt as they were; the same array where none did.

    state (N,) of dtype STATE is changed. joints_m (N,24,3): of those poses. looked (N,): whose pose is of this frame's
    picture, None for everybody; the others' is an earlier one, and their way counts from the last look. Without the
    trunk nothing of a pose is believed.
    """
    ends_m = _ends(pose, joints_m)
    step_s = time_s - state["time_s"]
    new = ~((step_s > 0) & (step_s <= LONGEST_STEP_S))
    fresh = np.ones(len(pose), np.bool_) if looked is None else looked | new
    way_m = _farthest(ends_m - state["raw"])
    leaps = (way_m > (LEAP_M_S * step_s + LEAP_M)[:, None]) & (state["way_m"] < FROM_REST * way_m) & fresh[:, None]
    since_s = np.where(new[:, None], np.nan, state["since_s"])
    with np.errstate(invalid="ignore"):
        over = (_farthest(ends_m - state["good"]) < BACK_M) | (time_s - since_s > WAITS_S)
    doubted = np.where(np.isfinite(since_s), ~over, leaps & ~new[:, None])
    state["since_s"] = np.where(doubted, np.where(np.isfinite(since_s), since_s, time_s), np.nan)
    held = doubted | doubted[:, :1]
    given = _with_held(pose, state["pose"], held) if held.any() else pose
    state["time_s"], state["pose"] = np.where(fresh, time_s, state["time_s"]), given
    state["raw"] = np.where(fresh[:, None, None, None], ends_m, state["raw"])
    state["way_m"] = np.where(fresh[:, None], np.where(new[:, None], 0, way_m), state["way_m"])
    state["good"] = np.where(held[..., None, None], state["good"], ends_m)
    return given


def _with_held(pose: F32, before: F32, held: NDArray[np.bool_]) -> F32:
    pose = pose.copy()
    for row, part in np.argwhere(held).tolist():
        pose[row, list(_TURNED[part])] = before[row, list(_TURNED[part])]
    return pose


def _ends(pose: F32, joints_m: F32) -> F32:
    """(N,PARTS,3,3) points of trunk and limbs, m, whose motion is looked at; the limbs have two, one of them twice."""
    limbs = joints_m[:, _ENDS] - joints_m[:, _BASES][:, :, None]
    return np.concatenate([TRUNK_M * pose[:, :1], limbs], axis=1)


def _farthest(way_m: F32) -> F32:
    """(N,PARTS) the longest of each part's ways (N,PARTS,3,3)."""
    return np.sqrt(np.square(way_m).sum(axis=-1).max(axis=-1))
