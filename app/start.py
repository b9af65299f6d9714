"""The program's beginning, before anything heavy is imported: what keeps it from being imported at all is one line too.

A Python without the packages, files that this user may not read and a memory limit that is too small end with exit
code 1.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import sys
import threading
import traceback
from importlib import import_module
from pathlib import Path

LEAST_MEMORY = 512 << 20
"""Address space (`ulimit -v`) below which libraries crash while they are loaded. A run on a CPU takes about 2 GB."""
ENOUGH_MEMORY = 2_000 << 20
_ENOUGH = f"a run takes about {ENOUGH_MEMORY >> 20} MB"
_OUT_OF_MEMORY = ("cannot allocate memory", "failed to map segment", "bad_alloc", "bad allocation")


def start(module: str, prog: str) -> int:
    """Import `module` and call its `main`; gives the exit code."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the shell (2>&-), or a program without a console
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
    limit = memory_limit()
    if limit is not None and limit < LEAST_MEMORY:
        print(f"{prog}: {too_little_memory(limit)}", file=sys.stderr)
        return 1
    try:
        program = import_module(module)
    except (ImportError, MemoryError, OSError) as error:
        if "--debug" in sys.argv:
            traceback.print_exc()
        print(f"{prog}: {why_not_there(error)}", file=sys.stderr)
        return 1
    code = int(program.main())
    _end_without_threads(code)
    return code


def _end_without_threads(code: int) -> None:
    """End the process here where threads are left behind, in a library that never came back.

    Python stops daemon threads when they next want its lock; one that is in the middle of a library's callback
    (FFmpeg asks whether to go on waiting) crashes then, and a signal's exit code becomes that of a crash.
    """
    # Not is_alive(): a signal during join() marks a thread as stopped that goes on (Python 3.11).
    if not any(thread.daemon for thread in threading.enumerate()):
        return
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # closed, or a pipe whose reader is gone
            stream.flush()
    os._exit(code)


def memory_limit() -> int | None:
    """Bytes of address space that this process may have; None where there is no limit."""
    if sys.platform == "win32":
        return None
    import resource

    soft = resource.getrlimit(resource.RLIMIT_AS)[0]
    return None if soft == resource.RLIM_INFINITY else soft


def too_little_memory(limit: int | None) -> str:
    """One line."""
    if limit is None:
        return "out of memory; close other programs, or give smaller pictures"
    return f"the memory limit of this process ({limit >> 20} MB, ulimit -v) is too small; {_ENOUGH}"


def memory_hint() -> str:
    """What to add to any error where a limit may be its reason: libraries say that a film is damaged, a graph none."""
    limit = memory_limit()
    if limit is None or limit >= ENOUGH_MEMORY:
        return ""
    return f" (or the reason is this process's memory limit of {limit >> 20} MB, ulimit -v; {_ENOUGH})"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says, however it says it, that there was no memory."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    return any(words in str(error).lower() for words in _OUT_OF_MEMORY)


def why_not_there(error: BaseException) -> str:
    """Why something cannot be imported, and the way out, in one line."""
    if is_out_of_memory(error):
        return too_little_memory(memory_limit())
    if isinstance(error, PermissionError) and error.filename:
        return f"{error.filename}: this user may not read it; its owner can allow it: chmod a+r {error.filename}"
    name = str(getattr(error, "name", None) or "").split(".")
    unreadable = _unreadable(name) if isinstance(error, ImportError) and name[0] else None
    if unreadable is not None:
        return f"{unreadable}: this user may not read it; its owner can allow it: chmod -R a+rX {unreadable}"
    if isinstance(error, ModuleNotFoundError) and name[0] not in ("", "bodycast"):
        from bodycast.engines.optional import install_command

        where = f"{sys.executable} ({sys.version.split()[0]})"
        return f"the package {name[0]!r} is not there for {where}: use the environment's Python, or " + (
            install_command("live.txt")
        )
    return f"{type(error).__name__}: {error} (--debug shows where)".replace("\n", " ")


def _unreadable(name: list[str]) -> Path | None:
    """What of a module's way, from the folders in which Python looks, this user may not read."""
    ours = Path(__file__).resolve().parents[1]
    for folder in dict.fromkeys([*(Path(entry or ".") for entry in sys.path), ours]):
        part = folder
        for step in ("", *(name[1:] if folder == ours else name)):
            part = part / step
            if not os.path.lexists(part) and step:
                part = part.with_name(f"{step}.py")
            if not os.path.lexists(part):
                break
            if not os.access(part, os.R_OK | (os.X_OK if part.is_dir() else 0)):
                return part
    return None
