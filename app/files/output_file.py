"""The rules for every file that the program writes: nothing is replaced unasked, nothing is left half-written."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from bodycast.app.errors import UsageError


def check_target(path: Path, overwrite: bool) -> None:
    """Raise UsageError unless `path` may be written: nothing is replaced that was not meant to be."""
    if path.exists() and not overwrite:
        raise UsageError(f"{path} exists; give another name, or --overwrite to replace it")
    if not path.parent.is_dir():
        raise UsageError(f"{path.parent}: no such folder to write {path.name} into; create it first")


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then put it there in one step.

    A crash or a full disk leaves the file that was there before, and nothing else. Raises what `write` raises, OSError.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(temporary, "wb") as stream:
            write(stream)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        raise
