"""Whole windows of what an engine took rendered motion for, as motion vectors: what FastHMR's decoder learns from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bodycast.hmr.body.body_model import mirror_pose
from bodycast.hmr.body.motion_vectors import POINTS, motion_vectors
from training.motion.pair_windows import PACE, ROLL_RAD
from training.motion.pairs import PairedMotion, load_pairs

F32 = NDArray[np.float32]
Rng = np.random.Generator


class PairMotions:
    """Random windows of `frames` frames at `rate_hz` from pairs, mirrored and played backwards as well, the camera
    rolled a little."""

    def __init__(self, pairs: Sequence[PairedMotion], frames: int, rate_hz: float) -> None:
        """Pairs shorter than a window are left out. Raises ValueError where none is long enough."""
        self.frames, self.rate_hz = frames, rate_hz
        self.clips: list[tuple[F32, F32, float]] = []
        longest_s = (frames - 1) / rate_hz * PACE[1]
        for pair in pairs:
            if (len(pair) - 1) / float(pair.fps) < longest_s:
                continue
            for turn in (lambda pose: pose, mirror_pose):
                true, saw = motion_vectors(turn(pair.pose)), motion_vectors(turn(pair.saw_pose))
                self.clips += [(true, saw, float(pair.fps)), (true[::-1], saw[::-1], float(pair.fps))]
        if not self.clips:
            raise ValueError(f"no pair is as long as a window of {longest_s:.1f} s")
        length = np.array([len(true) for true, _, _ in self.clips], float)
        self.share = length / length.sum()

    @staticmethod
    def load(folder: Path, frames: int, rate_hz: float, held_out: bool) -> PairMotions:
        """As `training.motion.pairs.load_pairs` divides a folder. Raises ValueError where there are too few."""
        return PairMotions(load_pairs(folder, held_out), frames, rate_hz)

    def draw(self, rng: Rng, rows: int) -> tuple[F32, F32]:
        """Truth and estimate, each (rows, frames, 133), a little quicker or slower than they were."""
        pairs = [self._row(rng, *self.clips[k]) for k in rng.choice(len(self.clips), rows, p=self.share)]
        return np.stack([true for true, _ in pairs]), np.stack([saw for _, saw in pairs])

    def _row(self, rng: Rng, true: F32, saw: F32, fps: float) -> tuple[F32, F32]:
        step = fps / self.rate_hz * float(rng.uniform(*PACE))
        at = rng.uniform(0, len(true) - 1 - step * (self.frames - 1)) + step * np.arange(self.frames)
        low = np.minimum(at.astype(np.intp), len(true) - 2)
        share = (at - low).astype(np.float32)[:, None]
        angle = rng.normal(0, ROLL_RAD)
        return tuple(_rolled(m[low] + share * (m[low + 1] - m[low]), angle) for m in (true, saw))  # type: ignore[return-value]


def _rolled(motion: F32, angle_rad: float) -> F32:
    """Motion vectors (..., 133) under a camera turned about its line of sight; twists are the bones' own."""
    cos, sin = np.float32(np.cos(angle_rad)), np.float32(np.sin(angle_rad))
    out = motion.copy()
    joints, rolled = (m[..., : 3 * POINTS].reshape(*m.shape[:-1], POINTS, 3) for m in (motion, out))
    rolled[..., 0] = cos * joints[..., 0] - sin * joints[..., 1]
    rolled[..., 1] = sin * joints[..., 0] + cos * joints[..., 1]
    return out
