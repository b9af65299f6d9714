"""Errors that a user can act on.

`UsageError` ends the program with exit code 2 (the command line is at fault), `RunError` with exit code 1
(the run is). Both print one line: what happened, and what to do about it. Anything else is a defect of ours.
"""

from __future__ import annotations

import errno
from types import ModuleType

from bodycast.engines import optional
from bodycast.engines.errors import EngineUnavailableError
from bodycast.plain_text import message_line


class BodycastError(Exception):
    """Base of the errors whose message is written for the user. What it quotes of files and of the network is made one
    plain, short line."""

    exit_code = 1

    def __init__(self, message: object = "") -> None:
        super().__init__(message_line(message))


class UsageError(BodycastError):
    """The command line, or a file that it names, cannot be used."""

    exit_code = 2


class RunError(BodycastError):
    """Something failed while running: a lost camera, a full disk, an engine that stopped."""


_WAYS_OUT = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space: the quota of this user is used up",
    errno.EFBIG: "the file system or a limit (ulimit -f) allows no larger file; write elsewhere",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "close other programs",
    errno.EACCES: "no permission; write elsewhere, or change the permissions",
    errno.EPERM: "no permission; write elsewhere, or change the permissions",
    errno.EROFS: "the file system is read-only; write elsewhere",
    errno.ENOENT: "its folder is gone; was it removed or renamed meanwhile?",
    errno.EIO: "the disk or its connection fails; write elsewhere",
}


def cannot_write(path: object, error: Exception, kept: str = "") -> RunError:
    """A file that could not be written: the system's reason, what is `kept`, and what helps against that reason."""
    number = getattr(error, "errno", None)
    reason = (getattr(error, "strerror", None) or str(error) or type(error).__name__).rstrip(".")
    parts = [f"{path}: cannot be written ({reason})", kept, _WAYS_OUT.get(number or 0, "")]
    return RunError("; ".join(part for part in parts if part))


def thread_failure(where: str, error: BaseException) -> Exception:
    """What ended a thread, as an error that may travel to another one: SystemExit and its like would end that one
    silently, with an exit code of their own."""
    if isinstance(error, Exception):
        return error
    failure = RunError(f"{where} was ended by {type(error).__name__}" + (f" ({error})" if str(error) else ""))
    failure.__cause__ = error
    return failure


def require(module: str, requirements: str) -> ModuleType:
    """Import an optional package; where it is missing, say which requirements file brings it.

    Raises: UsageError with the command that installs it.
    """
    try:
        return optional.require(module, requirements)
    except EngineUnavailableError as error:
        raise UsageError(str(error)) from error
