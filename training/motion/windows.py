"""Training examples for the live smoother: short motions before random cameras, seen with random errors at random
frame rates, with gaps and short histories."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bodycast.hmr.body.body_model import forward_kinematics
from bodycast.hmr.body.motion_vectors import rest_joints_29
from bodycast.hmr.geometry.rotations import axis_angle_to_matrix, rotation_6d_to_matrix
from training.motion.data import (
    ENDS,
    FAST_M_S,
    MotionClip,
    at_rate,
    load_split,
    mirrored,
    plausible_runs,
    reversed_in_time,
)
from training.motion.error_model import ErrorModel, Strength, observe, place_of
from training.synthetic.scene import FLIP_YZ

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
Rng = np.random.Generator
STORE_HZ = 60.0


def motion_rows(pose: F32, transl_m: F32) -> F32:
    """(..., 24, 3, 3) and (..., 3) -> the smoother's (..., 147); see hmr/networks/temporal/motion_window.py."""
    columns = np.ascontiguousarray(pose[..., :2].swapaxes(-1, -2))
    return np.concatenate([columns.reshape(*pose.shape[:-3], 144), place_of(transl_m)], -1).astype(np.float32)


@dataclass(frozen=True)
class WindowBatch:
    """B sequences of T frames, observed by S consecutive answers, truth at K slots.

    motion (B,T,147) as observed; age_s, weight (B,S,T): of each frame at each answer, weight 0 where it lies ahead or
    was not seen; step_s (B,S) since the answer before; truth (B,S,K,147).
    """

    motion: Tensor
    age_s: Tensor
    weight: Tensor
    step_s: Tensor
    truth: Tensor

    def to(self, device: torch.device | str) -> WindowBatch:
        """On another device."""
        return WindowBatch(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))


def joined(first: WindowBatch, second: WindowBatch) -> WindowBatch:
    """The rows of both; the one with fewer frames gets some that do not count."""
    frames = max(first.motion.shape[1], second.motion.shape[1])

    def longer(values: Tensor, frame_axis: int) -> Tensor:
        lacking = list(values.shape)
        lacking[frame_axis] = frames - values.shape[frame_axis]
        return torch.cat((values.new_zeros(lacking), values), frame_axis)

    parts = (
        WindowBatch(longer(b.motion, 1), longer(b.age_s, 2), longer(b.weight, 2), b.step_s, b.truth)
        for b in (first, second)
    )
    one, other = parts
    return WindowBatch(
        *(torch.cat((getattr(one, name), getattr(other, name))) for name in WindowBatch.__dataclass_fields__)
    )


