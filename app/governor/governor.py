"""The governor of a run: measures, asks the policy, and puts its steps into effect between two frames."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bodycast.app.governor.ladder import DETECTOR_SHARE
from bodycast.app.governor.meter import Meter
from bodycast.app.governor.networks import Networks, State
from bodycast.app.governor.policy import Goals, Measured, Move, Policy, PolicyOptions, Step, Trade
from bodycast.app.governor.report import MOST_CHANGES, Change, GovernorReport

SAID_S = 8.0
"""How long the HUD says a change."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What holds for a frame. `detect_every_s`: at least; `detect_least_s`: of every interval, also while nobody is
    there. `crop_share`: of the people who go through the networks in a frame. `overlay_scale`: of the resolution at
    which meshes are drawn. `networks`: counts switches of networks."""

    detect_every_s: float = 0.0
    detect_least_s: float = 0.0
    crop_share: float = 1.0
    overlay_scale: float = 1.0
    networks: int = 0


class Governor:
    """`before_frame`, `after_frame` and `detected` belong to the inference thread, `drawn` to the drawing thread, the
    rest to any."""

    def __init__(
        self,
        goals: Goals,
        steps: tuple[Step, ...],
        networks: Networks,
        start: Measured | None = None,
        clock: Callable[[], float] = time.monotonic,
        options: PolicyOptions | None = None,
        window_s: float = 1.0,
    ) -> None:
        """start: what the stages cost before the first frame; what is too slow then is traded from the beginning.
        window_s: seconds of frames between two decisions. What cannot be opened is said in the report."""
        self._goals, self._networks, self._clock = goals, networks, clock
        self._policy = Policy(goals, steps, options)
        self._meter = Meter(window_s, 0.0 if start is None else start.detector_s)
        self._began_s: float | None = None
        self._pending: list[Move] = []
        self._changes: list[Change] = []
        self._left_out = 0
        self._not_possible: list[str] = []
        self._short = False
        self._active: tuple[Step, ...] = ()
        self._said_s = float("-inf")
        self._start = start
        self._settings = Settings()
        self._switched: list[Step] = []
        if start is not None:
            for move in self._policy.start(start):
                self._begin_with(move)
            self._apply()

    @property
    def settings(self) -> Settings:
        """What holds now."""
        return self._settings

    def before_frame(self) -> Settings:
        """What holds for the next frame, after whatever changes now."""
        now_s = self._clock()
        if self._began_s is None:
            self._began_s = now_s
        measured = self._meter.window(now_s)
        if self._pending:
            self._see_to_pending(now_s)
        elif measured is not None:
            self._decide(measured, now_s)
        return self._settings

    def after_frame(self, seconds: float, stage_s: Mapping[str, float], people: int, looked: int) -> None:
        """What a frame cost before its drawing; people: followed; looked: sent through the networks."""
        self._meter.frame(seconds, stage_s, people, looked)

    def detected(self, seconds: float) -> None:
        """The detector has finished, after so long."""
        self._meter.detection(seconds)

    def drawn(self, seconds: float, latency_s: float) -> None:
        """A frame is drawn."""
        self._meter.drawn(seconds, latency_s)

    def report(self) -> GovernorReport:
        """For run.json."""
        start = self._start
        ms = {} if start is None else {"networks": start.estimate_s, "detector": start.detector_s}
        return GovernorReport(
            target_fps=self._goals.target_fps,
            max_latency_s=self._goals.max_latency_s,
            measured_ms={stage: round(1e3 * seconds, 2) for stage, seconds in ms.items()},
            changes=tuple(self._changes),
            changes_left_out=self._left_out,
            not_possible=tuple(self._not_possible),
            at_end=tuple(_short(step) for step in self._active),
        )

    def hud(self) -> tuple[str, ...]:
        """What is traded now, in one line, and for some seconds the last change; nothing while nothing is."""
        shown = {step.trade: _short(step) for step in self._active if step.trade is not Trade.REFINEMENT}
        refinement = [_short(step) for step in self._active if step.trade is Trade.REFINEMENT]
        lines = [f"traded: {', '.join([*shown.values(), *refinement])}"] if self._active else []
        if self._changes and self._clock() - self._said_s < SAID_S:
            last = self._changes[-1]
            lines.append(f"{last.trade} {last.changed_from} -> {last.changed_to}: {last.reason}")
        return tuple(lines)

    def close(self) -> None:
        """Close the networks that are not in use too. May be called twice."""
        self._networks.close()

    def _begin_with(self, move: Move) -> None:
        if self._networks.ready(move.step, wait=True) is State.OPEN:
            self._active = _ordered((*self._active, move.step), self._policy)
            self._log(move, 0.0)
        else:
            self._refuse(move.step)

    def _decide(self, measured: Measured, now_s: float) -> None:
        moves = self._policy.step(measured)
        self._apply()  # the detector's cost may have changed
        if not moves and self._policy.exhausted:
            self._say_short(measured)
        given = [move for move in moves if not move.taken]
        for move in given:
            self._active = tuple(step for step in self._active if step is not move.step)
            self._log(move, now_s)
        if given:
            self._apply()
            self._meter.restart(now_s)
        self._pending = [move for move in moves if move.taken]
        if self._pending:
            self._see_to_pending(now_s)

    def _see_to_pending(self, now_s: float) -> None:
        """Take what is ready; what still opens is waited for, and nothing else changes meanwhile."""
        waiting: list[Move] = []
        for move in self._pending:
            state = self._networks.ready(move.step)
            if state is State.OPENING:
                waiting.append(move)
            elif state is State.OPEN:
                self._active = _ordered((*self._active, move.step), self._policy)
                self._log(move, now_s)
            else:
                self._refuse(move.step)
        if len(waiting) < len(self._pending):
            self._apply()
            self._meter.restart(now_s)
            self._policy.applied(now_s)
        self._pending = waiting

    def _refuse(self, step: Step) -> None:
        self._policy.refuse(step)
        line = f"{step.trade} {step.after}: {self._networks.why(step)}"
        self._not_possible.append(line)
        print(f"governor  not possible: {line}", file=sys.stderr)

    def _say_short(self, measured: Measured) -> None:
        """Nothing is left to trade. Said once."""
        if self._short:
            return
        self._short = True
        goals = f"{self._goals.target_fps:g} results a second and {1e3 * self._goals.max_latency_s:.0f} ms"
        line = f"{goals} cannot be kept here: {measured.fps:.0f} and {1e3 * measured.latency_s:.0f} ms, nothing left"
        self._not_possible.append(line)

    def _log(self, move: Move, now_s: float) -> None:
        self._said_s = self._clock()
        if len(self._changes) >= MOST_CHANGES:
            self._left_out += 1
            return
        at_s = 0.0 if self._began_s is None else now_s - self._began_s
        ends = (move.step.before, move.step.after) if move.taken else (move.step.after, move.step.before)
        self._changes.append(Change(round(at_s, 2), str(move.step.trade), *ends, move.reason))

    def _apply(self) -> None:
        """The settings of the steps that are active."""
        switched = [step for step in self._active if step.trade in _SWITCHES]
        before = self._settings
        self._networks.apply(self._active)
        values = {trade: [step.value for step in self._active if step.trade is trade] for trade in Trade}
        capped = bool(values[Trade.DETECTOR])
        self._settings = Settings(
            detect_every_s=max(values[Trade.DETECTOR], default=0.0),
            detect_least_s=self._meter.detector_s / DETECTOR_SHARE if capped else 0.0,
            crop_share=min(values[Trade.CROPS], default=1.0),
            overlay_scale=min(values[Trade.OVERLAY], default=1.0),
            networks=before.networks + (switched != self._switched),
        )
        self._switched = switched


_SWITCHES = (Trade.KEYPOINTS, Trade.ENGINE)


def _ordered(steps: tuple[Step, ...], policy: Policy) -> tuple[Step, ...]:
    return tuple(sorted(steps, key=policy.rank))


def _short(step: Step) -> str:
    """In a HUD's width."""
    prefix = {Trade.DETECTOR: "detector ", Trade.OVERLAY: "overlay ", Trade.CROPS: "crops "}.get(step.trade, "")
    return f"{prefix}{step.after}"
