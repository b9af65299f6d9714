"""What a sink promises."""

from __future__ import annotations

from typing import Protocol

from bodycast.app.records import FrameResult


class Sink(Protocol):
    """Takes finished frames, in order. Runs in a thread of its own behind a bounded queue."""

    @property
    def name(self) -> str:
        """For messages."""
        ...

    def write(self, result: FrameResult) -> None:
        """Take one frame. Raises RunError where it cannot (disk full, window gone)."""
        ...

    def close(self) -> None:
        """Finish: what was written opens and plays, also after an error or Ctrl-C. May be called twice."""
        ...
