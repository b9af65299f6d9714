"""The folder that `--output` names: checked before the run, made when the first file is about to be."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, cast

from bodycast.app.address import local_path
from bodycast.app.errors import UsageError
from bodycast.app.files.folder_lock import FolderLock
from bodycast.app.files.motion_parts import PARTS_FOLDER
from bodycast.engines.writable import why_unwritable

OVERLAY_FILE = "overlay.mp4"
MOTION_FILE = "motion.npz"
REPORT_FILE = "run.json"
REPLAY_PAGE = "replay.html"
REPORT_PAGE = "report.html"
FILES = (OVERLAY_FILE, MOTION_FILE, REPORT_FILE, REPLAY_PAGE, REPORT_PAGE)


def check_output_folder(folder: Path, overwrite: bool, reads: Iterable[str | Path] = ()) -> None:
    """Raise UsageError unless a run may write into `folder`; touches nothing. `reads`: what the run reads, files or
    not; none of its results may be one of them, `overwrite` or not."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--output {folder}: is a file, expected a folder; give another name")
    for path in reads:
        for name in FILES:
            if _same_file(path, folder / name):
                raise UsageError(f"--output {folder}: {name} there is what the run reads; give another folder")
        if _is_inside(path, folder / PARTS_FOLDER):
            raise UsageError(f"--output {folder}: {PARTS_FOLDER} there holds what the run reads; give another folder")
    there = [name for name in (*FILES, PARTS_FOLDER) if (folder / name).exists()]
    if PARTS_FOLDER in there and not overwrite:
        raise UsageError(
            f"--output {folder}: an earlier run was killed there: `bodycast recover {folder}` finishes its files; "
            "or give another folder, or --overwrite to lose them"
        )
    if there and not overwrite:
        raise UsageError(
            f"--output {folder}: holds the results of an earlier run ({', '.join(there)}); "
            "give another folder, or --overwrite to replace them"
        )
    if reason := why_unwritable(folder):
        raise UsageError(f"--output {folder}: {reason}")


def texts_of(config: object) -> Iterator[str | Path]:
    """All texts and paths in a dataclass and those within it: whatever of them is a file, a run reads."""
    for field in fields(cast("Any", config)):
        value = getattr(config, field.name)
        if is_dataclass(value):
            yield from texts_of(value)
        elif isinstance(value, str | Path):
            yield value


def _same_file(one: str | Path, other: Path) -> bool:
    try:
        # What a shell has opened for us is read too.
        seen = os.fstat(0) if str(one) == "-" else local_path(str(one)).stat()
        return os.path.samestat(seen, other.stat())
    except (OSError, ValueError):  # not there, or no path at all: a camera, an address
        return False


def _is_inside(one: str | Path, folder: Path) -> bool:
    try:
        path = local_path(str(one)).resolve(strict=True)
        return path.is_relative_to(folder.resolve(strict=True))
    except (OSError, ValueError, RuntimeError):
        return False


def make_output_folder(folder: Path) -> FolderLock:
    """Make it, claim it, and remove an earlier run's results (`check_output_folder` has seen to it that they may go).

    All go at once, so that a run that ends early leaves no mixture of old and new. Raises: UsageError.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--output {folder}: cannot be written ({error.strerror}); give another folder") from error
    lock = FolderLock(folder)
    try:
        for name in FILES:
            (folder / name).unlink(missing_ok=True)
        if (folder / PARTS_FOLDER).is_symlink():
            (folder / PARTS_FOLDER).unlink()
        shutil.rmtree(folder / PARTS_FOLDER, ignore_errors=True)
    except OSError as error:
        lock.release()
        raise UsageError(f"--output {folder}: cannot be written ({error.strerror}); give another folder") from error
    return lock
