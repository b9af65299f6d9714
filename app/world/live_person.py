"""What is kept of one person while they are followed: body, last half second, feet that stand, root."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from bodycast.app.records import F32, F64
from bodycast.app.world.contacts import PAST_S, Signals, features
from bodycast.app.world.leaps import nobody
from bodycast.app.world.live_feet import STATE
from bodycast.app.world.person_series import NEAREST_M
from bodycast.app.world.shapes import RunningShape
from bodycast.app.world.standing import BEGINS

LONGEST_GAP_S = 0.5
SAMPLE_EVERY_S = 0.2
MOST_SAMPLES = 150
_SLACK_S = 0.1


@dataclass
class FootSamples:
    """Places where a person's feet stood, and how upright they were: for the floor's fit."""

    rays: deque[F64] = field(default_factory=lambda: deque[F64](maxlen=MOST_SAMPLES))
    depth_m: deque[float] = field(default_factory=lambda: deque[float](maxlen=MOST_SAMPLES))
    upright: F64 = field(default_factory=lambda: np.zeros(3))
    upright_count: int = 0
    next_s: float = -np.inf

    def add(self, soles_m: F32, contact: F32, upright: F32, straight: bool, time_s: float) -> None:
        """Take a frame's soles (4,3), contacts (4,), direction of the body (3,), and whether it is straight."""
        if contact.max() < BEGINS or time_s < self.next_s:
            return
        self.next_s = time_s + SAMPLE_EVERY_S
        stands = contact * (contact > BEGINS)
        place = (soles_m * stands[:, None]).sum(axis=0) / stands.sum()
        if place[2] > NEAREST_M:
            self.rays.append((place / place[2]).astype(np.float64))
            self.depth_m.append(float(place[2]))
        if straight:
            self.upright += upright
            self.upright_count += 1

    def relens(self, ratio: float) -> None:
        """The same pictures under a focal length `ratio` times as long."""
        stretch = np.array([1 / ratio, 1 / ratio, 1.0])
        self.rays = deque((ray * stretch for ray in self.rays), maxlen=MOST_SAMPLES)
        self.depth_m = deque((depth * ratio for depth in self.depth_m), maxlen=MOST_SAMPLES)


class LivePerson:
    """One id. Places are in the camera frame of the first frame. `leaps`, `feet`: of hold_leaps and step_feet."""

    def __init__(self, time_s: float) -> None:
        self.shape = RunningShape()
        self.samples = FootSamples()
        self.leaps = nobody()
        self.feet = np.zeros((), STATE)
        self._past: deque[tuple[float, F32, F32, float, F32]] = deque()
        self.last_s = time_s

    def seen_at(self, time_s: float) -> None:
        """After a gap, motion is forgotten; the body and the floor's samples stay."""
        if not 0 <= time_s - self.last_s <= LONGEST_GAP_S:
            self._forget_motion()
        self.last_s = time_s

    def forget_place(self) -> None:
        """Another camera: the body stays."""
        self.samples = FootSamples()
        self._forget_motion()

    def _forget_motion(self) -> None:
        self.leaps = nobody()
        self.feet = np.zeros((), STATE)
        self._past.clear()

    def contact_inputs(self, now: Signals, row: int, time_s: float) -> F32:
        """(1,FEATURES) for the contact network, with this frame's signals taken in."""
        self._past.append((time_s, now.across[row], now.heights_m[row], float(now.depth_m[row]), now.seen[row]))
        while self._past[0][0] < time_s + PAST_S[0] - _SLACK_S:
            self._past.popleft()
        times, across, heights, depth, seen = zip(*self._past, strict=True)
        signals = Signals(np.stack(across), np.stack(heights), np.asarray(depth, np.float32), np.stack(seen))
        return features(np.asarray(times), signals, slice(len(times) - 1, None), ahead=False)
