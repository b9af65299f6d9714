"""When the detector runs, and where: at once for files, beside the pipeline for live sources."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Protocol

from bodycast.app.detectors.base import Detector
from bodycast.app.errors import RunError, thread_failure
from bodycast.app.records import Detections, Frame


class DetectionSchedule:
    """Decides by frame time alone, so that a file always gets the same detections at the same frames."""

    def __init__(self, every_s: float, idle_every_s: float = 0.1, unsure_every_s: float = 0.2) -> None:
        """every_s: the usual interval. idle_every_s: the shortest one, while nobody is shown or after a loss.
        unsure_every_s: while somebody waits to be confirmed or has become doubtful."""
        if every_s < 0:
            raise ValueError(f"the detection interval cannot be negative, got {every_s}")
        self._every_s = every_s
        self._idle_every_s = min(idle_every_s, every_s)
        self._unsure_every_s = min(unsure_every_s, every_s)
        self._last_s: float | None = None
        self._at_least_s = self._usual_at_least_s = 0.0

    def slow_down(self, every_s: float = 0.0, at_least_s: float = 0.0) -> None:
        """From now on the usual interval is `every_s` or more, and every interval `at_least_s` or more; 0 for both:
        as usual."""
        self._usual_at_least_s, self._at_least_s = every_s, at_least_s

    def due(self, time_s: float, shown: int, last_loss_s: float | None, unsure: bool = False) -> bool:
        """Whether to detect in the frame at `time_s`."""
        if self._last_s is None or time_s < self._last_s:
            return True
        lost = last_loss_s is not None and last_loss_s >= self._last_s
        interval_s = self._unsure_every_s if unsure else max(self._every_s, self._usual_at_least_s)
        if shown == 0 or lost:
            interval_s = self._idle_every_s
        interval_s = max(interval_s, self._at_least_s)
        # A tenth of a millisecond forgives the rounding of timestamps such as 15 x 1/30.
        return time_s - self._last_s >= interval_s - 1e-4

    def started(self, time_s: float) -> None:
        """A detection of the frame at `time_s` has begun."""
        self._last_s = time_s

    def reset(self) -> None:
        """Detect in the next frame (a cut in the film)."""
        self._last_s = None


LIMIT_S = 60.0
"""A frame takes a detector milliseconds, its first one seconds."""


@dataclass(frozen=True, slots=True)
class Detected:
    """The detections in the frame at `time_s`, and the seconds that it took."""

    detections: Detections
    time_s: float
    seconds: float


class DetectionRunner(Protocol):
    """Runs the detector on frames that it is given."""

    def submit(self, frame: Frame) -> bool:
        """Detect in this frame. False: still busy with an earlier one."""
        ...

    def poll(self) -> Detected | None:
        """The finished detections, once; None where there is none. Raises what the detector raised."""
        ...

    def close(self) -> None:
        """End the detector. May be called twice."""
        ...


class DetectAtOnce:
    """For files: `submit` returns when the detections are there."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self._finished: Detected | None = None

    def submit(self, frame: Frame) -> bool:
        """Detect now."""
        self._finished = _detect(self._detector, frame)
        return True

    def poll(self) -> Detected | None:
        """The detections of the last `submit`, once."""
        finished, self._finished = self._finished, None
        return finished

    def close(self) -> None:
        """End the detector."""
        self._detector.close()


class DetectInBackground:
    """For live sources: one thread, one frame at a time, never in the way of the pipeline."""

    def __init__(self, detector: Detector, join_s: float = 5.0, limit_s: float = LIMIT_S) -> None:
        """`limit_s`: a frame that takes longer than this is a fault."""
        self._detector = detector
        self._limit_s = limit_s
        self._since_s = 0.0
        self._join_s = join_s
        self._changed = threading.Condition()
        self._waiting: Frame | None = None
        self._busy = False
        self._ended = False
        self._finished: Detected | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="detector", daemon=True)
        self._thread.start()

    def submit(self, frame: Frame) -> bool:
        """Hand the frame over, unless an earlier one is still being looked at."""
        with self._changed:
            if self._busy or self._ended:
                return False
            self._waiting, self._busy, self._since_s = frame, True, time.monotonic()
            self._changed.notify_all()
            return True

    def poll(self) -> Detected | None:
        """The detections if they are there. Raises what the detector raised, with its traceback."""
        with self._changed:
            if self._error is not None:
                raise self._error
            if self._busy and time.monotonic() - self._since_s > self._limit_s:
                raise RunError(f"the detector has not answered for {self._limit_s:.0f} s; try another --detector")
            finished, self._finished = self._finished, None
            return finished

    def close(self) -> None:
        """End the thread (bounded wait); the thread itself ends the detector."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        if self._thread is not threading.current_thread():
            self._thread.join(self._join_s)

    def _work(self) -> None:
        try:
            while (frame := self._next()) is not None:
                finished = _detect(self._detector, frame)
                with self._changed:
                    self._finished, self._busy = finished, False
        except BaseException as error:  # travels to the consumer, which raises it
            with self._changed:
                self._error, self._busy = thread_failure("the detector", error), False
        finally:
            self._detector.close()

    def _next(self) -> Frame | None:
        with self._changed:
            while self._waiting is None and not self._ended:
                self._changed.wait()
            frame, self._waiting = self._waiting, None
            return None if self._ended else frame


def _detect(detector: Detector, frame: Frame) -> Detected:
    start_s = time.perf_counter()
    detections = detector.detect(frame)
    return Detected(detections, frame.time_s, time.perf_counter() - start_s)
