"""What to trade and what to give back, from measured costs alone: no clock, no thread, no stage.

Steps are taken in a fixed order, each only where its measured cost says that it helps, and given back in reverse where
the cost without it would fit. Hysteresis: what is missed must be missed in windows in a row, room must have been there
for `calm_s`, and a step that was given back in vain is waited for twice as long the next time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Trade(StrEnum):
    """What can be traded, in the order in which it is."""

    DETECTOR = "detector interval"
    OVERLAY = "overlay resolution"
    REFINEMENT = "refinement and flip test"
    KEYPOINTS = "keypoint network"
    ENGINE = "HMR engine"
    CROPS = "crop rate"


@dataclass(frozen=True, slots=True)
class Goals:
    """What is to be kept up: results a second, and seconds from grab to drawn that 95 % of the frames stay within."""

    target_fps: float
    max_latency_s: float

    @property
    def period_s(self) -> float:
        """Seconds that a frame may take."""
        return 1 / self.target_fps


@dataclass(frozen=True, slots=True)
class Measured:
    """A window of frames. `time_s`: its end, on any clock. `fps`: results a second. Means per frame, seconds:
    `frame_s` (everything before the drawing), `estimate_s` (crops and networks, within frame_s), `draw_s`.
    `detector_s`: of one detection; `detections`: a second. `people`, `looked`: people in the picture and crops that
    went through the networks, means per frame. `latency_s`: 95th percentile."""

    time_s: float
    fps: float
    latency_s: float
    frame_s: float
    estimate_s: float
    draw_s: float
    detector_s: float
    detections: float
    people: float
    looked: float

    @property
    def busy(self) -> float:
        """Share of the time in which the slower of the two threads works."""
        return max(self.frame_s, self.draw_s) * self.fps

    def cost(self, trade: Trade) -> float:
        """Seconds per frame of what a trade is about; of networks those of one crop."""
        if trade is Trade.DETECTOR:
            return self.detector_s * self.detections / max(self.fps, 1.0)
        if trade is Trade.OVERLAY:
            return self.draw_s
        return self.estimate_s / max(self.looked, 1.0)

    def crops(self, trade: Trade) -> float:
        """How often a frame pays `cost`."""
        return 1.0 if trade in (Trade.DETECTOR, Trade.OVERLAY) else self.looked


Share = Callable[[Measured], float]
"""The share of a step's cost that it is expected to save, 0..1: 0 where it would change nothing."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step: what is traded, what it is called after and before, and the share of the cost that it saves. `value`:
    interval in seconds, scale or share, after it; `back`: the detector's interval in seconds before it."""

    trade: Trade
    after: str
    before: str
    saves: Share
    value: float = 0.0
    back: float = 0.0


@dataclass(frozen=True, slots=True)
class Move:
    """A step that is taken, or given back, and why."""

    step: Step
    taken: bool
    reason: str


@dataclass(frozen=True, slots=True)
class PolicyOptions:
    """Shares are of the target's frame rate or period.

    slow: results below this share of the target are too few; fits: a frame that takes up to this share of the period is
    quick enough. worth: the least saving of a step. in_a_row: windows that must miss the goals. settle_s: from a change
    to the next trade where the goals are missed severely (`severe` of what is too few, twice the latency), and until
    costs are believed. calm_s: from a change to the next trade otherwise; and room for so long before something is
    given back, up to most_calm_s where that was in vain within vain_s. room: share of the allowed latency that giving
    back must stay within. recent: weight of the last window in the mean that says whether there is room.
    """

    slow: float = 0.8
    fits: float = 1.05
    worth: float = 0.03
    busy: float = 0.85
    severe: float = 0.6
    in_a_row: int = 2
    settle_s: float = 2.0
    calm_s: float = 10.0
    most_calm_s: float = 320.0
    vain_s: float = 60.0
    recent: float = 0.1
    room: float = 0.7


