"""Clips of an HMR network's tokens beside the true motion: what FastHMR's decoder is conditioned on (Mehraban et al.
2025, arXiv 2510.10868: the 1024 numbers of HMR2.0's decoder token, 243 frames).

`python -m evaluation predict PACKAGE --film FILM --boxes TRUTH.npz --out PRED.npz --tokens TOKENS.npz` stores them;
TRUTH.npz is true motion (a motion file).
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bodycast.hmr.body.motion_vectors import motion_vectors
from bodycast.npz import read_npz

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
Rng = np.random.Generator
PACE = (0.85, 1.15)
LONGEST_GAP_S = 0.25
SHORTEST_S = 1.0


@dataclass(frozen=True)
class TokenClip:
    """One person's unbroken stretch: `time_s` (T,) from 0, `motion` (T,133) as `motion_vectors`, `token` (T,C)."""

    time_s: F64
    motion: F32
    token: F32


def read_clips(path: Path) -> tuple[list[TokenClip], str]:
    """The stretches of a token file's people, and the name of the package whose tokens they are. Raises: ValueError."""
    wrong = f"{path}: not a token file; python -m evaluation predict --tokens makes one"
    if not zipfile.is_zipfile(path):
        raise ValueError(wrong)
    arrays = read_npz(path)
    if not {"token", "pose", "time_s", "person_id", "package"} <= set(arrays):
        raise ValueError(wrong)
    token, pose, times, people = (arrays[name] for name in ("token", "pose", "time_s", "person_id"))
    package = str(arrays["package"])
    clips: list[TokenClip] = []
    for person in np.unique(people):
        rows = np.flatnonzero(people == person)
        rows = rows[np.argsort(times[rows], kind="stable")]
        for part in np.split(rows, np.flatnonzero(np.diff(times[rows]) > LONGEST_GAP_S) + 1):
            own_s = times[part] - times[part[0]]
            if own_s[-1] >= SHORTEST_S:
                clips.append(TokenClip(own_s, motion_vectors(pose[part]), token[part]))
    return clips, package


class TokenMotions:
    """Random windows of `frames` frames at `rate_hz`, played backwards as well and a little quicker or slower; clips
    that are shorter are stretched to a window, as FastHMR does."""

    def __init__(self, clips: Sequence[TokenClip], frames: int, rate_hz: float, tokens_of: str) -> None:
        """tokens_of: the package that made the tokens. Raises ValueError where there is no clip, or widths differ."""
        widths = {clip.token.shape[1] for clip in clips}
        if len(widths) != 1:
            raise ValueError(
                f"no stretch of {SHORTEST_S:g} s with tokens" if not clips else f"tokens of widths {widths}"
            )
        self.clips, self.frames, self.rate_hz, self.tokens_of = list(clips), frames, rate_hz, tokens_of
        self.width = widths.pop()
        length = np.array([clip.time_s[-1] for clip in clips])
        self.share = length / length.sum()

    @staticmethod
    def load(files: Sequence[Path], frames: int, rate_hz: float) -> TokenMotions:
        """Token files of one network. Raises ValueError."""
        read = [read_clips(path) for path in files]
        makers = sorted({name for _, name in read})
        if len(makers) > 1:
            raise ValueError(f"tokens of different networks: {', '.join(makers)}; a decoder reads those of one")
        return TokenMotions([clip for clips, _ in read for clip in clips], frames, rate_hz, makers[0])

    def divided(self) -> tuple[TokenMotions, TokenMotions]:
        """The clips to learn from, and every eighth, at least one, to watch. Raises ValueError where there is one."""
        if len(self.clips) < 2:
            raise ValueError("one stretch of motion with tokens: give more, one is held out")
        held = set(range(len(self.clips) - 1, -1, -8))
        parts = [[clip for k, clip in enumerate(self.clips) if (k in held) == out] for out in (False, True)]
        first, second = (TokenMotions(part, self.frames, self.rate_hz, self.tokens_of) for part in parts)
        return first, second

    def draw(self, rng: Rng, rows: int) -> tuple[F32, F32]:
        """Motion (rows,F,133) and tokens (rows,F,C)."""
        drawn = [self._row(rng, self.clips[k]) for k in rng.choice(len(self.clips), rows, p=self.share)]
        return np.stack([motion for motion, _ in drawn]), np.stack([token for _, token in drawn])

    def _row(self, rng: Rng, clip: TokenClip) -> tuple[F32, F32]:
        window_s = min((self.frames - 1) / self.rate_hz * float(rng.uniform(*PACE)), float(clip.time_s[-1]))
        begin_s = rng.uniform(0, clip.time_s[-1] - window_s)
        at = begin_s + np.linspace(0, window_s, self.frames)
        if rng.random() < 0.5:
            at = at[::-1]
        high = np.clip(np.searchsorted(clip.time_s, at, side="right"), 1, len(clip.time_s) - 1)
        span = clip.time_s[high] - clip.time_s[high - 1]
        share = np.clip((at - clip.time_s[high - 1]) / span, 0, 1).astype(np.float32)[:, None]
        motion, token = (v[high - 1] + share * (v[high] - v[high - 1]) for v in (clip.motion, clip.token))
        return motion, token
