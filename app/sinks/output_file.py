"""The rule for every file that a run writes."""

from __future__ import annotations

from pathlib import Path

from app.errors import UsageError


def check_target(path: Path, overwrite: bool) -> None:
    """Raise UsageError unless `path` may be written: nothing is replaced that was not meant to be."""
    if path.exists() and not overwrite:
        raise UsageError(f"{path} exists; give another name, or --overwrite to replace it")
    if not path.parent.is_dir():
        raise UsageError(f"{path.parent}: no such folder to write {path.name} into; create it first")
