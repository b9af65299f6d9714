"""Whether a folder can be made, asked before the work whose results it is for."""

from __future__ import annotations

import os
from pathlib import Path


def why_unwritable(folder: Path) -> str | None:
    """What keeps `folder` from being made or written into, and the way out, or None. Touches nothing."""
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir():
        return f"{folder} is a file, expected a folder; give another name"
    if not os.access(folder, os.W_OK | os.X_OK):
        return f"no permission to write in {folder}; give another folder"
    return None