class MotionWindows:
    """All believable motion of a split, and random windows of it."""

    def __init__(
        self,
        clips: list[MotionClip],
        errors: ErrorModel,
        ages_s: F64,
        rates_hz: tuple[float, ...],
        fast_share: float = 0.0,
        own_share: float = 0.0,
    ) -> None:
        """clips: at any rate. ages_s (K,): the smoother's slots. rates_hz and the shares: see `MotionRecipe`."""
        self.errors, self.ages_s, self.rates_hz = errors, ages_s, rates_hz
        self.longest_s = float(ages_s[-1]) + 0.15
        runs: list[MotionClip] = []
        for clip in clips:
            for run in plausible_runs(clip, round(clip.fps * 0.8)):
                stored = at_rate(run, STORE_HZ)
                runs += [stored, mirrored(stored), reversed_in_time(stored)]
        if not runs:
            raise ValueError("no believable motion of 0.8 s or more to train on")
        self.runs = [(np.ascontiguousarray(run.pose[..., :2].swapaxes(-1, -2)), run.transl_m) for run in runs]
        length = np.array([len(run) for run in runs], float)
        self.share = length / length.sum()
        moments = [fast_moments_s(run) for run in runs] if fast_share else []
        self.fast = [(row, float(at_s)) for row, found in enumerate(moments) for at_s in found]
        self.fast_share, self.own_share = fast_share if self.fast else 0.0, own_share

    @staticmethod
    def load(
        folder: Path | Sequence[Path],
        split: str,
        errors: ErrorModel,
        ages_s: F64,
        rates_hz: tuple[float, ...],
        fast_share: float = 0.0,
        own_share: float = 0.0,
    ) -> MotionWindows:
        """The clips of a split in a folder or several."""
        return MotionWindows(load_split(folder, split), errors, ages_s, rates_hz, fast_share, own_share)

    def batch(self, rng: Rng, size: int, answers: int, strength: tuple[float, float]) -> WindowBatch:
        """Draw one."""
        rate = float(rng.choice(self.rates_hz))
        mean_hz = rate or 26.0
        frames = int(np.ceil(self.longest_s * mean_hz)) + answers
        step = np.full((size, frames), 1 / mean_hz)
        if rate == 0:
            step = np.clip(rng.gamma(3.0, 1 / (3 * mean_hz), (size, frames)), 1 / 60, 0.12)
        time_s = np.cumsum(step, axis=1)
        now_s = time_s[:, -answers:]
        slots_s = now_s[:, :, None] - self.ages_s
        columns, transl = self._truth(rng, size, np.concatenate([time_s, slots_s.reshape(size, -1)], axis=1))
        pose = rotation_6d_to_matrix(columns.reshape(*columns.shape[:-2], 6)).astype(np.float32)
        saw_pose, saw_transl, seen = self._observed(rng, pose[:, :frames], transl[:, :frames], time_s, strength)
        seen &= shown_frames(rng, time_s)
        age_s = now_s[:, :, None] - time_s[:, None, :]
        truth = motion_rows(pose[:, frames:], transl[:, frames:]).reshape(size, answers, len(self.ages_s), -1)
        return WindowBatch(
            motion=torch.from_numpy(motion_rows(saw_pose, saw_transl)),
            age_s=torch.from_numpy(np.maximum(age_s, 0).astype(np.float32)),
            weight=torch.from_numpy(
                ((age_s > -1e-6) & seen[:, None]).astype(np.float32) * time_stood_for(time_s)[:, None]
            ),
            step_s=torch.from_numpy(np.diff(time_s, axis=1)[:, -answers:].astype(np.float32)),
            truth=torch.from_numpy(truth),
        )

    def motions(self, rng: Rng, time_s: F64, strength: tuple[float, float]) -> tuple[F32, F32]:
        """Whole motions at times (B,T): poses (B,T,24,3,3), root in a camera's frame, true and as estimated."""
        pose, transl = self._poses(rng, time_s)
        return pose, self._observed(rng, pose, transl, time_s, strength)[0]

    def true_motions(self, rng: Rng, time_s: F64) -> F32:
        """The same without estimates."""
        return self._poses(rng, time_s)[0]

    def _poses(self, rng: Rng, time_s: F64) -> tuple[F32, F32]:
        columns, transl = self._truth(rng, len(time_s), time_s)
        return rotation_6d_to_matrix(columns.reshape(*columns.shape[:-2], 6)).astype(np.float32), transl

    def _truth(self, rng: Rng, size: int, time_s: F64) -> tuple[F32, F32]:
        """Rotation columns (B,N,24,2,3) and camera-frame translations (B,N,3) of `size` motions at times (B,N)."""
        columns = np.empty((*time_s.shape, 24, 2, 3), np.float32)
        place = np.empty((*time_s.shape, 3), np.float32)
        for row in range(size):
            speed = float(np.exp(rng.normal(0, 0.2)))
            own = (time_s[row] - time_s[row].min()) * speed
            number, start = self._place(rng, float(own.max()))
            run, transl = self.runs[number]
            at = np.clip((start + own) * STORE_HZ, 0, len(run) - 1.001)
            low = at.astype(np.intp)
            high = np.minimum(low + 1, len(run) - 1)
            w = (at - low).astype(np.float32)
            columns[row] = run[low] + w[:, None, None, None] * (run[high] - run[low])
            place[row] = transl[low] + w[:, None] * (transl[high] - transl[low])
            turn = camera_turn(rng)
            columns[row, :, 0] = columns[row, :, 0] @ turn.T
            place[row] = (place[row] - place[row].mean(0)) @ turn.T
        depth = rng.uniform(1.5, 6, (size, 1)).astype(np.float32)
        off = rng.normal(0, 0.15, (size, 1, 2)).astype(np.float32)
        place[..., 2] = np.maximum(place[..., 2] + depth, 0.6)
        place[..., :2] += off * depth[..., None]
        return columns, place

    def _place(self, rng: Rng, length_s: float) -> tuple[int, float]:
        """A run, and where in it a window begins: anywhere, or so that its last half second has something fast."""
        fast = self.fast_share > 0 and rng.random() < self.fast_share
        if fast:
            number, at_s = self.fast[rng.integers(len(self.fast))]
            wanted_s = at_s + rng.uniform(0, 0.5) - length_s
        else:
            number, wanted_s = int(rng.choice(len(self.runs), p=self.share)), 0.0
        latest_s = max((len(self.runs[number][0]) - 1) / STORE_HZ - length_s, 0)
        return number, float(np.clip(wanted_s, 0, latest_s)) if fast else rng.uniform(0, latest_s)

    def _observed(self, rng: Rng, pose: F32, transl: F32, time_s: F64, strength: tuple[float, float]):
        if rng.random() < self.own_share:
            return observe(self.errors, rng, pose, transl, time_s)
        size = len(pose)
        low, high = strength
        factors = Strength(
            bias=rng.uniform(0, high, size).astype(np.float32),
            noise=rng.uniform(low, high, size).astype(np.float32),
            depth=rng.uniform(0.4, 1.5, size).astype(np.float32),
            events=0.6,
            legs_cut=rng.random(size) < 0.2,
        )
        # Another engine errs in other places and at another pace: only the kind of error is to be learnt.
        pace = np.exp(rng.normal(0, 0.35, (size, 1)))
        return observe(self.errors, rng, pose, transl, time_s * pace, factors, vary=True)


