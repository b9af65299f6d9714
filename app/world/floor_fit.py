"""The floor from feet that stand on it: a robust plane that several people and their sizes agree on.

A foot that stands is seen on a ray, and the size of its person says how far along. Sizes are unsure by some percent, so
they are unknowns too, tied to the network's answer; the plane is tied to what upright bodies say of the vertical, and
to a level camera. Somebody whose feet disagree with everybody's floor by more than a size can explain stands on a
level of their own, parallel to it: a roof, a stage, stairs.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from bodycast.app.records import F64
from bodycast.hmr.geometry.ground import Floor, up_of

SIZE_SPREAD = 0.05
"""Standard deviation of the logarithm of a person's size about the network's answer, where no height is given."""
SAMPLE_SPREAD = 0.08
"""Of the logarithm of one sample's distance; samples of one place err together, see `PLACE_M`."""
UPRIGHT_RAD = 0.1
"""Of the vertical that one person's body says, about each axis."""
LEVEL_PITCH_RAD, LEVEL_ROLL_RAD = 0.2, 0.06
"""Of cameras, before anything is seen."""
USUAL_HEIGHT_M, HEIGHT_SPREAD = 1.5, 0.8
OUTLIER = 0.12
"""Logarithm of a distance from which a sample is believed ever less (weights of Cauchy)."""
OWN_LEVEL = 0.17
"""Somebody this far off everybody's floor, as the logarithm of a distance, stands on a level of their own."""
LEVEL_WEIGHT = 2.0
"""Nobody has a level of their own before their samples' weights add up to more: feet that stand for a second."""
UNEVEN, UNEVEN_SHARE = 0.2, 0.35
"""Somebody of whose samples this share is so far off their plane, as a logarithm, stands on none: stairs."""
LEAST_DROP = 0.02
"""Sine of the least angle below the horizon at which a foot says anything."""
LEAST_WEIGHT = 0.4
"""Samples' weights must add up to this much: a foot that stands for a fifth of a second."""


@dataclass(frozen=True)
class FloorSamples:
    """S places of feet that stand, of K people. `rays` (S,3) with z = 1; `depth_m` (S,) by the person's size; `person`
    (S,) 0..K-1; `weight` (S,) how much each counts, in independent samples. `upright` (K,3): the sum of the unit
    vectors that a person's upright body points along, over `upright_weight` (K,) independent ones; 0 for none.
    `size_spread` (K,): SIZE_SPREAD, or less where a person's height is known."""

    rays: F64
    depth_m: F64
    person: NDArray[np.intp]
    weight: F64
    upright: F64
    upright_weight: F64
    size_spread: F64

    @property
    def people(self) -> int:
        """K."""
        return len(self.upright_weight)


@dataclass(frozen=True)
class FloorFit:
    """`floor`: None where nobody stands on anything. `log_size` (K,): by how much each person is larger than thought;
    `level_m` (K,) height of what each stands on above the floor, 0 for the floor itself, NaN: on no plane.
    `pitch_spread`, `height_spread`: standard deviations, rad and of the logarithm of the camera's height."""

    floor: Floor | None
    log_size: F64
    level_m: F64
    pitch_spread: float = field(default=np.inf)
    height_spread: float = field(default=np.inf)


@dataclass(frozen=True)
class Vertical:
    """`up` (3,) unit vector, camera frame of the first frame; `precision` (2,2) of its pitch and roll, 1/rad^2."""

    up: F64
    precision: F64

    @property
    def angles_rad(self) -> F64:
        """(2,) pitch and roll."""
        floor = Floor(self.up, 1.0)
        return np.array([floor.pitch_rad, floor.roll_rad])

    @property
    def pitch_spread(self) -> float:
        """Standard deviation of the pitch, rad."""
        return float(np.sqrt(np.linalg.inv(self.precision)[0, 0]))


@dataclass(frozen=True)
class FloorKnown:
    """What the user says: `camera_height_m` above the floor, and whether the camera is `level`. `vertical`: what the
    picture's upright edges say, unless it is."""

    camera_height_m: float | None = None
    level: bool = False
    vertical: Vertical | None = None


