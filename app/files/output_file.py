"""The rules for every file that the program writes: nothing is replaced unasked, nothing is left half-written."""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from bodycast.app.errors import UsageError


def check_target(path: Path, overwrite: bool) -> None:
    """Raise UsageError unless `path` may be written: nothing is replaced that was not meant to be."""
    if os.path.lexists(path) and not overwrite:  # a link that leads nowhere is there too
        raise UsageError(f"{path} exists; give another name, or --overwrite to replace it")
    if not path.parent.is_dir():
        raise UsageError(f"{path.parent}: no such folder to write {path.name} into; create it first")


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then put it there in one step.

    The temporary file's name cannot be foreseen and is new, so that nothing is written through a link that waits
    there; a link at `path` itself is replaced. Permissions follow the umask, as for any new file. A crash or a full
    disk leaves the file that was there before, and nothing else. Raises what `write` raises, OSError.
    """
    handle, name = tempfile.mkstemp(prefix=f".{path.name[:40]}.", suffix=".part", dir=path.parent)
    temporary = Path(name)
    try:
        with open(handle, "wb") as stream:
            write(stream)
        if os.name == "posix":
            temporary.chmod(0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        raise


def _umask() -> int:
    """The process's; there is no other way to read it than to set it."""
    with _reading_umask:
        mask = os.umask(0o077)
        os.umask(mask)
    return mask


_reading_umask = threading.Lock()
