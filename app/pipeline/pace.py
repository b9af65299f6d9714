"""A film's own pace: what is shown or sent comes no faster than it was filmed."""

from __future__ import annotations

import time


class Pace:
    """Says when the next frame is due."""

    def __init__(self) -> None:
        self._offset_s: float | None = None

    def early_s(self, time_s: float) -> float:
        """Seconds until a frame of this time is due. Whenever the run is late, the clock starts anew from there."""
        now_s = time.monotonic()
        if self._offset_s is None or time_s + self._offset_s < now_s:
            self._offset_s = now_s - time_s
        return time_s + self._offset_s - now_s
