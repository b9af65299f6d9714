"""The focal length, where nobody says it: the usual lens, and how far people walk.

A wrong focal length stretches distances along the line of sight and nothing else, so people who walk towards or away
from the camera say it: steps per minute say how long a step is. Step length over cadence, the walk ratio, hardly
changes with an adult's speed: 0.0065 m per step/min (Sekiya et al., "The invariant relationship between step length and
step rate during free walking", J. Human Movement Studies 30, 1996). On rendered walks of a few steps it is off by 26 %
(docs/lab/world.md), so it is weighed against what lenses usually are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bodycast.app.records import F64
from bodycast.app.world.person_series import PersonSeries
from bodycast.hmr.geometry.camera import Intrinsics
from bodycast.hmr.geometry.crop_ray import rotation_to_ray

USUAL_FOV_DEG = 65.0
"""Diagonal field of view of phones' and laptops' video, after the crop for stabilisation: 55 to 80 degrees."""
USUAL_SPREAD = 0.2
"""Standard deviation of the logarithm of those lenses' focal lengths."""
WALK_RATIO_M_MIN = 0.0065
GAIT_SPREAD = 0.27
LIFTED_M = 0.03
LEAST_STEPS = 5
STEP_S = (0.33, 0.8)
EVEN = 0.5
LEAST_WALK_M = 1.0


@dataclass(frozen=True)
class LensEstimate:
    """`log_ratio`: logarithm of the focal length over the assumed one; `spread`: its standard deviation; `walks`: how
    many walks say so; `pictures`: how many pictures a field-of-view network was asked about."""

    log_ratio: float = 0.0
    spread: float = USUAL_SPREAD
    walks: int = 0
    pictures: int = 0

    @property
    def ratio(self) -> float:
        """Focal length over the assumed one."""
        return math.exp(self.log_ratio)


def usual_lens(image_wh: tuple[int, int]) -> Intrinsics:
    """The lens that is assumed where nobody says another."""
    return Intrinsics.default(image_wh, fov_rad=math.radians(USUAL_FOV_DEG))


def estimate_lens(people: Sequence[PersonSeries], seen: SeenLens | None = None) -> LensEstimate:
    """What all walks of a clip say, and what its pictures show, weighed against the usual lens."""
    return weighed([ratio for person in people if (ratio := walk_says(person)) is not None], seen)


@dataclass(frozen=True)
class SeenLens:
    """What a field-of-view network says of `pictures` pictures: logarithm of the focal length over the assumed one,
    and its standard deviation."""

    log_ratio: float
    spread: float
    pictures: int


def weighed(walks: Sequence[tuple[float, float]], seen: SeenLens | None = None) -> LensEstimate:
    """Walks as `walk_says` gives them, and what pictures show, by their precision, against the usual lens."""
    said = [*walks] if seen is None else [*walks, (seen.log_ratio, seen.spread)]
    precision, total = USUAL_SPREAD**-2, 0.0
    for log_ratio, spread in said:
        precision += spread**-2
        total += log_ratio * spread**-2
    return LensEstimate(total / precision, precision**-0.5, len(walks), 0 if seen is None else seen.pictures)


def walk_says(person: PersonSeries) -> tuple[float, float] | None:
    """Logarithm of the focal length over the assumed one by one person's longest walk, and its standard deviation;
    None: no walk, or across the line of sight."""
    steps = _steps(person)
    if len(steps) < LEAST_STEPS:
        return None
    times = person.time_s[steps]
    step_s = float(np.median(np.diff(times)))
    if not STEP_S[0] <= step_s <= STEP_S[1] or (np.abs(np.log(np.diff(times) / step_s)) < EVEN).mean() < 0.7:
        return None
    count = (times[-1] - times[0]) / step_s
    walked_m = WALK_RATIO_M_MIN * 60 / step_s * count
    went = (person.root_m[steps[-1]] - person.root_m[steps[0]]).astype(np.float64)
    across, along = float(np.hypot(went[0], went[1])), abs(float(went[2]))
    if along < LEAST_WALK_M or along < across or walked_m <= across:
        return None
    wanted = math.sqrt(walked_m**2 - across**2)
    # The part of the way that is across says nothing of the lens and makes the rest the less sure.
    return math.log(wanted / along), GAIT_SPREAD * (walked_m / wanted) ** 2


def _steps(person: PersonSeries) -> list[int]:
    """Frames at which the other foot has become the higher one."""
    heights = -(person.soles_m[..., 1] - person.root_m[:, None, 1])
    higher = heights[:, :2].mean(axis=1) - heights[:, 2:].mean(axis=1)
    higher = higher - np.median(higher)
    side, found = 0, list[int]()
    for row, value in enumerate(higher.tolist()):
        now = 1 if value > LIFTED_M else -1 if value < -LIFTED_M else side
        if now != side:
            found.append(row)
            side = now
    return found


def relens(root_m: F64, root_turn: F64, ratio: float) -> tuple[F64, F64]:
    """Root places (N,3) m and rotations (N,3,3) under a focal length that is `ratio` times as long: the picture stays,
    distances grow, and the body turns with the line of sight on which it is seen."""
    moved = root_m * np.array([1.0, 1.0, ratio])
    before, after = _to_ray(root_m), _to_ray(moved)
    return moved, after @ before.swapaxes(-1, -2) @ root_turn


def _to_ray(places_m: F64) -> F64:
    """(N,3,3) the least rotation that takes the optical axis to each place's line of sight."""
    ahead = places_m[:, :2] / np.maximum(places_m[:, 2:], 1e-3)
    return np.asarray(rotation_to_ray(np.concatenate([ahead, np.ones((len(ahead), 1))], axis=1)), np.float64)
