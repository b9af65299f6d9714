"""What a smoother promises."""

from __future__ import annotations

from typing import Protocol

from bodycast.app.records import BodyEstimates


class Smoother(Protocol):
    """Smooths bodies over time, per id. Constants are in seconds. State of an id starts anew when the id is
    new or was away for longer than a stated gap."""

    @property
    def name(self) -> str:
        """For the HUD, run.json and messages."""
        ...

    @property
    def lag_s(self) -> float:
        """How far its output is behind its input, seconds."""
        ...

    def describe(self) -> str:
        """What it does at the moment, for the HUD; the name, where there is no more to say."""
        ...

    def update(self, estimates: BodyEstimates, time_s: float) -> BodyEstimates:
        """The same people in the same rows, smoothed."""
        ...

    def reset(self) -> None:
        """Forget everybody (a cut in the film)."""
        ...

    def close(self) -> None:
        """Release its engines. May be called twice."""
        ...
