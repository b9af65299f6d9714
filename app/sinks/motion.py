"""The motion file as a sink: rows go to the disk as they come, and become motion.npz at the end."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

from bodycast.app.errors import RunError, cannot_write
from bodycast.app.files.motion_file import MotionMeta
from bodycast.app.files.motion_parts import PARTS_FOLDER, PartsHead, PartsWriter
from bodycast.app.files.output_file import check_target
from bodycast.app.records import FrameResult
from bodycast.app.sinks.finish_motion import Finishes, finish_motion
from bodycast.app.sinks.motion_rows import frame_record, motion_rows, smoothed_rows
from bodycast.app.world.report import WorldReport


class MotionSink:
    """Appends one row per person per frame to `motion.parts` beside `path` (app/files/motion_parts.py), and writes
    `path` at the end in one step. Memory stays flat; a killed run loses none of it (`bodycast recover`)."""

    def __init__(
        self,
        path: Path,
        meta: MotionMeta,
        fps: float | None = None,
        *,
        overwrite: bool = False,
        finish: Finishes | None = None,
        body: str = "auto",
        finish_with: dict[str, Any] | None = None,
    ) -> None:
        """`fps`: rate that the source states; the time stamps decide where they do not bear it out. `finish`: what is
        done with the whole motion at the end (app/world/offline.py); None: it stays as it came. `body`, `finish_with`:
        the body file and the options with which `bodycast recover` does the same.

        Raises: UsageError where `path` exists and `overwrite` is not set, or its folder does not exist.
        """
        check_target(path, overwrite)
        self._path = path
        self._folder = path.with_name(PARTS_FOLDER)
        self._head = PartsHead(meta, fps, body, None if finish is None else finish_with or {})
        self._finish = finish
        self._world: WorldReport | None = None
        self._parts: PartsWriter | None = None
        self._closed = False
        self._gone = False

    @property
    def name(self) -> str:
        """For messages."""
        return "motion"

    @property
    def path(self) -> Path:
        """The file that is written at the end."""
        return self._path

    @property
    def world(self) -> WorldReport | None:
        """What `finish` found out; None before the end, or without it."""
        return self._world

    def write(self, result: FrameResult) -> None:
        """Take one frame. Raises RunError where it cannot be written, or holds what no motion can."""
        rows, smoothed = motion_rows(result), smoothed_rows(result)
        try:
            self._open().append(frame_record(result), rows, smoothed)
        except OSError as error:
            raise self._failure(self._folder, error, "what came before is kept: bodycast recover") from error

    def close(self) -> None:
        """Write everything. May be called twice. Raises RunError where the disk does not take it; the parts stay, for
        `bodycast recover`."""
        if self._closed:
            return
        self._closed = True
        if self._gone:
            if self._parts is not None:
                self._parts.close()
            return
        try:
            parts = self._open()
            parts.flush(sync=True)
            parts.close()
            self._world = finish_motion(self._folder, self._path, self._finish)
        except OSError as error:
            raise self._failure(self._path, error, "what was recorded is kept: bodycast recover") from error

    def _failure(self, path: Path, error: OSError, kept: str) -> RunError:
        self._gone = error.errno == errno.ENOENT
        if self._gone:
            kept = "if it was renamed, bodycast recover finishes it there"
        return cannot_write(path, error, kept)

    def _open(self) -> PartsWriter:
        """Raises OSError."""
        if self._parts is None:
            self._parts = PartsWriter(self._folder, self._head)
        return self._parts
