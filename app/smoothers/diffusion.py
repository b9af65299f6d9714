"""The diffusion smoother, live: the package `motion-diffusion` on every person's last seconds (docs/motion.md).

It keeps the frames of the last 1.4 seconds of everybody, by their times, and asks the network, in one batch for all
people, for the motion at `lag_s` before now. The answer before is the start of the next. Shape is not the network's
business: it is filtered slowly, by the one-euro filter, which also answers while a person is too new for the network.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from app.errors import RunError, UsageError
from app.model_packages import find_package
from app.records import F32, BodyEstimates
from app.smoothers.one_euro import OneEuroSmoother
from engines.base import Engine
from engines.errors import EngineError
from engines.package import BATCH, ModelPackage, shape_text
from engines.registry import open_engine

PACKAGE = "motion-diffusion"
DEFAULT_LAG_S = 0.1
OFFLINE_LAG_S = 0.5
WIDTH = 147
KEEP_S = 1.4
MAX_GAP_S = 0.6
"""Somebody away for longer starts anew."""

MIN_FRAMES = 4
MIN_AGE_S = 0.1
"""A person seen in fewer frames, or for less time, is one-euro's."""

CLOSEST_S = 0.012
"""Frames that follow closer than this share a place in the window: it has room for 64."""

TRUSTED_SCORE = 0.5
LEAST_WEIGHT = 0.02
_ROUNDING_S = 1e-3

_INPUTS: dict[str, tuple[int | str, ...]] = {
    "motion": (BATCH, 0, WIDTH),
    "age_s": (BATCH, 0),
    "weight": (BATCH, 0),
    "previous": (BATCH, 0, WIDTH),
    "step_s": (BATCH,),
    "warm": (BATCH,),
    "lag_s": (BATCH,),
}
_OUTPUTS: dict[str, tuple[int | str, ...]] = {
    "pose": (BATCH, 24, 3, 3),
    "place": (BATCH, 3),
    "trajectory": (BATCH, 0, WIDTH),
}
"""What the graph must have; 0 stands for a size that the package chooses."""


@dataclass(slots=True)
class _Person:
    """Frames (time, row, weight), newest last; the answer before and its time; one-euro's answers within the lag."""

    frames: deque[tuple[float, F32, float]]
    first_s: float
    trajectory: F32
    answered_s: float | None = None
    fallback: deque[tuple[float, F32, F32, F32]] = field(
        default_factory=lambda: deque[tuple[float, F32, F32, F32]](maxlen=128)
    )


class DiffusionSmoother:
    """`Smoother` by a one-step diffusion model. Its answers are about `lag_s` before the frame that came in."""

    def __init__(self, package: Path | str = PACKAGE, lag_s: float = DEFAULT_LAG_S) -> None:
        """package: folder, or name of an installed one. lag_s: 0 (causal) to 0.5 s.

        Raises: UsageError where the package cannot be used, or for a lag beyond what it was trained for.
        """
        if not 0 <= lag_s <= OFFLINE_LAG_S:
            raise UsageError(f"--lag {lag_s:g}: --smoother diffusion looks ahead by 0 to {OFFLINE_LAG_S:g} seconds")
        opened = find_package(package, "smoother")
        self._capacity, self._slots = _check(opened)
        self._engine = _open(opened)
        self._lag_s = lag_s
        self._people: dict[int, _Person] = {}
        self._one_euro = OneEuroSmoother()
        self._new = 0

    @property
    def name(self) -> str:
        """`diffusion`."""
        return "diffusion"

    @property
    def lag_s(self) -> float:
        """As it was made."""
        return self._lag_s

    def describe(self) -> str:
        """For the HUD: the lag, and whom one-euro has for now."""
        lag = f"diffusion, {self._lag_s:g} s behind" if self._lag_s else "diffusion"
        return f"{lag} (one-euro for {self._new} new)" if self._new else lag

    def reset(self) -> None:
        """See `Smoother.reset`."""
        self._people.clear()
        self._one_euro.reset()
        self._new = 0

    def close(self) -> None:
        """Release the engine. May be called twice."""
        self._engine.close()

    def update(self, estimates: BodyEstimates, time_s: float) -> BodyEstimates:
        """See `Smoother.update`. `score` and `token` pass through. Raises: RunError where the engine fails."""
        calm = self._one_euro.update(estimates, time_s)
        rows = motion_rows(estimates.pose, estimates.transl_m)
        people = [self._remember(estimates, calm, rows, row, time_s) for row in range(len(estimates))]
        self._forget(time_s)
        known = [row for row, person in enumerate(people) if _is_known(person)]
        self._new = len(people) - len(known)
        pose, transl_m = calm.pose.copy(), calm.transl_m.copy()
        betas = calm.betas.copy()
        for row, person in enumerate(people):
            _, pose[row], transl_m[row], betas[row] = _nearest(person, time_s - self._lag_s)
        if known:
            pose[known], transl_m[known] = self._ask([people[row] for row in known], time_s)
        return replace(calm, pose=pose, transl_m=transl_m, betas=betas)

    def _remember(self, estimates: BodyEstimates, calm: BodyEstimates, rows: F32, row: int, time_s: float) -> _Person:
        identity = int(estimates.id[row])
        person = self._people.get(identity)
        if person is None or not 0 <= time_s - person.frames[-1][0] <= MAX_GAP_S:
            empty = np.zeros((self._slots, WIDTH), np.float32)
            person = _Person(deque(maxlen=self._capacity), time_s, empty)
            self._people[identity] = person
        elif time_s - person.frames[-1][0] < CLOSEST_S:
            person.frames.pop()
        weight = float(np.clip(estimates.score[row] / TRUSTED_SCORE, LEAST_WEIGHT, 1))
        person.frames.append((time_s, rows[row], weight))
        while time_s - person.frames[0][0] > KEEP_S:
            person.frames.popleft()
        person.fallback.append((time_s, calm.pose[row], calm.transl_m[row], calm.betas[row]))
        while len(person.fallback) > 2 and person.fallback[1][0] <= time_s - self._lag_s:
            person.fallback.popleft()
        return person

    def _forget(self, time_s: float) -> None:
        for identity in [key for key, person in self._people.items() if time_s - person.frames[-1][0] > MAX_GAP_S]:
            del self._people[identity]

    def _ask(self, people: list[_Person], time_s: float) -> tuple[F32, F32]:
        """Poses (P,24,3,3) and translations (P,3) at the lag; keeps the trajectories."""
        count = len(people)
        motion = np.zeros((count, self._capacity, WIDTH), np.float32)
        age_s = np.zeros((count, self._capacity), np.float32)
        weight = np.zeros((count, self._capacity), np.float32)
        for index, person in enumerate(people):
            length = len(person.frames)
            motion[index, :length] = [row for _, row, _ in person.frames]
            motion[index, length:] = person.frames[-1][1]
            age_s[index, :length] = [time_s - then for then, _, _ in person.frames]
            weight[index, :length] = [weight for _, _, weight in person.frames]
            weight[index, :length] *= frame_weights(age_s[index, :length])
        warm = [person.answered_s is not None for person in people]
        step_s = [0.0 if person.answered_s is None else time_s - person.answered_s for person in people]
        try:
            answer = self._engine.run(
                {
                    "motion": motion,
                    "age_s": age_s,
                    "weight": weight,
                    "previous": np.stack([person.trajectory for person in people]),
                    "step_s": np.array(step_s, np.float32),
                    "warm": np.array(warm, np.float32),
                    "lag_s": np.array([self._age_s(person, time_s) for person in people], np.float32),
                }
            )
        except EngineError as error:
            raise RunError(str(error)) from error
        if not all(np.isfinite(array).all() for array in answer.values()):
            raise RunError(f"{self._engine.describe()}: answers that are not finite")
        for index, person in enumerate(people):
            person.trajectory, person.answered_s = answer["trajectory"][index], time_s
        return answer["pose"], from_place(answer["place"])

    def _age_s(self, person: _Person, time_s: float) -> float:
        """The age of the person's newest frame that is due, the one whose picture waits for this answer. It is the lag,
        but for frame rates of which the lag is no multiple."""
        about_s = time_s - self._lag_s + _ROUNDING_S
        due = [then for then, _, _ in person.frames if then <= about_s]
        return time_s - (due[-1] if due else person.frames[0][0])


