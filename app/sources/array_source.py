"""Frames from memory: for tests, benchmarks and callers that have pictures already."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from itertools import chain

from bodycast.app.records import U8, Frame
from bodycast.app.sources.base import SourceInfo
from bodycast.app.sources.threaded import ThreadedSource


def open_array_source(
    images: Iterable[U8],
    *,
    fps: float = 30.0,
    live: bool = False,
    times_s: Sequence[float] | None = None,
    fail_at: int | None = None,
    error: Callable[[], Exception] = lambda: RuntimeError("the array source was told to fail"),
    name: str = "array",
) -> ThreadedSource:
    """A source over `images` ((H,W,3) uint8 BGR, finite or endless), with the policies of the real ones.

    Not live: frame i has time `times_s[i]`, else i / fps, and nothing is dropped. Live: one picture every 1 / fps
    seconds whether anybody reads or not, stamped with the monotonic clock. `error()` is raised in the grab thread
    instead of frame `fail_at`. Raises ValueError where there is no image at all.
    """
    remaining = iter(images)
    first = next(remaining, None)
    if first is None:
        raise ValueError("open_array_source: expected one image or more, got none")
    count = len(images) if isinstance(images, Sequence) else None
    info = SourceInfo(name, live, fps, None if live else count, (first.shape[1], first.shape[0]))
    stop = threading.Event()

    def frames() -> Generator[Frame, None, None]:
        start_s = time.monotonic()
        for index, image in enumerate(chain([first], remaining)):
            if index == fail_at:
                raise error()
            if live:
                if stop.wait(max(0.0, start_s + index / fps - time.monotonic())):
                    return
                yield Frame(image, index, time.monotonic())
            else:
                yield Frame(image, index, index / fps if times_s is None else times_s[index])

    return ThreadedSource(info, frames(), stop=stop)
