"""`bodycast recover DIR`: finish what a killed run left."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, cast

import tyro

from bodycast.app.command_line import parse
from bodycast.app.errors import UsageError, cannot_write
from bodycast.app.files.folder_lock import FolderLock
from bodycast.app.files.motion_parts import PARTS_FOLDER, Parts, read_parts
from bodycast.app.files.output_file import write_whole
from bodycast.app.files.output_folder import MOTION_FILE, OVERLAY_FILE, REPORT_FILE
from bodycast.app.sinks.finish_motion import Finishes, finish_motion
from bodycast.app.world.floor_fit import FloorKnown
from bodycast.app.world.options import WorldOptions

KILLED = "killed before its end; recovered"


@dataclass(frozen=True)
class Recover:
    """Make motion.npz and an ordinary overlay.mp4 of what a killed run left in its output folder."""

    folder: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="DIR")]
    """The run's --output folder."""

    body: str = "auto"
    """The body file of the run; auto: the one that it was given."""


def main(args: Sequence[str], prog: str) -> int:
    """Command line."""
    given = parse(Recover, args, prog)
    folder = given.folder
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder; give the --output folder of a run")
    parts_folder = folder / PARTS_FOLDER
    if not parts_folder.is_dir():
        raise UsageError(f"{folder}: nothing to recover: no {PARTS_FOLDER} there, so its run ended by itself")
    lock = FolderLock(folder)
    try:
        parts = read_parts(parts_folder)
        frames, rows = len(parts.frames), len(parts.rows)
        finish = _finish(parts, given.body)
        spec, body_name = parts.head.body if given.body == "auto" else given.body, parts.head.meta.body
        del parts
        try:
            finish_motion(parts_folder, folder / MOTION_FILE, finish)
            _mend_report(folder / REPORT_FILE, frames)
        except OSError as error:
            raise cannot_write(folder, error, f"{PARTS_FOLDER} is kept") from error
        notes = _pages(folder, spec, body_name)
    finally:
        lock.release()
    print(f"{folder / MOTION_FILE}: {rows} rows of {frames} frames")
    overlay = folder / OVERLAY_FILE
    if overlay.exists():
        print(f"{overlay}: {_film(overlay)}")
    for line in notes:
        print(f"note: {line}")
    return 0


def _pages(folder: Path, spec: str, body_name: str) -> list[str]:
    """Make replay.html and report.html; gives notes."""
    from bodycast.app.pipeline.build import load_body
    from bodycast.app.viewer.pages import write_pages

    try:
        return write_pages(folder, load_body(spec, body_name, False))
    except UsageError as error:
        return [f"no pages were made: {error}"]


def _finish(parts: Parts, body: str) -> Finishes | None:
    """What the run would have done at its end. Raises: UsageError for a body that cannot be used."""
    said = parts.head.finish
    if said is None:
        return None
    from bodycast.app.pipeline.build import load_body
    from bodycast.app.world.offline import place_motion

    spec = parts.head.body if body == "auto" else body
    try:
        known = FloorKnown(**cast("dict[str, Any]", said["known"]))
        options = replace(WorldOptions(**{name: value for name, value in said.items() if name != "known"}), known=known)
    except (TypeError, KeyError) as error:
        raise UsageError(f"{PARTS_FOLDER}: no motion that can be recovered ({error})") from error
    return partial(place_motion, body=load_body(spec, parts.head.meta.body, False), options=options)


def _mend_report(path: Path, frames: int) -> None:
    """Say in run.json how the run ended. A report that cannot be read is left as it is. Raises OSError."""
    try:
        report: object = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError):
        return
    if isinstance(report, dict) and report.get("exit_reason") == "running":  # pyright: ignore[reportUnknownMemberType]
        report["exit_reason"] = f"{KILLED} {frames} frames"
        text = json.dumps(report, indent=2) + "\n"
        write_whole(path, lambda stream: stream.write(text.encode()))


def _film(path: Path) -> str:
    """Make the overlay an ordinary film where that can be had; how much of it plays."""
    import av
    import av.error

    from bodycast.app.sinks.finish_film import finish_film

    left = ""
    with contextlib.suppress(OSError, av.error.FFmpegError, IndexError):  # in fragments it plays too
        left = finish_film(path)
    count = 0
    try:
        with av.open(str(path.absolute())) as film:
            for _ in film.decode(video=0):
                count += 1
    except (OSError, av.error.FFmpegError, IndexError):  # a torn picture is the last one
        pass
    note = f"; {left}" if left else ""
    return f"plays, {count} frames{note}" if count else "holds no whole picture"