def fit_floor(samples: FloorSamples, known: FloorKnown = FloorKnown(), least_weight: float = LEAST_WEIGHT) -> FloorFit:
    """Fit the plane; see the module's text. least_weight: what the samples' weights must add up to."""
    people = samples.people
    nothing = FloorFit(None, np.zeros(people), np.full(people, np.nan))
    if samples.weight.sum() < least_weight:
        return nothing
    samples = _without_newcomers(samples, known)
    own = np.zeros(people, np.bool_)
    solved = _Solver(samples, known, own).solve()
    for _ in range(people):
        there = ~own & (solved.support > LEVEL_WEIGHT)
        if there.sum() < 2 or np.abs(solved.disagreement()[there]).max() <= OWN_LEVEL:
            break
        solved = _without_one(samples, known, own, np.flatnonzero(there).tolist())
        own = solved.own
    uneven = solved.uneven()
    if not uneven.any():
        return solved.fit()
    samples = replace(samples, weight=np.where(uneven[samples.person], 0.0, samples.weight))
    return nothing if samples.weight.sum() < LEAST_WEIGHT else _Solver(samples, known, own & ~uneven).solve().fit()


def _without_newcomers(samples: FloorSamples, known: FloorKnown) -> FloorSamples:
    """The samples without those of people who have not stood for long and are not on the others' floor: they may be on
    a level of their own, which they get later, and must not tilt the floor meanwhile."""
    support = np.bincount(samples.person, samples.weight, samples.people)
    new = (support > 0) & (support <= LEVEL_WEIGHT)
    if not new.any() or not (support > LEVEL_WEIGHT).any():
        return samples
    settled = replace(samples, weight=np.where(new[samples.person], 0.0, samples.weight))
    floor = _Solver(settled, known, np.zeros(samples.people, np.bool_)).solve()
    elsewhere = new & (np.abs(floor.offsets(samples.weight)) > OWN_LEVEL)
    return replace(samples, weight=np.where(elsewhere[samples.person], 0.0, samples.weight))


def _without_one(samples: FloorSamples, known: FloorKnown, own: NDArray[np.bool_], there: list[int]) -> _Solver:
    """One more person on a level of their own: the one without whom the others agree best, or of two who disagree the
    one who stood for less."""
    trials: list[tuple[float, float, int]] = []
    solvers: dict[int, _Solver] = {}
    for person in there:
        apart = own.copy()
        apart[person] = True
        solver = solvers[person] = _Solver(samples, known, apart).solve()
        others = [other for other in there if other != person]
        worst = float(np.abs(solver.disagreement()[others]).max())
        trials.append((max(worst, OWN_LEVEL / 2), float(solver.support[person]), person))
    return solvers[min(trials)[2]]


