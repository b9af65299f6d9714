"""What a person detector promises."""

from __future__ import annotations

from typing import Protocol

from bodycast.app.records import Detections, Frame


class Detector(Protocol):
    """Finds people in one frame; keeps no state between frames."""

    @property
    def name(self) -> str:
        """For the HUD, run.json and messages."""
        ...

    def describe(self) -> str:
        """One line for people: what runs, where, and how to get better."""
        ...

    def detect(self, frame: Frame) -> Detections:
        """All people found, boxes in pixels of `frame.image`, best first."""
        ...

    def close(self) -> None:
        """Release what it holds. May be called twice."""
        ...
