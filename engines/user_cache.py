"""Where the engines keep what can be made again: built plans, remembered choices, compiled kernels."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from tempfile import mkstemp


def cache_folder() -> Path:
    """$BODYCAST_CACHE, else the platform's place for caches; not created. Deleting it costs time, nothing else."""
    chosen = os.environ.get("BODYCAST_CACHE")
    if chosen:
        return Path(chosen)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "bodycast" / "cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "bodycast"
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "bodycast"


def write_whole(path: Path, content: bytes, *, private: bool = False) -> None:
    """Write a file that appears complete or not at all, also on a full disk or when the program is stopped.

    private: only its owner may read it, and look into its folder. Raises: OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700 if private else 0o777)
    handle, name = mkstemp(prefix=f".{path.name}-", dir=path.parent)
    staged = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        if private:
            path.parent.chmod(0o700)
        staged.chmod(0o600 if private else 0o644)
        staged.replace(path)
    finally:
        staged.unlink(missing_ok=True)
