"""A person's pose over a whole clip: smoothed with later frames known, without frames that nobody can move to.

Left and right exchanged for some frames, or keypoints on something else, put a limb where it cannot have come to and
gone from. Of trunk and limbs the likeliest motion of bounded acceleration is sought by reweighted least squares (Geman
and McClure's weights, made stricter step by step, as in graduated non-convexity: Blake and Zisserman, Visual
Reconstruction, 1987); frames far from it say nothing, and the motion goes on between the others. For the others it is
a low-pass without delay, at 5 Hz for trunk and legs and 8 Hz for arms; gait analysis uses 4 to 6 Hz (Winter,
Biomechanics and Motor Control of Human Movement, 2009).

What lasts a tenth of a second is left out. Who is elsewhere for 0.15 s or more stays there, for good motion looks like
that too: a kick is as short.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bodycast.app.records import F32, F64
from bodycast.app.world.standing import LEAST_STEP_S, step_s
from bodycast.hmr.body.joints import Joint

SPREAD_M = 0.04
"""What a limb's end is usually off from frame to frame, at 30 frames/s."""
ACCELERATION_M_S2 = 40.0
ARM_ACCELERATION_M_S2 = 100.0
"""Usual size of the acceleration of a limb's end, seen from the body."""
FAR = 2.0
"""Spreads from which a frame counts less."""
STRICTER = 1.4
BELIEVED = 0.3
"""Weight below which a frame says nothing."""
LONGEST_S = 0.7
"""Somebody who is elsewhere for longer is there."""
WINDOW, OVERLAP = 240, 60
"""Frames that are solved at a time, and share with the next ones."""
_NOTHING = 1e-6
_FRAME_S = 1 / 30
TRUNK_M = 0.4
"""Length of the axes that stand for the trunk's turn."""


@dataclass(frozen=True)
class Limb:
    """`ends`: joints whose motion from `base` is looked at; `turned`: joints whose rotations follow."""

    ends: tuple[Joint, Joint]
    base: Joint
    turned: tuple[int, ...]
    acceleration_m_s2: float


TRUNK_TURNED: tuple[int, ...] = (0, 3, 6, 9, 12, 15)
LIMBS = (
    Limb((Joint.LEFT_KNEE, Joint.LEFT_FOOT), Joint.PELVIS, (1, 4, 7, 10), ACCELERATION_M_S2),
    Limb((Joint.RIGHT_KNEE, Joint.RIGHT_FOOT), Joint.PELVIS, (2, 5, 8, 11), ACCELERATION_M_S2),
    Limb((Joint.LEFT_ELBOW, Joint.LEFT_WRIST), Joint.NECK, (13, 16, 18, 20, 22), ARM_ACCELERATION_M_S2),
    Limb((Joint.RIGHT_ELBOW, Joint.RIGHT_WRIST), Joint.NECK, (14, 17, 19, 21, 23), ARM_ACCELERATION_M_S2),
)


def smooth_clip(time_s: F64, pose: F32, joints_m: F32) -> F32:
    """Poses (F,24,3,3) of one person, smoothed. time_s (F,) ascending; joints_m (F,24,3) of those poses, m, in the
    frame that their roots turn in. Fewer than four frames stay as they are."""
    smoothed = pose.copy()
    for window, kept in _windows(len(time_s)):
        smoothed[kept] = _smooth_window(time_s[window], pose[window], joints_m[window])[
            kept.start - window.start : kept.stop - window.start
        ]
    return smoothed


def _windows(count: int) -> Iterator[tuple[slice, slice]]:
    """Frames to solve at a time, and those of them to keep."""
    begin = kept = 0
    while kept < count:
        end = min(begin + WINDOW, count)
        keeps_to = count if end == count else end - OVERLAP // 2
        yield slice(begin, end), slice(kept, keeps_to)
        begin, kept = end - OVERLAP, keeps_to