def frame_weights(age_s: F32) -> F32:
    """How much time each frame stands for, ages (F,) from old to new, in thirtieths of a second and at most two: so
    that a hurried camera counts no more than a slow one, and a burst of frames no more than the pauses around it."""
    step_s = -np.diff(age_s)
    if not len(step_s):
        return np.ones(len(age_s), np.float32)
    before, after = np.concatenate([step_s[:1], step_s]), np.concatenate([step_s, step_s[-1:]])
    return np.clip(30 * (before + after) / 2, 0.2, 2).astype(np.float32)


def motion_rows(pose: F32, transl_m: F32) -> F32:
    """Poses (N,24,3,3) and translations (N,3) as the network takes them, (N,147): two columns of every rotation, x/z,
    y/z, log z."""
    columns = pose[..., :2].swapaxes(-1, -2).reshape(len(pose), WIDTH - 3)
    z = np.maximum(transl_m[:, 2:], np.float32(0.05))
    return np.concatenate([columns, transl_m[:, :2] / z, np.log(z)], axis=1).astype(np.float32)


def from_place(place: F32) -> F32:
    """x/z, y/z, log z (N,3) -> metres (N,3)."""
    z = np.exp(place[:, 2:])
    return np.concatenate([place[:, :2] * z, z], axis=1).astype(np.float32)


def _is_known(person: _Person) -> bool:
    newest, oldest = person.frames[-1][0], person.first_s
    return len(person.frames) >= MIN_FRAMES and newest - oldest >= MIN_AGE_S


def _nearest(person: _Person, about_s: float) -> tuple[float, F32, F32, F32]:
    """One-euro's answer nearest to a time."""
    return min(person.fallback, key=lambda entry: abs(entry[0] - about_s))


def _open(package: ModelPackage) -> Engine:
    """On one core: for so small a graph, sharing the work costs more than the work."""
    try:
        return open_engine(package, "onnxruntime", "cpu", threads=1)
    except EngineError as error:
        raise UsageError(str(error)) from error


def _check(package: ModelPackage) -> tuple[int, int]:
    """Frames and slots of the window, after checking that the graph is one of this kind."""
    info = package.info
    for side, specs, expected in (("input", info.inputs, _INPUTS), ("output", info.outputs, _OUTPUTS)):
        found = {spec.name: spec for spec in specs}
        for name, shape in expected.items():
            spec = found.get(name)
            fits = spec is not None and len(spec.shape) == len(shape)
            if spec is None or not fits or any(w not in (0, g) for w, g in zip(shape, spec.shape, strict=True)):
                raise UsageError(
                    f"{package.folder}: a live smoother has the {side} {name} {shape_text(shape)}, this one has {spec}"
                )
    return int(info.input("motion").shape[1]), int(info.input("previous").shape[1])
