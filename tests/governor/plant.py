"""A simulated machine: what a run costs with some steps taken, window by window."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from bodycast.app.governor.ladder import FLIP_TEST, REFINEMENT, Tradable, ladder, looked_at
from bodycast.app.governor.policy import Goals, Measured, Move, Policy, Step, Trade
from bodycast.app.governor.start import StartCosts

GOALS = Goals(target_fps=30.0, max_latency_s=0.25)
ALL = Tradable(
    detect_every_s=0.25,
    draws=True,
    flip_test=False,
    refines=True,
    refinement_share=0.2,
    keypoints=("large", "small"),
    engine=("exact", "quick"),
)


@dataclass
class Machine:
    """Seconds on a free core. `load`: how much longer everything takes at a time; `people` at a time; noise: relative
    standard deviation of each cost; camera_fps: pictures a second that really come."""

    person_s: float = 0.016
    other_s: float = 0.004
    draw_s: float = 0.008
    detector_s: float = 0.040
    camera_fps: float = 30.0
    noise: float = 0.0
    load: Callable[[float], float] = lambda time_s: 1.0
    people: Callable[[float], int] = lambda time_s: 1
    extra_latency_s: Callable[[float], float] = lambda time_s: 0.0
    seed: int = 0
    random: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.seed)

    def window(self, time_s: float, taken: tuple[Step, ...]) -> Measured:
        """The window that ends at `time_s`."""
        names = {step.after for step in taken}
        trades = {step.trade for step in taken}
        values = {trade: [step.value for step in taken if step.trade is trade] for trade in Trade}

        def cost(seconds: float) -> float:
            return seconds * self.load(time_s) * max(0.2, 1 + self.noise * float(self.random.normal()))

        person_s = self.person_s * (1.9 if ALL.flip_test and FLIP_TEST not in names else 1)
        person_s *= 0.8 if REFINEMENT in names else 1
        person_s *= 0.4 if Trade.KEYPOINTS in trades else 1
        person_s *= 0.8 if Trade.ENGINE in trades else 1
        people = self.people(time_s)
        looked = looked_at(people, min(values[Trade.CROPS], default=1.0))
        estimate_s = cost(person_s * looked)
        frame_s = estimate_s + cost(self.other_s)
        draw_s = cost(self.draw_s * min(values[Trade.OVERLAY], default=1.0) ** 2)
        detector_s = cost(self.detector_s)
        every_s = max(0.25, *values[Trade.DETECTOR]) if values[Trade.DETECTOR] else 0.25
        every_s = max(every_s, 4 * detector_s) if values[Trade.DETECTOR] else every_s
        detections = 1 / max(every_s, detector_s)
        # Two cores: what detector and drawing take, the networks lack.
        share = detections * detector_s
        frame_s *= 1 + 0.5 * share
        fps = min(self.camera_fps, 1 / frame_s, 1 / draw_s)
        latency_s = frame_s * 1.5 + draw_s + self.extra_latency_s(time_s)
        return Measured(
            time_s, fps, latency_s, frame_s, estimate_s, draw_s, detector_s, detections, float(people), float(looked)
        )


@dataclass
class Trace:
    """Every move with its time, and the windows."""

    moves: list[tuple[float, Move]] = field(default_factory=list)
    windows: list[Measured] = field(default_factory=list)
    taken: tuple[Step, ...] = ()

    def names(self) -> list[str]:
        """What was taken, in order; "-" before what was given back."""
        return [f"{'' if move.taken else '-'}{move.step.trade}: {move.step.after}" for _, move in self.moves]

    def most_in(self, seconds: float, after_s: float) -> int:
        """The most moments with changes within so many seconds, after some time."""
        times = sorted({time_s for time_s, _ in self.moves if time_s >= after_s})
        return max((sum(start <= time_s < start + seconds for time_s in times) for start in times), default=0)


def run(
    machine: Machine, seconds: float, has: Tradable = ALL, goals: Goals = GOALS, start: StartCosts | None = None
) -> Trace:
    """The policy on the machine, a window a second. start: what was measured before, where anything was."""
    policy, trace = Policy(goals, ladder(has)), Trace()
    if start is not None:
        measured = start.as_measured(0.0, goals.target_fps, has.detect_every_s)
        trace.moves += [(0.0, move) for move in policy.start(measured)]
    for second in range(1, int(seconds) + 1):
        measured = machine.window(float(second), policy.taken)
        trace.windows.append(measured)
        trace.moves += [(float(second), move) for move in policy.step(measured)]
    trace.taken = policy.taken
    return trace
