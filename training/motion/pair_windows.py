"""Windows of what the engine itself took rendered motion for: its real errors, which follow from the pose and the
movement in ways that no error model draws. What of them comes again can be learnt, and taken off.

There is little of it, so every window is changed in ways that do not change how an engine errs: mirrored, played
backwards, a little quicker or slower, nearer or farther, with the camera rolled.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from bodycast.hmr.body.body_model import mirror_pose
from training.motion.pairs import PairedMotion, load_pairs
from training.motion.windows import WindowBatch, motion_rows, shown_frames, time_stood_for

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
Rng = np.random.Generator

PACE = (0.85, 1.15)
ROLL_RAD = 0.1
LOG_DEPTH = 0.2
TRUSTED_SCORE = 0.5
LEAST_TRUST = 0.02
"""As app/smoothers/diffusion/live.py trusts frames by their score."""

_MIRRORED_PLACE = np.array([-1, 1, 1], np.float32)


class PairWindows:
    """Random windows of pairs (training.motion.make_pairs)."""

    def __init__(self, pairs: Sequence[PairedMotion], ages_s: F64) -> None:
        """pairs: of any rate; those shorter than a window are left out. ages_s (K,): the smoother's slots.

        Raises ValueError where none is long enough.
        """
        self.ages_s, self.longest_s = ages_s, float(ages_s[-1]) + 0.15
        self.clips: list[tuple[F32, F32, F32, float]] = []
        for pair in pairs:
            trust = np.clip(pair.score / TRUSTED_SCORE, LEAST_TRUST, 1).astype(np.float32)
            sides = [
                (motion_rows(pair.pose, pair.transl_m), motion_rows(pair.saw_pose, pair.saw_transl_m)),
                (
                    motion_rows(mirror_pose(pair.pose), pair.transl_m * _MIRRORED_PLACE),
                    motion_rows(mirror_pose(pair.saw_pose), pair.saw_transl_m * _MIRRORED_PLACE),
                ),
            ]
            for true, saw in sides:
                self.clips.append((true, saw, trust, float(pair.fps)))
                self.clips.append((true[::-1], saw[::-1], trust[::-1], float(pair.fps)))
        if not any(self._room(clip, 4) > 0 for clip in self.clips):
            raise ValueError(f"no pair is as long as a window of {self.longest_s * PACE[1]:.1f} s")

    @staticmethod
    def load(folder: Path, ages_s: F64, held_out: bool, one_in: int = 8) -> PairWindows:
        """The pairs of a folder: of every `one_in`-th clip (all its pieces) where `held_out`, else of the others.

        Raises ValueError where there are too few.
        """
        return PairWindows(load_pairs(folder, held_out, one_in), ages_s)

    def batch(self, rng: Rng, size: int, answers: int, halved_share: float = 0.15) -> WindowBatch:
        """Draw one; so many of the batches have half the frame rate."""
        stride = 2 if rng.random() < halved_share else 1
        room = np.array([max(self._room(clip, answers, stride), 0) for clip in self.clips], float)
        if not room.any():
            stride, room = 1, np.array([max(self._room(clip, answers), 0) for clip in self.clips], float)
        rows = [
            self._row(rng, self.clips[k], answers, stride) for k in rng.choice(len(room), size, p=room / room.sum())
        ]
        frames = min(len(row[0]) for row in rows)
        saw = np.stack([row[0][-frames:] for row in rows])
        trust = np.stack([row[1][-frames:] for row in rows])
        time_s = np.stack([row[2][-frames:] for row in rows])
        truth = np.stack([row[3] for row in rows])
        change_camera(rng, saw, truth)
        now_s = time_s[:, -answers:]
        age_s = now_s[:, :, None] - time_s[:, None, :]
        weight = trust * shown_frames(rng, time_s) * time_stood_for(time_s)
        return WindowBatch(
            motion=torch.from_numpy(saw),
            age_s=torch.from_numpy(np.maximum(age_s, 0).astype(np.float32)),
            weight=torch.from_numpy(((age_s > -1e-6) * weight[:, None]).astype(np.float32)),
            step_s=torch.from_numpy(np.diff(time_s, axis=1)[:, -answers:].astype(np.float32)),
            truth=torch.from_numpy(truth),
        )

    def _room(self, clip: tuple[F32, F32, F32, float], answers: int, stride: int = 1) -> int:
        """In how many places of a clip the last answer can be."""
        return len(clip[0]) - self._before(clip[3], answers, stride)

    def _before(self, fps: float, answers: int, stride: int) -> int:
        """Frames of a clip that must lie before the last answer's, however quickly it is played."""
        return int(np.ceil(self.longest_s * PACE[1] * fps)) + (answers + 1) * stride

    def _row(self, rng: Rng, clip: tuple[F32, F32, F32, float], answers: int, stride: int) -> tuple[F32, F32, F64, F32]:
        """Seen (T,147), trust (T,), times (T,) and the truth at the slots (S,K,147) of one window."""
        true, saw, trust, fps = clip
        before = self._before(fps, answers, stride)
        last = int(rng.integers(before, len(true)))
        rate = fps / float(rng.uniform(*PACE))
        frames = np.arange(last % stride, last + 1, stride)[-(before // stride) :]
        ends = last - stride * np.arange(answers - 1, -1, -1)
        at = np.maximum(ends[:, None] - self.ages_s * rate, 0)
        low = at.astype(np.intp)
        share = (at - low).astype(np.float32)[..., None]
        truth = true[low] + share * (true[np.minimum(low + 1, last)] - true[low])
        return saw[frames], trust[frames], frames / rate, truth.astype(np.float32)


def change_camera(rng: Rng, *motions: F32) -> None:
    """Roll the camera, and move it nearer or farther, in place: motions (B,...,147), the same for all of a row."""
    size = len(motions[0])
    roll = rng.normal(0, ROLL_RAD, size)
    depth = rng.normal(0, LOG_DEPTH, size).astype(np.float32)
    cos, sin = np.cos(roll), np.sin(roll)
    turn = np.stack([cos, -sin, sin, cos], -1).reshape(size, 2, 2).astype(np.float32)
    for motion in motions:
        flat = motion.reshape(size, -1, motion.shape[-1])
        for first in (0, 3, 144):
            flat[..., first : first + 2] = flat[..., first : first + 2] @ turn.swapaxes(1, 2)
        flat[..., 146] += depth[:, None]