def _smooth_window(time_s: F64, pose: F32, joints_m: F32) -> F32:
    count = len(time_s)
    if count < 4:
        return pose
    smoothed = pose.copy()
    motion = _Motion(time_s)
    trunk = motion.weights((TRUNK_M * pose[:, 0]).astype(np.float64), ACCELERATION_M_S2)
    parts = [(TRUNK_TURNED, ACCELERATION_M_S2, trunk)]
    for limb in LIMBS:
        ends = joints_m[:, list(limb.ends)] - joints_m[:, [limb.base]]
        own = motion.weights(ends.astype(np.float64), limb.acceleration_m_s2)
        parts.append((limb.turned, limb.acceleration_m_s2, own * trunk))
    for turned, acceleration, weight in parts:
        rotations = pose[:, list(turned)].astype(np.float64)
        fitted = motion.fitted(rotations.reshape(count, -1), motion.trusted(weight), acceleration)
        smoothed[:, list(turned)] = _nearest_rotations(fitted.reshape(rotations.shape))
    return smoothed


class _Motion:
    """Likely motions over the times of a window."""

    def __init__(self, time_s: F64) -> None:
        self._time_s = time_s
        self._frames = step_s(time_s) / _FRAME_S
        second = _second_derivative(time_s)
        self._stiff = second.T @ second * self._frames

    def fitted(self, columns: F64, weight: F64, acceleration_m_s2: float) -> F64:
        """(F,C) nearest to columns (F,C), by weights (F,), whose acceleration is small."""
        pull = weight * self._frames
        stiff = self._stiff * (SPREAD_M / acceleration_m_s2) ** 2
        return np.linalg.solve(stiff + np.diag(pull), pull[:, None] * columns).astype(np.float64)

    def weights(self, points_m: F64, acceleration_m_s2: float) -> F64:
        """(F,) 0..1 how far each frame of points (F,P,3) fits the likeliest motion."""
        columns = points_m.reshape(len(points_m), -1)
        weight = np.ones(len(columns))
        limit = np.inf
        while True:
            off_m = columns - self.fitted(columns, weight, acceleration_m_s2)
            off = np.linalg.norm(off_m.reshape(points_m.shape), axis=-1).max(axis=1) / SPREAD_M
            if not limit > FAR:  # also where it is NaN
                return weight
            limit = max(min(float(off.max()), limit / STRICTER), FAR)
            weight = np.square(limit**2 / (limit**2 + off**2))

    def trusted(self, weight: F64) -> F64:
        """(F,) the weights, nothing for frames that are hardly believed, all for those that go on being elsewhere."""
        weight = np.where(weight < BELIEVED, _NOTHING, weight)
        for begin, end in _runs(weight == _NOTHING):
            if self._time_s[min(end, len(weight) - 1)] - self._time_s[max(begin - 1, 0)] > LONGEST_S:
                weight[begin:end] = 1.0
        return weight


def _second_derivative(time_s: F64) -> F64:
    """(F-2,F) what times a column (F,) of values is its second derivative."""
    steps = np.maximum(np.diff(time_s), LEAST_STEP_S)
    before, after = steps[:-1], steps[1:]
    rows = np.arange(len(time_s) - 2)
    matrix = np.zeros((len(rows), len(time_s)))
    matrix[rows, rows] = 2 / (before * (before + after))
    matrix[rows, rows + 1] = -2 / (before * after)
    matrix[rows, rows + 2] = 2 / (after * (before + after))
    return matrix


def _runs(marked: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """First frame of each row of marked frames, and the one after its last."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], marked, [False]]).astype(np.int8)))
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)


def _nearest_rotations(matrices: F64) -> F32:
    """The rotations (...,3,3) nearest to matrices."""
    left, _, right = np.linalg.svd(matrices)
    left[..., 2] *= np.linalg.det(left @ right)[..., None]
    return (left @ right).astype(np.float32)
