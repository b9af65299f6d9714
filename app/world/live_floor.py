"""The floor while people are followed: fitted again and again, followed smoothly, never jumping."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from bodycast.app.records import F64
from bodycast.app.world.clip import planes_of
from bodycast.app.world.floor_fit import FloorFit, FloorSamples, Vertical, fit_floor
from bodycast.app.world.live_person import SAMPLE_EVERY_S, FootSamples
from bodycast.app.world.options import WorldOptions
from bodycast.app.world.standing import CORRELATED_S, Planes
from bodycast.hmr.geometry.ground import Floor

FIT_EVERY_S = 0.5
SELDOM_S, SELDOM_AFTER = 2.0, 20
"""After so many fits the floor is fitted less often."""
FOLLOWS_S = 1.0
"""Time constant with which the floor in use follows the fitted one."""


class LiveFloor:
    """Floor and people's levels, in the camera frame of the first frame."""

    def __init__(self, options: WorldOptions) -> None:
        self._options = options
        self.reset()

    def reset(self) -> None:
        """A cut: another camera."""
        self._floor: Floor | None = None
        self._fit: FloorFit | None = None
        self._fitted_levels: dict[int, float] = {}
        self._levels: dict[int, float] = {}
        self._next_fit_s, self._last_s, self._fits = -np.inf, -np.inf, 0

    @property
    def floor(self) -> Floor | None:
        """The floor in use."""
        return self._floor

    @property
    def fit(self) -> FloorFit | None:
        """The last fit, with its spreads."""
        return self._fit

    @property
    def levels(self) -> dict[int, float]:
        """Height above the floor of what each person stands on, m, by id."""
        return dict(self._levels)

    def forget(self, person: int) -> None:
        """Somebody who is gone, or a new person under the id of one who was."""
        self._fitted_levels.pop(person, None)
        self._levels.pop(person, None)

    def update(self, people: Mapping[int, FootSamples], time_s: float, vertical: Callable[[], Vertical | None]) -> None:
        """Fit where that is due, and follow. vertical: gives what the picture's upright edges say."""
        if self._options.floor and time_s >= self._next_fit_s:
            chosen = {person: samples for person, samples in people.items() if samples.rays}
            if chosen:
                self._next_fit_s = time_s + (FIT_EVERY_S if self._fits < SELDOM_AFTER else SELDOM_S)
                self._fits += 1
                known = replace(self._options.known, vertical=vertical())
                # The first foot that is seen to stand says a floor, which is put right as more is seen.
                self._fit = fit_floor(self._samples(chosen), known, least_weight=0.0)
                self._fitted_levels = dict(zip(chosen, self._fit.level_m.tolist(), strict=True))
        self._follow(time_s)

    def planes_of(self, person: int) -> Planes:
        """What a person may stand on."""
        return planes_of(self._floor, self._levels.get(person, 0.0))

    def _samples(self, people: Mapping[int, FootSamples]) -> FloorSamples:
        share = SAMPLE_EVERY_S / CORRELATED_S
        counts = [len(samples.rays) for samples in people.values()]
        upright: list[F64] = []
        weight: list[float] = []
        for samples in people.values():
            size = float(np.linalg.norm(samples.upright))
            weight.append(min(samples.upright_count * share, 1.0))
            upright.append(samples.upright / size * weight[-1] if size > 0 else np.zeros(3))
        return FloorSamples(
            np.concatenate([np.stack(list(samples.rays)) for samples in people.values()]),
            np.concatenate([np.asarray(samples.depth_m) for samples in people.values()]),
            np.repeat(np.arange(len(people)), counts),
            np.full(sum(counts), share),
            np.stack(upright),
            np.asarray(weight),
            np.full(len(people), self._options.size_spread),
        )

    def _follow(self, time_s: float) -> None:
        step_s = min(max(time_s - self._last_s, 0.0), 1.0)
        self._last_s = time_s
        fit = self._fit
        if fit is None or fit.floor is None:
            return
        now, goal = self._floor or fit.floor, fit.floor
        share = float(-np.expm1(-step_s / FOLLOWS_S))
        self._floor = Floor.of_angles(
            now.pitch_rad + share * (goal.pitch_rad - now.pitch_rad),
            now.roll_rad + share * (goal.roll_rad - now.roll_rad),
            float(now.height_m * (goal.height_m / now.height_m) ** share),
        )
        for person, level in self._fitted_levels.items():
            before = self._levels.get(person, level)
            follows = bool(np.isfinite(before) and np.isfinite(level))
            self._levels[person] = before + share * (level - before) if follows else level
