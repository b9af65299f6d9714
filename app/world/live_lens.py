"""The focal length while people are followed, where nobody said it: walks are asked, and the lens in use follows."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import numpy as np

from bodycast.app.records import F32
from bodycast.app.world.lens import LensEstimate, SeenLens, walk_says, weighed
from bodycast.app.world.person_series import PersonSeries

WALK_S = 8.0
"""So much of everybody's motion is kept."""
EVERY_S = 0.05
LOOK_EVERY_S = 1.0
FOLLOWS_S = 3.0
"""Time constant with which the lens in use follows the estimate: it never jumps."""
MOST_WALKS = 30
"""So many people's walks count, the newest: the lens stays when they have left."""


class LiveLens:
    """Each person's most certain walk counts. Places are those under the assumed lens. `seen`: what the pictures
    show, where a network looks at them."""

    seen: SeenLens | None = None

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """A cut: another camera."""
        self._past: dict[int, deque[tuple[float, F32, F32]]] = {}
        self._said: dict[int, tuple[float, float]] = {}
        self._next_look_s = -np.inf
        self._last_s: float | None = None
        self._log_ratio = 0.0
        self.seen = None

    @property
    def ratio(self) -> float:
        """Focal length in use over the assumed one."""
        return float(np.exp(self._log_ratio))

    def settle(self) -> None:
        """Be at the estimate now: of a picture alone, nothing could jump."""
        self._log_ratio = self.estimate.log_ratio

    @property
    def estimate(self) -> LensEstimate:
        """What all walks so far say, and the pictures, weighed against the usual lens."""
        return weighed(list(self._said.values()), self.seen)

    def update(self, ids: Iterable[int], root_m: F32, soles_m: F32, time_s: float) -> None:
        """Take a frame: roots (N,3) and soles (N,4,3) of people, m."""
        for row, person in enumerate(ids):
            past = self._past.setdefault(person, deque())
            if not past or time_s - past[-1][0] >= EVERY_S:
                past.append((time_s, root_m[row].copy(), soles_m[row].copy()))
            while past[0][0] < time_s - WALK_S:
                past.popleft()
        if time_s >= self._next_look_s:
            self._next_look_s = time_s + LOOK_EVERY_S
            self._look(time_s)
        step_s = 0.0 if self._last_s is None else min(max(time_s - self._last_s, 0.0), 1.0)
        self._last_s = time_s
        self._log_ratio += -np.expm1(-step_s / FOLLOWS_S) * (self.estimate.log_ratio - self._log_ratio)

    def _look(self, time_s: float) -> None:
        self._past = {person: past for person, past in self._past.items() if past[-1][0] > time_s - WALK_S}
        for person, past in self._past.items():
            said = walk_says(_series(past))
            if said is not None and said[1] <= self._said.get(person, (0.0, np.inf))[1]:
                self._said[person] = said
        self._said = dict(list(self._said.items())[-MOST_WALKS:])


def _series(past: deque[tuple[float, F32, F32]]) -> PersonSeries:
    """As far as a walk is concerned."""
    times, roots, soles = zip(*past, strict=True)
    count = len(times)
    nothing = np.zeros((count, 0), np.float32)
    return PersonSeries(
        np.asarray(times),
        nothing,
        np.zeros(10, np.float32),
        np.stack(roots),
        nothing,
        np.stack(soles),
        nothing,
        np.ones(count, np.float32),
    )
