"""The diffusion smoother, live: the package `motion-diffusion` on every person's last seconds (docs/motion.md).

It keeps the frames of the last 1.4 seconds of everybody, by their times, and asks the network, in one batch for all
people, for the motion at `lag_s` before now. Each estimate is the start of the next. Shape is not the network's
task: it is filtered slowly, by the one-euro filter, which also stands in while a person is too new for the network.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from bodycast.app.errors import RunError, UsageError
from bodycast.app.model_packages import find_package
from bodycast.app.records import F32, F64, BodyEstimates
from bodycast.app.smoothers.diffusion.first_frames import FirstFrames
from bodycast.app.smoothers.diffusion.frame_memory import FrameMemory
from bodycast.app.smoothers.diffusion.motion_features import SLOT_AGES_S, WIDTH, bodies_of, motion_rows
from bodycast.app.smoothers.diffusion.trajectories import (
    CLEAN_RATIO,
    CLEAN_RATIO_AT_ONCE,
    Trajectories,
    with_clean_frames,
)
from bodycast.app.smoothers.one_euro import OneEuroSmoother
from bodycast.app.smoothers.person_memory import Flags, Rows
from bodycast.engines.base import Engine
from bodycast.engines.errors import EngineError
from bodycast.engines.package import BATCH, ModelPackage, shape_text
from bodycast.engines.registry import open_engine

PACKAGE = "motion-diffusion"
DEFAULT_LAG_S = 0.1
LONGEST_LAG_S = 0.5
AT_ONCE = 5
"""For so many people the network runs after every frame; of more, one half or fewer, in turn."""

TRUSTED_SCORE = 0.5
LEAST_TRUST = 0.02

_INPUTS: dict[str, tuple[int | str, ...]] = {
    "motion": (BATCH, 0, WIDTH),
    "age_s": (BATCH, 0),
    "weight": (BATCH, 0),
    "previous": (BATCH, len(SLOT_AGES_S), WIDTH),
    "step_s": (BATCH,),
    "warm": (BATCH,),
    "lag_s": (BATCH,),
}
_OUTPUTS: dict[str, tuple[int | str, ...]] = {
    "pose": (BATCH, 24, 3, 3),
    "place": (BATCH, 3),
    "trajectory": (BATCH, len(SLOT_AGES_S), WIDTH),
}
"""What the graph must have; 0 stands for a size that the package chooses."""


class DiffusionSmoother:
    """`Smoother` by a one-step diffusion model. Its output is `lag_s` behind the frame that came in."""

    def __init__(self, package: Path | str = PACKAGE, lag_s: float = DEFAULT_LAG_S) -> None:
        """package: folder, or name of an installed one. lag_s: 0 (causal) to 0.5 s.

        Raises: UsageError where the package cannot be used, or for a lag beyond what it was trained for.
        """
        if not 0 <= lag_s <= LONGEST_LAG_S:
            raise UsageError(f"--lag {lag_s:g}: --smoother diffusion looks ahead by 0 to {LONGEST_LAG_S:g} seconds")
        opened = find_package(package, "smoother")
        self._memory = FrameMemory(_check(opened), lag_s)
        self._trajectories = Trajectories(np.array(SLOT_AGES_S))
        self._engine = open_on_one_core(opened)
        self._lag_s = lag_s
        self._clean_ratio = CLEAN_RATIO if lag_s > 0 else CLEAN_RATIO_AT_ONCE
        self._one_euro = OneEuroSmoother()
        self._first = FirstFrames()
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
        self._memory.clear()
        self._one_euro.reset()
        self._first.clear()
        self._new = 0

    def close(self) -> None:
        """Release the engine. May be called twice."""
        self._engine.close()

    def update(self, estimates: BodyEstimates, time_s: float) -> BodyEstimates:
        """See `Smoother.update`. `score` and `token` pass through. Raises: RunError where the engine fails."""
        calm = self._one_euro.update(estimates, time_s)
        trust = np.clip(estimates.score / TRUSTED_SCORE, LEAST_TRUST, 1)
        at, fresh = self._memory.add(estimates.id, motion_rows(estimates.pose, estimates.transl_m), trust, time_s)
        self._trajectories.begin(at[fresh], self._memory.rows)
        known = self._memory.known(at)
        self._new = int((~known).sum())
        # A person who is known stays so, and their first frames have had their output.
        first = self._first.update(calm, ~known, time_s, time_s - self._lag_s)
        pose, transl_m = first.pose, first.transl_m
        if known.any():
            pose[known], transl_m[known] = self._estimate(at[known], time_s)
        return replace(first, pose=pose, transl_m=transl_m)

    def _estimate(self, at: Rows, time_s: float) -> tuple[F32, F32]:
        """Poses (P,24,3,3) and translations (P,3) at the lag."""
        about = self._memory.about(at, time_s - self._lag_s)
        _, last_s = self._trajectories.last(at)
        self._run(at[in_turn(last_s, last_s < about.time_s)], time_s)
        rows = self._trajectories.about(at, about.time_s, about.hidden, self._memory.since_s(at))
        return bodies_of(with_clean_frames(rows, about.motion, about.noise, self._clean_ratio))

    def _run(self, at: Rows, time_s: float) -> None:
        """Run the network for people, and keep its trajectories."""
        window = self._memory.window(at, time_s)
        previous, last_s = self._trajectories.last(at)
        warm = np.isfinite(last_s)
        try:
            outputs = self._engine.run(
                {
                    "motion": window.motion,
                    "age_s": window.age_s,
                    "weight": window.weight,
                    "previous": previous,
                    "step_s": np.where(warm, time_s - last_s, 0).astype(np.float32),
                    "warm": warm.astype(np.float32),
                    "lag_s": np.full(len(at), self._lag_s, np.float32),
                }
            )
        except EngineError as error:
            raise RunError(str(error)) from error
        if not np.isfinite(outputs["trajectory"]).all():
            raise RunError(f"{self._engine.describe()}: outputs that are not finite")
        self._trajectories.take(at, outputs["trajectory"], time_s, self._memory.seen(at))


def in_turn(last_s: F64, must: Flags) -> Flags:
    """(N,) for whom to run the network, of people last estimated at `last_s` (N,): those who `must` be,
    and, of more than `AT_ONCE`, an equal share of the others after every frame, those first who have waited longest."""
    turns = -(-len(last_s) // AT_ONCE)
    share = -(-len(last_s) // turns)
    asked = must.copy()
    asked[np.argsort(last_s, kind="stable")[:share]] = True
    return asked


def open_on_one_core(package: ModelPackage) -> Engine:
    """For so small a graph, sharing the work costs more than the work. Raises: UsageError."""
    try:
        return open_engine(package, "onnxruntime", "cpu", threads=1)
    except EngineError as error:
        raise UsageError(str(error)) from error


def _check(package: ModelPackage) -> int:
    """Frames of the window, after checking that the graph is one of this kind."""
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
    return int(info.input("motion").shape[1])
