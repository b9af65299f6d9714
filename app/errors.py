"""Errors that a user can act on.

`UsageError` ends the program with exit code 2 (the command line is at fault), `RunError` with exit code 1
(the run is). Both print one line: what happened, and what to do about it. Anything else is a defect of ours.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType


class BodycastError(Exception):
    """Base of the errors whose message is written for the user."""

    exit_code = 1


class UsageError(BodycastError):
    """The command line, or a file that it names, cannot be used."""

    exit_code = 2


class RunError(BodycastError):
    """Something failed while running: a lost camera, a full disk, an engine that stopped."""


def require(module: str, requirements: str) -> ModuleType:
    """Import an optional package; where it is missing, say which requirements file brings it.

    Raises: UsageError with the command that installs it.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not module.startswith(error.name):
            raise
        raise UsageError(
            f"the package {error.name!r} is not installed: pip install -r requirements/{requirements}"
        ) from error
