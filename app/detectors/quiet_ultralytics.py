"""Import ultralytics without its usage analytics, and without running what is in weight files."""

from __future__ import annotations

from typing import Any

from bodycast.app.errors import UsageError, require
from bodycast.engines.optional import install_command


def import_ultralytics() -> Any:
    """The library, with the events switched off that it otherwise sends to its maker at every prediction and export.

    A weight file is a pickle, which could run code (and, naming a module that is missing, make ultralytics install it):
    files are read by its restricted reader, which knows the classes of YOLO and nothing else.

    Only this process is affected: the user's own ultralytics settings stay as they are.
    Raises: UsageError where it is not installed, or too old.
    """
    library: Any = require("ultralytics", "export.txt")
    events: Any = require("ultralytics.utils.events", "export.txt")
    events.events.enabled = False
    tasks: Any = require("ultralytics.nn.tasks", "export.txt")
    if not hasattr(tasks, "SAFE_LOAD"):
        raise UsageError(f"this ultralytics has no restricted reader of weights: {install_command('export.txt')}")
    tasks.SAFE_LOAD = True
    return library
