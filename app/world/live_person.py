"""What is kept of one person while they are followed: body, last half second, feet that stand, root."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace

import numpy as np

from bodycast.app.records import F32, F64
from bodycast.app.world.contacts import PAST_S, Signals, features
from bodycast.app.world.held_feet import RELEASE_M, RELEASE_S, in_reach
from bodycast.app.world.leaps import Leaps
from bodycast.app.world.person_series import NEAREST_M
from bodycast.app.world.root_filter import RootState
from bodycast.app.world.shapes import RunningShape
from bodycast.app.world.standing import (
    BEGINS,
    CORRELATED_S,
    ENDS,
    SIZE_CORRELATED_S,
    SPEED_S,
    Planes,
    across_m,
    balance_sight,
    chosen_plane,
    footing_sight,
    holds,
    root_sight,
    sight,
    slow_share,
    standing_place,
    unless_seen,
)

LONGEST_GAP_S = 0.5
LETS_GO_S = 0.1
"""A foot that lands is held within this time."""
LEAST_M = 0.002
"""Smaller corrections of a foot that was let go are none."""
SAMPLE_EVERY_S = 0.2
MOST_SAMPLES = 150
_SLACK_S = 0.1


@dataclass(frozen=True)
class SeenFeet:
    """A frame's estimate: `root_m` (3,), `soles_m` (4,3), `contact` (4,) and `ankles` (2,), confidence 0..1, `sure`
    0..1, how well the person is seen, and `straight_m`, from the root to a sole of straight legs."""

    root_m: F64
    soles_m: F64
    contact: F32
    ankles: F32
    sure: float
    straight_m: float


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
    """One id. Places are in the camera frame of the first frame."""

    def __init__(self, time_s: float) -> None:
        self.shape = RunningShape()
        self.samples = FootSamples()
        self.leaps = Leaps()
        self._soles: deque[F64] = deque(maxlen=12)
        self._past: deque[tuple[float, F32, F32, float, F32]] = deque()
        self._root: RootState | None = None
        self._stands = np.zeros(4, np.bool_)
        self._grip, self._fade, self._correction = np.zeros(4), np.zeros(4), np.zeros((4, 3))
        self._precision, self._vector = np.zeros((4, 3, 3)), np.zeros((4, 3))
        self._place_m = np.zeros((4, 3))
        self._seen_by_size = np.zeros((4, 3))
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
        self.leaps.forget()
        self._past.clear()
        self._soles.clear()
        self._root = None
        self._stands[:] = False
        self._grip[:], self._correction[:] = 0, 0

    def contact_inputs(self, now: Signals, row: int, time_s: float) -> F32:
        """(1,FEATURES) for the contact network, with this frame's signals taken in."""
        self._past.append((time_s, now.across[row], now.heights_m[row], float(now.depth_m[row]), now.seen[row]))
        while self._past[0][0] < time_s + PAST_S[0] - _SLACK_S:
            self._past.popleft()
        times, across, heights, depth, seen = zip(*self._past, strict=True)
        signals = Signals(np.stack(across), np.stack(heights), np.asarray(depth, np.float32), np.stack(seen))
        return features(np.asarray(times), signals, slice(len(times) - 1, None), ahead=False)

    def step(self, seen: SeenFeet, planes: Planes, time_s: float, focal_px: float) -> tuple[F64, F32, F64, F64]:
        """This frame's root (3,), its soles (4,3) with the root there, and their corrections: (4,3) m and (4,) whether
        there is one."""
        state = self._root
        step_s = 1 / 30 if state is None else max(time_s - state.time_s, 1e-3)
        correlated = max(CORRELATED_S / step_s, 1.0)
        root_m, soles_m = seen.root_m, seen.soles_m
        state = RootState.begin(root_m, time_s) if state is None else state.predicted(time_s, seen.sure)
        size = root_sight(root_m[None], np.array([seen.sure]), max(SIZE_CORRELATED_S / step_s, 1.0))
        # New places are sought at the distance that is known so far: the size of somebody who bends says too much.
        distance = np.linalg.norm(state.updated(size[0][0], size[1][0]).mean[:3]) / np.linalg.norm(root_m)
        self._stand(replace(seen, soles_m=soles_m * distance), planes, step_s, focal_px, correlated)
        weight = (self._grip * self._stands)[None]
        legs = footing_sight(self._place_m[None], weight, root_m[None], soles_m[None], correlated)
        precision, vector = size[0][0] + legs[0][0], size[1][0] + legs[1][0]
        if planes:
            above = balance_sight(
                self._place_m[None], weight, root_m[None], soles_m[None], seen.straight_m, planes[0].up, correlated
            )
            precision, vector = precision + above[0][0], vector + above[1][0]
        self._root = state.updated(precision, vector)
        at = self._root.mean[:3].copy()
        moved = soles_m + (at - root_m)
        grip = (self._grip * in_reach(self._place_m - moved))[:, None]
        self._correction = grip * (self._place_m - moved) + (1 - grip) * self._fade[:, None] * self._correction
        left = (self._grip > 0) | (np.linalg.norm(self._correction, axis=1) > LEAST_M)
        return at, moved.astype(np.float32), self._correction.copy(), left.astype(np.float64)

    def _stand(self, seen: SeenFeet, planes: Planes, step_s: float, focal_px: float, correlated: float) -> None:
        """Which soles stand, where each does, how firmly, and what a correction that is let go keeps."""
        soles_m, contact, stood = seen.soles_m, seen.contact, self._stands
        rests, way_m = self._moves(soles_m, step_s)
        agrees = unless_seen(np.repeat(seen.ankles, 2), holds(self._place_m, soles_m) * rests)
        stands = (contact > BEGINS) | (stood & (contact > ENDS))
        stands &= ~(stood & (agrees == 0))
        fresh = stands & ~stood
        self._precision[fresh], self._vector[fresh], self._grip[fresh] = 0, 0, 0
        precision, vector = sight(soles_m, contact, focal_px, correlated)
        for sole in np.flatnonzero(stands).tolist():
            self._precision[sole] += precision[sole]
            self._vector[sole] += vector[sole]
            if fresh[sole]:
                self._seen_by_size[sole] = soles_m[sole]
            plane = chosen_plane(planes, self._seen_by_size[sole][None])
            self._place_m[sole] = standing_place(self._precision[sole], self._vector[sole], plane)
        self._stands = stands
        agrees = np.where(fresh, rests, agrees)
        self._grip = np.where(stands, np.minimum(self._grip + step_s / LETS_GO_S, agrees), 0.0)
        self._fade = np.exp(-2 * step_s / RELEASE_S) * np.maximum(1 - way_m / RELEASE_M, 0)

    def _moves(self, soles_m: F64, step_s: float) -> tuple[F64, F64]:
        """(4,) 1 where a sole hardly moves across the line of sight, 0 where it moves fast; (4,) m, its last way."""
        self._soles.append(soles_m)
        back = min(max(round(SPEED_S / step_s), 1), len(self._soles) - 1)
        if back == 0:
            return np.ones(4), np.zeros(4)
        before = self._soles[-1 - back]
        way_m = np.linalg.norm(soles_m - self._soles[-2], axis=1)
        return slow_share(across_m(soles_m, before) / (back * step_s)), way_m
