"""The tracker of a run."""

from __future__ import annotations

from bodycast.app.errors import UsageError
from bodycast.app.tracking.base import Tracker


def open_tracker(max_people: int, memory_s: float = 1.0) -> Tracker:
    """A tracker for up to `max_people`, who are remembered for `memory_s` seconds when they are out of sight.

    Raises: UsageError for numbers that make no sense.
    """
    from bodycast.app.tracking.box_tracker import BoxTracker

    try:
        return BoxTracker(max_people, memory_s)
    except ValueError as error:
        raise UsageError(str(error)) from error
