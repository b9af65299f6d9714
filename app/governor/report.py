"""What the governor says: at each change, in the HUD, and in run.json."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Change:
    """One change: seconds since the first frame (0: before it), what was traded, from what to what, and why."""

    time_s: float
    trade: str
    changed_from: str
    changed_to: str
    reason: str

    def line(self) -> str:
        """For people."""
        return f"{self.time_s:.1f} s: {self.trade}: {self.changed_from} -> {self.changed_to} ({self.reason})"


@dataclass(frozen=True, slots=True)
class GovernorReport:
    """`measured_ms`: before the first frame, by stage. `changes` in order, `changes_left_out` beyond MOST_CHANGES.
    `not_possible`: what could not be traded, and why. `at_end`: what is traded at the end."""

    target_fps: float
    max_latency_s: float
    measured_ms: dict[str, float]
    changes: tuple[Change, ...]
    changes_left_out: int
    not_possible: tuple[str, ...]
    at_end: tuple[str, ...]

    def lines(self) -> list[str]:
        """For the end of a run."""
        lines = [f"governor  {change.line()}" for change in self.changes[:MOST_LINES]]
        left = len(self.changes) - MOST_LINES
        lines += [f"governor  {left} more changes, in run.json"] * (left > 0)
        lines = lines or ["governor  nothing was traded"]
        return lines + [f"governor  not possible: {line}" for line in self.not_possible]


MOST_CHANGES = 1000
"""A camera runs for days."""
MOST_LINES = 12
