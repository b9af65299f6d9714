"""The one-euro filter on bodies: smooth at rest, little lag in motion (Casiez et al., CHI 2012).

A low-pass filter whose cutoff rises with speed: `cutoff = min_cutoff + response * speed`. Each kind of quantity has
its own: rotations are filtered on the sphere of unit quaternions (no wrap at 180 degrees), the translation as a
direction (x/z, y/z) and a log depth, since a weak-perspective camera is far less sure of the depth, and shape slowly.

Differences to the paper: the smoothing factor is `1 - exp(-dt / tau)`, exact for any step, and the speed is the
length of the low-passed *vector* of differences between raw values, so that noise does not pass for speed and a
60 fps source behaves like a 15 fps one.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import cast

import numpy as np
from numpy.typing import NDArray

from bodycast.app.records import F32, F64, I32, BodyEstimates
from bodycast.app.smoothers.rays import off_ray, on_ray
from bodycast.hmr.body.joints import ARM_JOINTS, Joint
from bodycast.hmr.geometry.rotations import matrix_to_quaternion, quaternion_to_matrix


@dataclass(frozen=True, slots=True)
class Cutoff:
    """`min_hz`: cutoff at rest; lower is smoother and slower. `response`: Hz of cutoff per unit of speed (rad/s for
    rotations, 1/s for directions, log metres and shape); higher follows motion more closely. `speed_hz`: cutoff of the
    speed estimate itself; lower mistakes less noise for speed, but notices the start of a motion later."""

    min_hz: float
    response: float
    speed_hz: float = 3.0

    def __post_init__(self) -> None:
        if not (self.min_hz > 0 and self.response >= 0 and self.speed_hz > 0):
            raise ValueError(
                f"a cutoff needs min_hz > 0, response >= 0 and speed_hz > 0, "
                f"got {self.min_hz}, {self.response} and {self.speed_hz}"
            )


@dataclass(frozen=True, slots=True)
class OneEuroOptions:
    """Strength per kind of quantity. `arms`, `legs`: where they differ from the other joints (arms are everything from
    the collar bones on, legs from the hips). `max_gap_s`: an id that was away for longer starts anew."""

    root: Cutoff = field(default_factory=lambda: Cutoff(1.0, 1.5))
    joints: Cutoff = field(default_factory=lambda: Cutoff(1.0, 1.5))
    arms: Cutoff | None = None
    legs: Cutoff | None = None
    direction: Cutoff = field(default_factory=lambda: Cutoff(1.5, 20.0))
    depth: Cutoff = field(default_factory=lambda: Cutoff(0.6, 2.0, speed_hz=1.0))
    shape: Cutoff = field(default_factory=lambda: Cutoff(0.15, 0.0))
    max_gap_s: float = 0.5


_LEGS = frozenset((1, 2, 4, 5, 7, 8, 10, 11))

# The Euclidean quantities in one vector: columns of each group.
_DIRECTION, _DEPTH, _PLACE, _SHAPE = slice(0, 2), slice(2, 3), slice(0, 3), slice(3, 13)


@dataclass(slots=True)
class _State:
    """One row per person. `raw` is what came in last, `smooth` what went out."""

    id: I32
    time_s: F64
    raw_quaternion: F32
    smooth_quaternion: F32
    angular_velocity: F32
    raw_vector: F32
    smooth_vector: F32
    vector_rate: F32

    @staticmethod
    def first_seen(estimates: BodyEstimates, time_s: float) -> _State:
        """Everybody at rest at their present pose and root translation."""
        quaternion = matrix_to_quaternion(estimates.pose).astype(np.float32)
        # A person at or behind the lens has no direction; the guard keeps the arithmetic finite.
        place = on_ray(estimates.transl_m, nearest_m=1e-3)
        vector = np.concatenate([place, estimates.betas], axis=1).astype(np.float32)
        return _State(
            id=estimates.id,
            time_s=np.full(len(estimates), time_s),
            raw_quaternion=quaternion,
            smooth_quaternion=quaternion.copy(),
            angular_velocity=np.zeros_like(quaternion[..., :3]),
            raw_vector=vector,
            smooth_vector=vector.copy(),
            vector_rate=np.zeros_like(vector),
        )

    def rows(self, rows: NDArray[np.bool_] | NDArray[np.intp]) -> _State:
        """The given people."""
        return _State(*(getattr(self, item.name)[rows] for item in fields(self)))

    def with_rows(self, where: NDArray[np.bool_], other: _State) -> _State:
        """The people at `where` replaced by those of `other`, in order."""
        out = replace(self, **{item.name: getattr(self, item.name).copy() for item in fields(self)})
        for item in fields(self):
            getattr(out, item.name)[where] = getattr(other, item.name)
        return out

    def followed_by(self, other: _State) -> _State:
        """The people of both."""
        return _State(*(np.concatenate([getattr(self, item.name), getattr(other, item.name)]) for item in fields(self)))


class OneEuroSmoother:
    """`Smoother` by one-euro filters, one per person and quantity. Causal: it holds no frame back."""

    def __init__(self, options: OneEuroOptions | None = None) -> None:
        self._options = options or OneEuroOptions()
        joints = [_cutoff_of(self._options, joint) for joint in range(24)]
        self._joint_min_hz = np.array([cutoff.min_hz for cutoff in joints], np.float32)
        self._joint_response = np.array([cutoff.response for cutoff in joints], np.float32)
        self._joint_speed_hz = np.array([[cutoff.speed_hz] for cutoff in joints], np.float32)
        self._state: _State | None = None

    @property
    def name(self) -> str:
        """`one-euro`."""
        return "one-euro"

    @property
    def lag_s(self) -> float:
        """0: the result belongs to the frame that came in. What it shows trails by 1 / (2 pi cutoff) seconds."""
        return 0.0

    def describe(self) -> str:
        """See `Smoother.describe`."""
        return self.name

    def update(self, estimates: BodyEstimates, time_s: float) -> BodyEstimates:
        """See `Smoother.update`. `score` and `token` pass through."""
        now = _State.first_seen(estimates, time_s)
        before, others = self._recall(now, time_s)
        dt = now.time_s - before.time_s
        self._smooth_rotations(now, before, dt)
        self._smooth_vector(now, before, dt)
        self._state = now if others is None else now.followed_by(others)
        vector = now.smooth_vector
        return BodyEstimates(
            id=estimates.id,
            pose=quaternion_to_matrix(now.smooth_quaternion).astype(np.float32),
            betas=vector[:, _SHAPE].copy(),
            transl_m=off_ray(vector[:, _PLACE]),
            score=estimates.score,
            token=estimates.token,
            keypoints=estimates.keypoints,
        )

    def reset(self) -> None:
        """See `Smoother.reset`."""
        self._state = None

    def close(self) -> None:
        """Nothing to release."""

    def _recall(self, now: _State, time_s: float) -> tuple[_State, _State | None]:
        """What is known of the people of `now`, row by row (`now` itself for a new id), and of those who are away."""
        state = self._state
        if state is None:
            return now, None
        age_s = time_s - state.time_s
        state = state.rows((age_s >= 0) & (age_s <= self._options.max_gap_s))
        row_of = {int(person): row for row, person in enumerate(state.id)}
        rows = np.array([row_of.get(int(person), -1) for person in now.id], np.intp)
        known = rows >= 0
        away = ~np.isin(state.id, now.id)
        return now.with_rows(known, state.rows(rows[known])), state.rows(away) if away.any() else None

    def _smooth_rotations(self, now: _State, before: _State, dt: F64) -> None:
        step_s = dt[:, None, None].astype(np.float32)
        raw = now.raw_quaternion
        # q and -q are the same rotation: take the one on the side of the last.
        raw = np.where(np.sum(raw * before.raw_quaternion, axis=-1, keepdims=True) < 0, -raw, raw)
        velocity = _per_second(_turn(before.raw_quaternion, raw), step_s)
        now.angular_velocity = _towards(before.angular_velocity, velocity, _gain(self._joint_speed_hz, step_s))
        speed = np.sqrt(np.sum(now.angular_velocity**2, axis=-1))
        gain = _gain(self._joint_min_hz + self._joint_response * speed, step_s[..., 0])[..., None]
        target = np.where(np.sum(raw * before.smooth_quaternion, axis=-1, keepdims=True) < 0, -raw, raw)
        mixed = _towards(before.smooth_quaternion, target, gain)
        now.raw_quaternion = raw
        now.smooth_quaternion = mixed / np.sqrt(np.sum(mixed**2, axis=-1, keepdims=True))

    def _smooth_vector(self, now: _State, before: _State, dt: F64) -> None:
        step_s = dt[:, None].astype(np.float32)
        rate = _per_second(now.raw_vector - before.raw_vector, step_s)
        smooth = np.empty_like(now.raw_vector)
        groups = ((_DIRECTION, self._options.direction), (_DEPTH, self._options.depth), (_SHAPE, self._options.shape))
        for columns, cutoff in groups:
            smooth_rate = _towards(before.vector_rate[:, columns], rate[:, columns], _gain(cutoff.speed_hz, step_s))
            now.vector_rate[:, columns] = smooth_rate
            speed = np.sqrt(np.sum(smooth_rate**2, axis=1, keepdims=True))
            gain = _gain(cutoff.min_hz + cutoff.response * speed, step_s)
            smooth[:, columns] = _towards(before.smooth_vector[:, columns], now.raw_vector[:, columns], gain)
        now.smooth_vector = smooth


def _cutoff_of(options: OneEuroOptions, joint: int) -> Cutoff:
    if joint == Joint.PELVIS:
        return options.root
    limb = options.arms if joint in ARM_JOINTS else options.legs if joint in _LEGS else None
    return limb or options.joints


def _gain(cutoff_hz: F32 | float, step_s: F32) -> F32:
    """Share of the new value after `step_s` in a first-order low-pass filter."""
    return np.asarray(-np.expm1(-2 * np.pi * cutoff_hz * step_s), np.float32)


def _towards(before: F32, now: F32, gain: F32) -> F32:
    return cast(F32, before + gain * (now - before))


def _per_second(difference: F32, step_s: F32) -> F32:
    """A rate; 0 over no time, where the gain of its filter is 0 as well."""
    return np.where(step_s > 0, difference / np.maximum(step_s, np.float32(1e-6)), 0).astype(np.float32)


def _turn(first: F32, second: F32) -> F32:
    """(...,3) radians: the rotation from one unit quaternion to a near one, in the frame of the first.

    The vector part of conj(first) * second, doubled: the chord for the arc, 1 % short at 30 degrees a frame.
    """
    w, x, y, z = (first[..., i] for i in range(4))
    w2, x2, y2, z2 = (second[..., i] for i in range(4))
    vector = [
        w * x2 - x * w2 - y * z2 + z * y2,
        w * y2 - y * w2 - z * x2 + x * z2,
        w * z2 - z * w2 - x * y2 + y * x2,
    ]
    return (np.float32(2) * np.stack(vector, axis=-1)).astype(np.float32)
