"""How far feet are brought from where the estimate has them to where they stand, without a jump in between.

A foot that stands is put on its place; one that lets go, or is about to land, keeps a share of the last or next
correction that falls to nothing within RELEASE_S. So what is decided from frame to frame never shows as a step.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bodycast.app.records import F32, F64
from bodycast.app.world.standing import step_s

RELEASE_S, RELEASE_M = 0.2, 0.3
"""Time, and way of the sole, in which the correction of a foot that no longer stands falls to nothing."""
HELD_M = 0.003
"""What a sole that is brought somewhere may be off that place."""
BURIED_M = 0.005
"""A sole that is deeper under the plane is lifted onto it."""
REACH_M = (0.25, 0.5)
"""A sole is brought somewhere so far away less, and not at all."""
ELSEWHERE_M = (0.15, 0.3)
"""One that is so deep is lifted less, and not at all: who is there stands on a lower level that is not known yet."""


def released(time_s: F64, soles_m: F64, off_m: F64, hold: F64) -> tuple[F64, F64]:
    """Corrections of soles (F,4,3) over a clip, and their shares.

    off_m: (F,4,3) from a sole to where it stands; hold: (F,4) 0..1 how much it does. Returns (F,4,3) m the correction,
    and (F,4) 0..1 what is left of the nearest hold.
    """
    reach = max(round(RELEASE_S / step_s(time_s)), 1)
    left, total = hold.copy(), hold[..., None] * off_m
    weight = hold.copy()
    for lag in range(1, reach):
        for now, then in ((slice(lag, None), slice(None, -lag)), (slice(None, -lag), slice(lag, None))):
            passed_s = np.abs(time_s[now] - time_s[then])
            way_m = np.linalg.norm(soles_m[now] - soles_m[then], axis=-1)
            fades = hold[then] * np.maximum(1 - passed_s / RELEASE_S, 0)[:, None] * np.maximum(1 - way_m / RELEASE_M, 0)
            left[now] = np.maximum(left[now], fades)
            weight[now] += fades
            total[now] += fades[..., None] * off_m[then]
    mean = total / np.maximum(weight, 1e-9)[..., None]
    return hold[..., None] * off_m + (left - hold)[..., None] * mean, left


def in_reach(off_m: F64) -> F64:
    """(F,4) 1 for corrections (F,4,3) m that a leg can make, 0 for those that would stretch it: a foot that is seen
    too high stands far behind."""
    near, far = REACH_M
    return np.clip((far - np.linalg.norm(off_m, axis=-1)) / (far - near), 0, 1)


def held_soles(
    soles_m: F32, correction_m: F64, left: F64 | NDArray[np.bool_], up: F64, height_m: F64, free_m: F32
) -> tuple[F32, F32]:
    """Places (N,4,3) and precisions (N,4) 1/m^2 of soles (N,4,3) that are corrected by so much, `left` (N,4) > 0, and
    of soles that would be under the plane: they, or those of the pose that nothing lifted yet, `free_m` (N,4,3).

    The plane: up (N,3) or (3,), and height_m (N,) or (), of the camera above it, NaN for none.
    """
    places = soles_m + correction_m
    moved = left > 0
    up, over_m = np.asarray(up)[..., None, :], np.asarray(height_m)[..., None]
    height, free = ((points * up).sum(axis=-1) + over_m for points in (places, free_m))
    deepest = np.minimum(height, free)
    share = np.clip((ELSEWHERE_M[1] + deepest) / (ELSEWHERE_M[1] - ELSEWHERE_M[0]), 0, 1)
    buried = ((height < -BURIED_M * ~moved) | (~moved & (free < -BURIED_M))) & (share > 0)
    lift = np.where(buried, share * np.minimum(height, 0), 0)
    places = places - lift[..., None] * up
    return places.astype(np.float32), ((moved | buried) / HELD_M**2).astype(np.float32)