def shown_frames(rng: Rng, time_s: F64) -> NDArray[np.bool_]:
    """(B,T) False in gaps, which a quarter of the rows have, and before a person came."""
    size = len(time_s)
    end = time_s[:, -1:]
    gap_end = end - rng.uniform(-0.1, 1.0, (size, 1))
    gap = (time_s > gap_end - rng.uniform(0.08, 0.6, (size, 1))) & (time_s < gap_end)
    gap &= rng.random((size, 1)) < 0.25
    came = np.where(rng.random((size, 1)) < 0.2, end - rng.uniform(0.05, 1.0, (size, 1)), -np.inf)
    shown = ~gap & (time_s >= came)
    shown[:, 0] |= ~shown.any(1)
    return shown


def time_stood_for(time_s: F64) -> F32:
    """(B,T) how much time each frame stands for, in thirtieths of a second, as frame_memory.py weighs."""
    around = np.diff(time_s, axis=1)
    both = np.concatenate([around[:, :1], around], 1) + np.concatenate([around, around[:, -1:]], 1)
    return np.clip(15 * both, 0.2, 2).astype(np.float32)


def fast_moments_s(run: MotionClip) -> F64:
    """Seconds into a run, a tenth apart or more, at which a wrist or an ankle moves fast, seen from the pelvis."""
    _, places = forward_kinematics(run.pose, rest_joints_29()[None, :24])
    ends = places[:, ENDS] - places[:, :1]
    speed = np.linalg.norm(np.diff(ends, axis=0), axis=-1).max(1) * run.fps
    tenth = max(1, round(run.fps / 10))
    return np.array([k / run.fps for k in range(0, len(speed), tenth) if speed[k : k + tenth].max() > FAST_M_S])


def camera_turn(rng: Rng) -> F32:
    """(3,3) world (y up) -> a camera, mostly level, seeing the person from any side."""
    angles = np.array([[0, rng.uniform(-np.pi, np.pi), 0], [rng.normal(0.05, 0.2), 0, 0], [0, 0, rng.normal(0, 0.05)]])
    yaw, pitch, roll = (axis_angle_to_matrix(a.astype(np.float32)) for a in angles)
    return (roll @ pitch @ FLIP_YZ @ yaw).astype(np.float32)
