"""What all trainings share: a budget of time, the loop, the schedule, averaged weights, checkpoints and the log.

Users: `training.loop` (networks that look at crops), `training.detector.train`, `training.fusion.train`,
`training.motion.train` (the live smoother) and `training.motion.prior` (FastHMR's prior and decoder).
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

Entry = dict[str, float | str]


class Clock:
    """How much of a training is over, all resumed runs counted in.

    minutes: the whole budget; None: only steps end the run. steps: end after so many, if the time allows. spent_s: of
    earlier runs. own_work: count the processor's time where it is less than what passed, so that the schedule is the
    same on a busy machine; what happens between two steps (checks, saving) then costs nothing. agree: makes the time
    the same in all processes of a run.
    """

    def __init__(
        self,
        minutes: float | None,
        *,
        steps: int | None = None,
        spent_s: float = 0.0,
        own_work: bool = False,
        agree: Callable[[float], float] | None = None,
    ) -> None:
        if minutes is None and steps is None:
            raise ValueError("a training needs minutes or steps")
        self.budget_s = None if minutes is None else 60 * minutes
        self.most_steps, self.spent_s, self.own_work = steps, spent_s, own_work
        self._agree = agree
        self.begin()

    @property
    def minutes(self) -> float:
        """Spent so far."""
        return self.spent_s / 60

    def begin(self) -> None:
        """Count from now on."""
        self._wall_s, self._own_s = time.monotonic(), time.process_time()

    def lap(self) -> None:
        """Count what passed since the last lap."""
        wall_s, own_s = time.monotonic(), time.process_time()
        passed_s = wall_s - self._wall_s
        if self.own_work:
            passed_s = min(passed_s, own_s - self._own_s)
        self._wall_s, self._own_s = wall_s, own_s
        spent_s = self.spent_s + passed_s
        self.spent_s = spent_s if self._agree is None else self._agree(spent_s)

    def fraction(self, steps: int) -> float:
        """Of the training after so many steps, 0..1."""
        by_time = 0.0 if self.budget_s is None else self.spent_s / self.budget_s if self.budget_s > 0 else 1.0
        by_steps = 0.0 if self.most_steps is None else steps / max(self.most_steps, 1)
        return min(1.0, max(by_time, by_steps))


@dataclass
class Timer:
    """Calls `action` every `every_s` seconds of a clock, between two steps, for the first time at `next_s`."""

    action: Callable[[], None]
    every_s: float
    next_s: float = 0.0

    def poll(self, now_s: float) -> None:
        """Call it where it is due."""
        if now_s >= self.next_s:
            self.next_s = now_s + self.every_s
            self.action()


def train(clock: Clock, step: Callable[[float], None], steps: Callable[[], int], timers: Sequence[Timer] = ()) -> None:
    """Call `step(fraction)` until the clock's budget is spent. steps: how many were done, of all resumed runs."""
    clock.begin()
    while (fraction := clock.fraction(steps())) < 1:
        step(fraction)
        clock.lap()
        for timer in timers:
            timer.poll(clock.spent_s)
        if clock.own_work:
            clock.begin()


def cosine(high: float, low: float, fraction: float) -> float:
    """From `high` at 0 to `low` at 1, along half a wave."""
    return low + (high - low) * 0.5 * (1 + math.cos(math.pi * min(fraction, 1.0)))


def warmed(rate: float, step: int, steps: int) -> float:
    """A rate that rises over the first `steps` steps; step: from 1."""
    return rate * min(1.0, step / steps)


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """The learning rate of all groups, times a group's own `factor` where it has one."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group.get("factor", 1.0)


def rising_keep(step: int, most: float) -> float:
    """How much of a moving average stays at a step: little at first, `most` later."""
    return min(most, (1 + step) / (10 + step))


class WeightAverage:
    """A moving average of a network's weights, in a network of its own (`mean`), which is never trained.

    Parameters that are frozen in `net` are left as they are. Floating-point buffers are copied, or averaged too where
    `buffers`.
    """

    def __init__(self, net: nn.Module, mean: nn.Module | None = None, *, buffers: bool = False) -> None:
        self.mean = (copy.deepcopy(net) if mean is None else mean).eval().requires_grad_(False)
        own = dict(net.named_parameters())
        pairs = [(a, own[name]) for name, a in self.mean.named_parameters() if own[name].requires_grad]
        tables = list(zip(self.mean.buffers(), net.buffers(), strict=True))
        # Tables of shapes never change; running statistics do.
        moving = [(a, b) for a, b in tables if a.is_floating_point() and a.numel()]
        pairs += moving if buffers else []
        self._copied = [pair for pair in tables if buffers and not pair[0].is_floating_point()]
        self._copied += [] if buffers else moving
        self._averaged = [a for a, _ in pairs], [b for _, b in pairs]

    @torch.no_grad()
    def follow(self, keep: float) -> None:
        """Move towards the network; keep: 0..1, how much of the average stays."""
        torch._foreach_lerp_(*self._averaged, 1 - keep)
        for mean, value in self._copied:
            mean.copy_(value)


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write atomically: a killed run leaves the old checkpoint or the new one."""
    part = path.with_suffix(".part")
    torch.save(state, part)
    part.replace(path)


def load_checkpoint(path: Path, device: str | torch.device = "cpu") -> dict[str, Any]:
    """Tensors, numbers and strings of a checkpoint; nothing in it is executed."""
    state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    return state


class JsonLog:
    """A run's entries, one JSON object a line, each with `minutes`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.entries: list[Entry] = []

    def open(self, minutes: float | None) -> None:
        """Go on after so many minutes of training, or begin anew where None."""
        self.clear() if minutes is None else self.load(minutes)

    def load(self, minutes: float) -> None:
        """Read what an earlier run wrote up to `minutes` of training, and forget the rest: it went on after its last
        checkpoint, and that part is done again."""
        if not self.path.is_file():
            return
        entries: list[Entry] = []
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                entries.append(json.loads(line))
            except json.JSONDecodeError:  # the line at which the run was killed
                break
        self.entries = [entry for entry in entries if float(entry.get("minutes", 0.0)) <= minutes + 1e-6]
        self.path.write_text("".join(json.dumps(entry) + "\n" for entry in self.entries), encoding="utf-8")

    def clear(self) -> None:
        """Forget an earlier run."""
        self.entries = []
        self.path.unlink(missing_ok=True)

    def add(self, entry: Entry) -> None:
        """Write one entry at once."""
        self.entries.append(entry)
        with self.path.open("a", encoding="utf-8") as log:
            log.write(json.dumps(entry) + "\n")