class _Solver:
    """Gauss-Newton on pitch, roll, log of the camera's height above every level, and the people's log sizes."""

    def __init__(self, samples: FloorSamples, known: FloorKnown, own: NDArray[np.bool_]) -> None:
        self.samples, self.known, self.own = samples, known, own
        people = samples.people
        self.level = np.zeros(people, np.intp)  # which height each person's feet are under
        self.level[own] = 1 + np.arange(own.sum())
        self.support = np.bincount(samples.person, samples.weight, people)
        self.heights = 1 + int(own.sum())
        self.theta = np.zeros(2 + self.heights + people)
        self.theta[0], self.theta[1] = self._first_angles()
        self.precision = np.eye(len(self.theta))
        drop = -samples.rays @ up_of(*self.theta[:2])
        usable = drop > LEAST_DROP
        if usable.any():
            guess = float(np.median(np.log(samples.depth_m[usable] * drop[usable])))
            self.theta[2 : 2 + self.heights] = guess
        if known.camera_height_m is not None:
            self.theta[2] = np.log(known.camera_height_m)

    def _first_angles(self) -> tuple[float, float]:
        total = self.samples.upright.sum(axis=0)
        if self.known.level:
            return 0.0, 0.0
        if self.known.vertical is not None:
            pitch, roll = self.known.vertical.angles_rad
            return float(pitch), float(roll)
        if not np.any(total):
            return 0.0, 0.0
        weight = self.samples.upright_weight.sum()
        floor = Floor(total / np.linalg.norm(total), 1.0)
        share = weight / UPRIGHT_RAD**2
        return (
            floor.pitch_rad * share / (share + LEVEL_PITCH_RAD**-2),
            floor.roll_rad * share / (share + LEVEL_ROLL_RAD**-2),
        )

    def solve(self) -> _Solver:
        """Eight steps, or until nothing moves."""
        for _ in range(8):
            normal, right = self._prior()
            residual, jacobian, weight = self._residuals()
            weighted = jacobian * weight[:, None]
            self.precision = normal + weighted.T @ jacobian
            step = np.linalg.solve(self.precision, right - weighted.T @ residual)
            step[:2] = np.clip(step[:2], -0.2, 0.2)
            self.theta += step
            if np.abs(step).max() < 1e-4:
                break
        return self

    def _residuals(self) -> tuple[F64, F64, F64]:
        """Of the samples: log distance by size less that of the plane; its Jacobian; weights."""
        samples = self.samples
        pitch, roll = self.theta[:2]
        drop = -samples.rays @ up_of(pitch, roll)
        usable = drop > LEAST_DROP
        drop = np.maximum(drop, LEAST_DROP)
        level = self.level[samples.person]
        size = self.theta[2 + self.heights + samples.person]
        residual = np.log(samples.depth_m) + size - self.theta[2 + level] + np.log(drop)
        eps = 1e-5
        jacobian = np.zeros((len(residual), len(self.theta)))
        jacobian[:, 0] = -samples.rays @ (up_of(pitch + eps, roll) - up_of(pitch, roll)) / eps / drop
        jacobian[:, 1] = -samples.rays @ (up_of(pitch, roll + eps) - up_of(pitch, roll)) / eps / drop
        rows = np.arange(len(residual))
        jacobian[rows, 2 + level] = -1
        jacobian[rows, 2 + self.heights + samples.person] = 1
        doubt = 1 + np.square(residual / OUTLIER)
        return residual, jacobian, np.where(usable, samples.weight / SAMPLE_SPREAD**2 / doubt, 0)

    def _prior(self) -> tuple[F64, F64]:
        """Precision (P,P) and precision times what is still off (P,)."""
        samples, theta = self.samples, self.theta
        precision, off = np.zeros(len(theta)), np.zeros(len(theta))
        precision[0], precision[1] = LEVEL_PITCH_RAD**-2, LEVEL_ROLL_RAD**-2
        off[:2] = -theta[:2] * precision[:2]
        total, weight = samples.upright.sum(axis=0), samples.upright_weight.sum()
        if weight > 0 and np.any(total):
            seen = Floor(total / np.linalg.norm(total), 1.0)
            precision[:2] += weight / UPRIGHT_RAD**2
            off[:2] += weight / UPRIGHT_RAD**2 * (np.array([seen.pitch_rad, seen.roll_rad]) - theta[:2])
        edges: F64 = np.zeros((2, 2))
        if self.known.level:
            precision[:2], off[:2] = 1e8, -1e8 * theta[:2]
        elif self.known.vertical is not None:
            edges = self.known.vertical.precision
            off[:2] += edges @ (self.known.vertical.angles_rad - theta[:2])
        heights = slice(2, 2 + self.heights)
        precision[heights] = HEIGHT_SPREAD**-2
        off[heights] = (np.log(USUAL_HEIGHT_M) - theta[heights]) * precision[heights]
        if self.known.camera_height_m is not None:
            precision[2] = 1e8
            off[2] = 1e8 * (np.log(self.known.camera_height_m) - theta[2])
        sizes = slice(2 + self.heights, len(theta))
        precision[sizes] = self.samples.size_spread**-2
        off[sizes] = -theta[sizes] * precision[sizes]
        normal = np.diag(precision)
        normal[:2, :2] += edges
        return normal, off

    def disagreement(self) -> F64:
        """(K,) how far each person's feet are off their plane, their own size left out, as log of a distance."""
        return self.offsets(None)

    def offsets(self, weight: F64 | None) -> F64:
        """(K,) the same, with other weights (S,) of the samples than the fit's."""
        residual, _, fitted = self._residuals()
        weight = fitted if weight is None else weight
        person, people = self.samples.person, self.samples.people
        total = np.bincount(person, weight, people)
        plain = residual - self.theta[2 + self.heights + person]
        return np.where(total > 0, np.bincount(person, weight * plain, people) / np.maximum(total, 1e-9), 0.0)

    def uneven(self) -> NDArray[np.bool_]:
        """(K,) who stands on no plane: on stairs, or above the horizon, where this plane has no place."""
        residual, _, usable = self._residuals()
        off = (np.abs(residual) > UNEVEN) | (usable == 0)
        share = np.bincount(self.samples.person, self.samples.weight * off, self.samples.people)
        return (self.support > 0) & (share > UNEVEN_SHARE * self.support)

    def fit(self) -> FloorFit:
        """What has been solved."""
        heights = np.exp(self.theta[2 : 2 + self.heights])
        there = np.unique(self.level[self.support > 0])
        # The floor is the lowest level that somebody stands on; a height that the user says is that of level 0.
        ground = 0 if self.known.camera_height_m is not None else int(there[heights[there].argmax()])
        level = np.where(self.support > 0, heights[ground] - heights[self.level], np.nan)
        covariance = np.linalg.inv(self.precision)
        floor = Floor.of_angles(float(self.theta[0]), float(self.theta[1]), float(heights[ground]))
        spread = float(np.sqrt(covariance[2 + ground, 2 + ground]))
        return FloorFit(
            floor, self.theta[2 + self.heights :].copy(), level, float(np.sqrt(covariance[0, 0])), spread
        )  # fmt: skip
