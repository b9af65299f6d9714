"""Pose and root translation as the smoother's network takes them: 147 numbers, and what is done with them in numpy.

Two columns of each of the 24 rotations (HMR2.0's order: one column after the other), then x/z, y/z and log z of the
translation. A trajectory is such numbers at slots of time, ages before the moment when the network was asked
(hmr/networks/temporal/motion_window.py has the same slots).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bodycast.app.records import F32, F64
from bodycast.app.smoothers.rays import off_ray, on_ray
from bodycast.hmr.geometry.rotations import rotation_6d_to_matrix

WIDTH = 147
JOINTS = 24
PLACE = slice(144, 147)
SLOT_AGES_S: tuple[float, ...] = (*(k / 30 for k in range(16)), 0.6, 0.7, 0.8, 0.95, 1.1, 1.3)
GROUP_SIZES = (*(6 for _ in range(JOINTS)), 2, 1)
"""Numbers that belong together: those of a joint, the direction of the translation, its log depth."""

_STARTS = np.concatenate([[0], np.cumsum(GROUP_SIZES)[:-1]])
_SLOPE_SLOT = 3
_CONTINUES_S = np.where(np.arange(WIDTH) < PLACE.start, 0.05, 0.3).astype(np.float32)
"""How far a movement goes on once nothing is seen of it: so many seconds' worth, however long that lasts."""


def motion_rows(pose: F32, transl_m: F32) -> F32:
    """Poses (N,24,3,3) and translations (N,3) in metres -> (N,147)."""
    columns = pose[..., :2].swapaxes(-1, -2).reshape(len(pose), PLACE.start)
    return np.concatenate([columns, on_ray(transl_m)], axis=1).astype(np.float32)


def bodies_of(rows: F32) -> tuple[F32, F32]:
    """(N,147) -> poses (N,24,3,3), rotations again where they were mixed, and translations (N,3) in metres."""
    pose = rotation_6d_to_matrix(rows[:, : PLACE.start].reshape(len(rows), JOINTS, 6))
    return pose.astype(np.float32), off_ray(rows[:, PLACE])


def group_squares(rows: F32) -> F32:
    """(...,147) -> (...,26): the squared length of each group."""
    return np.add.reduceat(rows * rows, _STARTS, axis=-1)


def per_number(groups: F32) -> F32:
    """(...,26) -> (...,147): a value per group to each of its numbers."""
    return np.repeat(groups, GROUP_SIZES, axis=-1)


def read(trajectory: F32, ages_s: NDArray[np.float64], at_s: F64) -> F32:
    """Trajectories (N,K,147) at ages (N,) of 0 or more: linear from slot to slot, held beyond the oldest -> (N,147)."""
    at = np.clip(at_s, 0, ages_s[-1])
    low = np.clip(np.searchsorted(ages_s, at, side="right") - 1, 0, len(ages_s) - 2)
    share = ((at - ages_s[low]) / (ages_s[low + 1] - ages_s[low])).astype(np.float32)[:, None]
    row = np.arange(len(trajectory))
    newer = trajectory[row, low]
    return (newer + share * (trajectory[row, low + 1] - newer)).astype(np.float32)


def continued(trajectory: F32, ages_s: NDArray[np.float64], since_s: F64) -> F32:
    """What a trajectory (N,K,147) comes to `since_s` (N,) after its newest slot, nothing more having been seen: it goes
    on as in its last 0.1 s, ever more slowly, and stops -> (N,147)."""
    newest = trajectory[:, 0]
    slope = (newest - trajectory[:, _SLOPE_SLOT]) / np.float32(ages_s[_SLOPE_SLOT])
    worth_s = -np.expm1(-np.maximum(since_s, 0)[:, None] / _CONTINUES_S) * _CONTINUES_S
    return (newest + slope * worth_s).astype(np.float32)
