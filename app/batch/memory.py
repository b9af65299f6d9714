"""A worker's memory stays flat over many films.

Every film starts threads anew: decoder, drawing, sinks, and PyAV's converter two more a frame. glibc gives threads
heaps of their own (arenas), up to eight a core, and what a film has freed in one is no use to the next film's threads.
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from typing import Any

_M_ARENA_MAX = -8
"""glibc's number for it (malloc.h)."""
ARENAS = 2


def share_heaps() -> None:
    """Let all threads of this process share `ARENAS` heaps, before it starts many. Nothing without glibc, whose
    fault this is."""
    if (glibc := _glibc()) is not None:
        glibc.mallopt(_M_ARENA_MAX, ARENAS)


def give_back() -> None:
    """Give what is free to the system, a few milliseconds after a film. Nothing without glibc."""
    if (glibc := _glibc()) is not None:
        glibc.malloc_trim(0)


@cache
def _glibc() -> Any:
    """The C library, or None where it is another one (macOS, Windows, musl)."""
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "gnu_get_libc_version") and hasattr(library, "malloc_trim") else None
