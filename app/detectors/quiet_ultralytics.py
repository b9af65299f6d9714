"""Import ultralytics without its usage analytics."""

from __future__ import annotations

from typing import Any

from app.errors import require


def import_ultralytics() -> Any:
    """The library, with the events switched off that it otherwise sends to its maker at every prediction and export.

    Only this process is affected: the user's own ultralytics settings stay as they are.
    Raises: UsageError where it is not installed.
    """
    library: Any = require("ultralytics", "export.txt")
    events: Any = require("ultralytics.utils.events", "export.txt")
    events.events.enabled = False
    return library
