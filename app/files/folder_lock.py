"""One run at a time in an output folder: a lock that the system lets go when its process ends, however that is."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

from bodycast.app.errors import UsageError

LOCK_FILE = ".bodycast.lock"


class FolderLock:
    """Held from the moment that it is made until `release`."""

    def __init__(self, folder: Path) -> None:
        """Raises: UsageError where another run holds it, or the folder cannot be written."""
        self._path = folder / LOCK_FILE
        try:
            # Not through a link that somebody left there.
            self._handle: int | None = os.open(self._path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        except OSError as error:
            raise UsageError(f"--output {folder}: cannot be written ({error.strerror}); give another folder") from error
        try:
            _lock(self._handle)
        except OSError as error:
            os.close(self._handle)
            raise UsageError(f"--output {folder}: another run writes there now; give another folder") from error

    def release(self) -> None:
        """May be called twice."""
        handle, self._handle = self._handle, None
        if handle is not None:
            with contextlib.suppress(OSError):
                self._path.unlink()
            os.close(handle)


def _lock(handle: int) -> None:
    """Raises OSError where somebody else has it."""
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