class Policy:
    """Feed it windows with `step`; `taken` is what is traded now."""

    def __init__(self, goals: Goals, steps: Sequence[Step], options: PolicyOptions | None = None) -> None:
        """steps: in the order in which they are taken."""
        self._goals = goals
        self._steps = tuple(steps)
        self._options = options or PolicyOptions()
        self._taken: set[int] = set()
        self._refused: set[int] = set()
        self._saved: dict[int, float] = {}
        self._learning: tuple[int, float] | None = None
        self._missed = 0
        self._calm_since_s = float("-inf")
        self._changed_s = float("-inf")
        self._given_s = float("-inf")
        self._needed_room: float | None = None
        self._wait_s = self._options.calm_s

    @property
    def taken(self) -> tuple[Step, ...]:
        """What is traded now, in order."""
        return tuple(self._steps[index] for index in sorted(self._taken))

    def rank(self, step: Step) -> int:
        """Its place in the order."""
        return self._steps.index(step)

    @property
    def exhausted(self) -> bool:
        """Whether the goals are missed and the last decision found nothing more that helps."""
        return self._missed > self._options.in_a_row

    def start(self, measured: Measured) -> list[Move]:
        """Before the first frame: what has to be traded from the beginning, by a measurement of the stages alone."""
        goals, options = self._goals, self._options
        # Nothing was changed yet: what the first frames show may be traded as soon as costs are believed.
        self._changed_s = measured.time_s - (options.calm_s - options.settle_s)
        self._calm_since_s = measured.time_s
        if measured.frame_s <= goals.period_s / options.slow:  # then a run would trade nothing either
            return []
        needed_s = measured.frame_s - options.fits * goals.period_s
        moves = self._trade(measured, needed_s, f"a frame took {measured.frame_s * 1e3:.0f} ms before the start")
        return self._without_needless(moves, measured, needed_s)

    def step(self, measured: Measured) -> list[Move]:
        """What changes after this window: steps taken, or one given back, or nothing."""
        now_s, options = measured.time_s, self._options
        self._learn(measured)
        reason, needed_s = self._misses(measured)
        if not reason:
            self._missed = 0
            return self._give_back(measured)
        self._calm_since_s = now_s
        self._missed += 1
        severe = measured.fps < options.severe * options.slow * self._goals.target_fps
        severe = severe or measured.latency_s > 2 * self._goals.max_latency_s
        settled_s = options.settle_s if severe else options.calm_s
        if self._missed < options.in_a_row or now_s - self._changed_s < settled_s:
            return []
        moves = self._trade(measured, needed_s, reason)
        if moves:
            self._missed = 0
        return moves

    def refuse(self, step: Step) -> None:
        """A step that was taken cannot be had, now or later."""
        index = self._steps.index(step)
        self._taken.discard(index)
        self._refused.add(index)
        self._learning = None

    def applied(self, time_s: float) -> None:
        """What was taken last took effect at `time_s`, later than decided: the costs settle from there on."""
        self._changed_s = max(self._changed_s, time_s)
        self._calm_since_s = max(self._calm_since_s, time_s)
        self._missed = 0

    def _misses(self, measured: Measured) -> tuple[str, float]:
        """Why the goals are missed, "" where they are not, and the seconds per frame that are too many."""
        goals, options = self._goals, self._options
        if measured.latency_s > goals.max_latency_s:
            said = f"latency {measured.latency_s * 1e3:.0f} ms of {goals.max_latency_s * 1e3:.0f}"
            return said, max(measured.latency_s - goals.max_latency_s, measured.frame_s - goals.period_s)
        # A camera that gives fewer frames than it says, as in the dark, leaves the threads idle.
        if measured.fps < options.slow * goals.target_fps and measured.busy > options.busy:
            said = f"{measured.fps:.0f} results a second of {goals.target_fps:.0f}"
            return said, max(measured.frame_s, measured.draw_s) - goals.period_s
        return "", 0.0

    def _trade(self, measured: Measured, needed_s: float, reason: str) -> list[Move]:
        """Steps in order until they are expected to save what is needed; at least one, if any is worth it."""
        moves: list[Move] = []
        saved_s, left = 0.0, dict.fromkeys(Trade, 1.0)
        for index, step in enumerate(self._steps):
            if index in self._taken or index in self._refused:
                continue
            share = min(max(step.saves(measured), 0.0), 1.0)
            paid_s = measured.cost(step.trade) * measured.crops(step.trade) * left[_stage(step.trade)]
            if share * paid_s < self._options.worth * self._goals.period_s:
                continue
            left[_stage(step.trade)] *= 1 - share
            saved_s += share * paid_s
            self._taken.add(index)
            moves.append(Move(step, True, reason))
            self._learning = (index, measured.cost(step.trade)) if len(moves) == 1 else None
            self._saved[index] = share
            if saved_s >= needed_s:
                break
        if moves:
            self._changed_s = measured.time_s
            self._needed_room = None
            if measured.time_s - self._given_s < self._options.vain_s:
                self._wait_s = min(2 * self._wait_s, self._options.most_calm_s)
            self._given_s = float("-inf")
        return moves

    def _without_needless(self, moves: list[Move], measured: Measured, needed_s: float) -> list[Move]:
        """What is left of the steps of a start where a later one, as that to a quicker network, is enough without an
        earlier one."""
        kept = list(moves)
        order = list(Trade)
        # By trade in order, within a trade the last step first: one that builds on another does not stay alone.
        for move in sorted(reversed(moves), key=lambda one: order.index(one.step.trade)):
            others = [other for other in kept if other is not move]
            later = any(
                one.step.trade is move.step.trade and self.rank(one.step) > self.rank(move.step) for one in kept
            )
            if others and not later and self._expected_s(others, measured) >= needed_s:
                kept = others
                self._taken.discard(self._steps.index(move.step))
        return kept

    def _expected_s(self, moves: Sequence[Move], measured: Measured) -> float:
        """Seconds per frame that steps are expected to save together."""
        saved_s, left = 0.0, dict.fromkeys(Trade, 1.0)
        for step in (move.step for move in moves):
            stage, share = _stage(step.trade), min(max(step.saves(measured), 0.0), 1.0)
            saved_s += share * left[stage] * measured.cost(step.trade) * measured.crops(step.trade)
            left[stage] *= 1 - share
        return saved_s

    def _learn(self, measured: Measured) -> None:
        """What a step saved, once the costs after it have settled. Within limits: where other programs began or ended
        meanwhile, the difference is not the step's."""
        if self._learning is None or measured.time_s - self._changed_s < self._options.settle_s:
            return
        (index, before_s), self._learning = self._learning, None
        trade = self._steps[index].trade
        if before_s > 0 and index in self._taken and trade not in (Trade.CROPS, Trade.DETECTOR):
            expected = self._saved[index]
            saved = 1 - measured.cost(trade) / before_s
            self._saved[index] = min(max(saved, 0.5 * expected), 1 - 0.7 * (1 - expected))

    def _give_back(self, measured: Measured) -> list[Move]:
        """The step that was taken last in order, if there has been room for it."""
        options, now_s = self._options, measured.time_s
        if not self._taken:
            return []
        index = max(self._taken)
        trade = self._steps[index].trade
        if _stage(trade) is Trade.CROPS and measured.looked < 0.5:
            return []  # nobody is there: what they would cost is not known
        added_s = self._price(index, measured)
        drawn_s = measured.draw_s + (added_s if trade is Trade.OVERLAY else 0.0)
        share = max(
            max(measured.frame_s + added_s, drawn_s) / (options.fits * self._goals.period_s),
            (measured.latency_s + added_s) / (options.room * self._goals.max_latency_s),
        )
        # One lucky window is no room: the mean of the last ones decides.
        recent = options.recent
        self._needed_room = share if self._needed_room is None else recent * share + (1 - recent) * self._needed_room
        calm_s = now_s - max(self._calm_since_s, self._changed_s)
        if calm_s < self._wait_s or max(share, self._needed_room) > 1:
            return []
        self._taken.discard(index)
        if options.vain_s < now_s - self._given_s < options.most_calm_s:  # the one before was not in vain
            self._wait_s = max(self._wait_s / 2, options.calm_s)
        self._given_s = self._changed_s = now_s
        self._needed_room = None
        self._learning = None
        return [Move(self._steps[index], False, f"room: a frame takes {measured.frame_s * 1e3:.0f} ms")]

    def _price(self, index: int, measured: Measured) -> float:
        """Seconds per frame that giving a step back is expected to cost."""
        trade = self._steps[index].trade
        if trade is Trade.CROPS:
            return measured.cost(trade) * max(measured.people - measured.looked, 0.0)
        if trade is Trade.DETECTOR:
            rate = 1 / max(self._steps[index].back, measured.detector_s, 1e-3)
            return measured.detector_s * max(rate - measured.detections, 0.0) / max(measured.fps, 1.0)
        share = min(self._saved[index], 0.9)
        return measured.cost(trade) * measured.crops(trade) * share / (1 - share)


def _stage(trade: Trade) -> Trade:
    """Trades that pay from the same cost share a key: all that concern the networks."""
    return trade if trade in (Trade.DETECTOR, Trade.OVERLAY) else Trade.CROPS
