"""Resident memory stays flat, over many films and over a run of hours.

Threads come and go: decoder, drawing and sinks with each film, and PyAV's converter two more a frame. glibc gives
threads heaps of their own (arenas), up to eight a core, and what was freed in one is no use to the next threads.
"""

from __future__ import annotations

import ctypes
import gc
import sys
import time
from collections.abc import Callable
from functools import cache
from typing import Any

_M_ARENA_MAX = -8
"""glibc's number for it (malloc.h)."""
ARENAS = 2
EVERY_S = 5.0
RUN_EVERY_S = 60.0
"""The same within a run."""


def share_heaps() -> None:
    """Let all threads of this process share `ARENAS` heaps, before it starts many. Nothing without glibc, whose
    fault this is."""
    if (glibc := _glibc()) is not None:
        glibc.mallopt(_M_ARENA_MAX, ARENAS)


class GivesBack:
    """Between films: lets go of those that have ended, whose decoders and threads are in cycles of references that
    Python would collect much later, and gives what is free then to the system, with glibc."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._next_s = 0.0

    def __call__(self) -> None:
        """It takes some 30 ms: nothing within `EVERY_S` of the last time, for batches of clips."""
        if self._clock() < self._next_s:
            return
        _give_back()
        self._next_s = self._clock() + EVERY_S


def _give_back() -> None:
    gc.collect()
    if (glibc := _glibc()) is not None:
        glibc.malloc_trim(0)


@cache
def _glibc() -> Any:
    """The C library, or None where it is another one (macOS, Windows, musl)."""
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "gnu_get_libc_version") and hasattr(library, "malloc_trim") else None


give_back = GivesBack()
"""Of this process."""


class Trims:
    """Within a run: what is free goes to the system once a minute, with glibc. Takes some ms."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._next_s = clock() + RUN_EVERY_S

    def __call__(self) -> None:
        """Does nothing before it is time."""
        if self._clock() >= self._next_s and (glibc := _glibc()) is not None:
            glibc.malloc_trim(0)
            self._next_s = self._clock() + RUN_EVERY_S
