"""What a tracker promises."""

from __future__ import annotations

from typing import Protocol

from bodycast.app.records import Detections, Tracks


class Tracker(Protocol):
    """Gives boxes stable ids. All times are the frame's `time_s`; any frame rate, gaps allowed."""

    def update(self, detections: Detections, time_s: float) -> Tracks:
        """Match boxes (the detector's, or those around the recovered meshes) to people; ids are never re-used
        and rows keep their box: row i of the result need not be row i of the detections."""
        ...

    def reset(self) -> None:
        """Forget everybody (a cut in the film); ids go on counting."""
        ...
