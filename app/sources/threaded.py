"""The one source class: frames are made by a generator in a thread of its own, and handed over by policy."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field, replace
from typing import TypeVar

from bodycast.app.errors import RunError, thread_failure
from bodycast.app.records import Frame
from bodycast.app.sources.base import SourceInfo
from bodycast.app.sources.handoff import Handoff, WhenFull
from bodycast.app.sources.turning import Turn
from bodycast.plain_text import message_line

T = TypeVar("T")

JOIN_S = 2.0
"""How long `close` waits for the thread; a driver that hangs longer is left to its daemon thread."""

MOST_WARNINGS = 100


@dataclass(slots=True)
class SourceLog:
    """What a source has to say beside its frames. `warnings` in order, `status` is what it is doing now."""

    warnings: list[str] = field(default_factory=list[str])
    status: str = "running"

    def warn(self, message: str) -> None:
        """Remember a warning; the same line is kept once, and a run of days keeps the first `MOST_WARNINGS`."""
        message = message_line(message)
        if message not in self.warnings and len(self.warnings) < MOST_WARNINGS:
            self.warnings.append(message)


class ThreadedSource:
    """A `Source` (see base.py) around a generator of frames, which runs in its own thread from the start.

    A live source hands over the newest frame only, any other waits for its reader, `prefetch` frames ahead. Errors of
    the generator are raised by the iterator. The generator releases its device in its own `finally`; it may watch
    `stop` to cut a pause short.
    """

    def __init__(
        self,
        info: SourceInfo,
        frames: Generator[Frame, None, None],
        *,
        log: SourceLog | None = None,
        stop: threading.Event | None = None,
        prefetch: int = 4,
        silence_limit_s: float | None = None,
    ) -> None:
        self._info = info
        self._frames = frames
        self._log = log or SourceLog()
        self._stop = stop or threading.Event()
        self._silence_limit_s = silence_limit_s
        self._turn: Turn | None = None
        when_full = WhenFull.DROP_OLDEST if info.live else WhenFull.WAIT
        self._handoff: Handoff[Frame] = Handoff(1 if info.live else prefetch, when_full)
        self._thread = threading.Thread(target=self._run, name=f"source {info.name}", daemon=True)
        self._thread.start()

    @property
    def info(self) -> SourceInfo:
        """Known once the source is open."""
        return self._info

    def turn(self, turn: Turn) -> None:
        """Turn all frames from here on; before the first one is taken."""
        self._turn = turn
        self._info = replace(self._info, image_wh=turn.size(self._info.image_wh))

    @property
    def dropped(self) -> int:
        """Frames grabbed and never delivered."""
        return self._handoff.dropped

    @property
    def warnings(self) -> tuple[str, ...]:
        """What went wrong without ending the run, one line each: damaged frames, skipped pictures, lost connections."""
        return tuple(self._log.warnings)

    @property
    def status(self) -> str:
        """What the source is doing now: "running", "reconnecting ..."."""
        return self._log.status

    def __iter__(self) -> Iterator[Frame]:
        """Frames until the end, or until `close`. Raises the grab thread's error; RunError when a live source is
        silent for too long."""
        while True:
            try:
                frame = self._handoff.take(self._silence_limit_s)
            except TimeoutError as error:
                raise RunError(
                    f"{self._info.name}: no picture for {self._silence_limit_s:.0f} s; "
                    "check the device or the connection and start again"
                ) from error
            if frame is None:
                return
            yield frame if self._turn is None else self._turn.frame(frame)

    def close(self) -> None:
        """Stop the thread (bounded) and release the device. May be called twice and from any thread."""
        self._stop.set()
        self._handoff.close()
        if threading.current_thread() is not self._thread:
            self._thread.join(JOIN_S)

    def _run(self) -> None:
        failure: Exception | None = None
        try:
            # Without `closing`, a reader that stops early would leave the device open until garbage collection.
            with contextlib.closing(self._frames) as frames:
                for frame in frames:
                    if not self._handoff.put(frame):
                        break
        except BaseException as error:  # whatever ends this thread must not read as the end of the film
            failure = thread_failure(self._info.name, error)
        finally:
            self._handoff.end(failure)


def call_bounded(open_device: Callable[[], T], timeout_s: float, release: Callable[[T], None]) -> T:
    """The result (or the error) of `open_device`, which may hang: it runs in a thread of its own.

    Raises TimeoutError after `timeout_s`; should the device open later after all, it is given to `release`.
    """
    handoff: Handoff[T] = Handoff(1, WhenFull.WAIT)

    def run() -> None:
        try:
            device = open_device()
        except Exception as error:
            handoff.end(error)
            return
        if not handoff.put(device):
            release(device)

    threading.Thread(target=run, name="open device", daemon=True).start()
    try:
        device = handoff.take(timeout_s)
    except TimeoutError:
        handoff.close()
        raise
    assert device is not None, "a device that opened is never None"
    return device
