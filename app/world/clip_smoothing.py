"""A person's pose over a whole clip: smoothed with later frames known, without frames that nobody can move to.

Left and right exchanged for some frames, or keypoints on something else, put a limb where it cannot have come to and
gone from. Around such leaps the likeliest motion of bounded acceleration is sought by reweighted least squares (Geman
and McClure's weights, made stricter step by step, as in graduated non-convexity: Blake and Zisserman, Visual
Reconstruction, 1987); frames far from it say nothing, and the motion goes on between the others. Elsewhere it is a
low-pass without delay, at 5 Hz for trunk and legs and 8 Hz for arms; gait analysis uses 4 to 6 Hz (Winter,
Biomechanics and Motor Control of Human Movement, 2009).

What lasts a tenth of a second is left out; who is elsewhere for 0.15 s or more stays there. A kick is as short, but it
takes two or three frames to get fast: it is no leap.
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
LEAP_M_S, LEAP_M = 8.0, 0.08
"""A limb's end that moves faster, and so much more, from one frame to the next has leapt, if it comes from rest:"""
FROM_REST = 0.25
"""if the step before was at most so long a share. A kick takes two or three frames to get fast."""
SPIKE_M_S, SPIKE_S, SPIKE_BACK = 4.0, 0.14, 0.4
"""So fast is enough where it comes back within so long, off by at most such a share of its way: no kick is as short."""
BEFORE_S = 0.1
"""Frames are doubted from so long before a leap to LONGEST_S after it."""
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
PAIRS = (
    (
        Limb((Joint.LEFT_KNEE, Joint.LEFT_FOOT), Joint.PELVIS, (1, 4, 7, 10), ACCELERATION_M_S2),
        Limb((Joint.RIGHT_KNEE, Joint.RIGHT_FOOT), Joint.PELVIS, (2, 5, 8, 11), ACCELERATION_M_S2),
    ),
    (
        Limb((Joint.LEFT_ELBOW, Joint.LEFT_WRIST), Joint.NECK, (13, 16, 18, 20, 22), ARM_ACCELERATION_M_S2),
        Limb((Joint.RIGHT_ELBOW, Joint.RIGHT_WRIST), Joint.NECK, (14, 17, 19, 21, 23), ARM_ACCELERATION_M_S2),
    ),
)
LIMBS = tuple(limb for pair in PAIRS for limb in pair)


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
    axes_m = (TRUNK_M * pose[:, 0]).astype(np.float64)
    trunk = motion.weights(axes_m, ACCELERATION_M_S2, after_leaps(time_s, axes_m))
    parts = [(TRUNK_TURNED, ACCELERATION_M_S2, trunk)]
    for pair in PAIRS:
        ends_m = [(joints_m[:, list(limb.ends)] - joints_m[:, [limb.base]]).astype(np.float64) for limb in pair]
        # Where left and right are exchanged the other one may have less far to go.
        doubted = after_leaps(time_s, ends_m[0]) | after_leaps(time_s, ends_m[1])
        for limb, ends in zip(pair, ends_m, strict=True):
            own = motion.weights(ends, limb.acceleration_m_s2, doubted)
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

    def weights(self, points_m: F64, acceleration_m_s2: float, doubted: NDArray[np.bool_]) -> F64:
        """(F,) 0..1 how far each frame of points (F,P,3) fits the likeliest motion; 1 where it is not doubted (F,)."""
        columns = points_m.reshape(len(points_m), -1)
        weight = np.ones(len(columns))
        if not doubted.any():
            return weight
        limit = np.inf
        while True:
            off_m = columns - self.fitted(columns, weight, acceleration_m_s2)
            off = np.linalg.norm(off_m.reshape(points_m.shape), axis=-1).max(axis=1) / SPREAD_M
            if not limit > FAR:  # also where it is NaN
                return np.where(doubted, weight, 1.0)
            limit = max(min(float(off.max()), limit / STRICTER), FAR)
            weight = np.square(limit**2 / (limit**2 + off**2))

    def trusted(self, weight: F64) -> F64:
        """(F,) the weights, nothing for frames that are hardly believed, all for those that go on being elsewhere."""
        weight = np.where(weight < BELIEVED, _NOTHING, weight)
        for begin, end in _runs(weight == _NOTHING):
            if self._time_s[min(end, len(weight) - 1)] - self._time_s[max(begin - 1, 0)] > LONGEST_S:
                weight[begin:end] = 1.0
        return weight


def after_leaps(time_s: F64, points_m: F64) -> NDArray[np.bool_]:
    """(F,) frames around and after a leap of points (F,P,3)."""
    way_m = np.linalg.norm(np.diff(points_m, axis=0), axis=-1).max(axis=1)
    from_rest = np.concatenate([[False], way_m[:-1] < FROM_REST * way_m[1:]])
    steps_s = np.diff(time_s)
    found = (way_m > LEAP_M_S * steps_s + LEAP_M) & from_rest
    for last in np.flatnonzero((way_m > SPIKE_M_S * steps_s + LEAP_M) & from_rest & ~found).tolist():
        end = int(np.searchsorted(time_s, float(time_s[last]) + SPIKE_S))
        off_m = np.linalg.norm(points_m[last + 1 : end] - points_m[last], axis=-1).max(axis=1)
        found[last] = off_m[off_m.argmax() :].min() < SPIKE_BACK * off_m.max()
    leaps_s = time_s[:-1][found]
    since_s = time_s[:, None] - leaps_s
    return np.count_nonzero((since_s >= -BEFORE_S) & (since_s <= LONGEST_S), axis=1) > 0


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
