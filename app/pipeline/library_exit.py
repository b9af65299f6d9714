"""Libraries that end the process: Qt calls `exit` where the display goes away, in the middle of the window's thread."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any


@contextmanager
def before_a_library_exits(last_words: Callable[[], None]) -> Generator[None]:
    """While the block runs, `last_words` is called where a library calls C's `exit`; the process then ends with 1.

    The calling thread never comes back from there, but others go on meanwhile. Nothing where C's library has no such
    function, as on Windows, which has no X either.
    """
    # C's library; on Windows there is none by this name.
    library: Any = ctypes.CDLL(None if os.name == "posix" else "msvcrt")
    if not hasattr(library, "__cxa_atexit") or not hasattr(library, "__cxa_finalize"):
        yield
        return
    running = True

    def on_exit(unused: int | None) -> None:
        del unused
        if running:
            try:
                last_words()
            finally:
                sys.stderr.flush()
                os._exit(1)

    hook = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(on_exit)
    ours = ctypes.create_string_buffer(1)  # whose address names our hook among the others
    library.__cxa_atexit(hook, None, ctypes.byref(ours))
    try:
        yield
    finally:
        running = False
        # Takes the hook away, calling it once more: at the end of the process there is no Python to run it.
        library.__cxa_finalize(ctypes.byref(ours))
