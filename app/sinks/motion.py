"""The motion file as a sink: rows are collected, and written whole now and then, so that little is ever lost."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bodycast.app.errors import cannot_write
from bodycast.app.files.motion_file import NO_FLOOR, ROW, Motion, MotionMeta, motion_from_rows, write_motion
from bodycast.app.files.output_file import check_target
from bodycast.app.records import FrameResult
from bodycast.app.sinks.motion_rows import motion_rows, smoothed_rows
from bodycast.app.sources.frame_rate import measured_rate
from bodycast.app.world.ground import LEVEL
from bodycast.app.world.offline import SMOOTHED
from bodycast.app.world.report import WorldReport

CHECKPOINT_S = 5.0
CHECKPOINT_SHARE = 0.05
"""Largest share of the time that checkpoints may take: long recordings are written less often."""

MOST_STEPS = 10_000
"""Of so many frames the rate is measured, and no more times are kept."""

FALLBACK_FPS = 30.0
"""Stated for clips of a single frame from a source that does not know its rate."""


Finishes = Callable[[Motion, NDArray[np.void]], tuple[Motion, WorldReport]]
"""The whole motion and its smoothed rows (dtype SMOOTHED) -> the motion as it is kept, and what was found out."""


class GrowingTable:
    """Records that come a few at a time, in one array that doubles."""

    def __init__(self, dtype: np.dtype[np.void]) -> None:
        self._table: NDArray[np.void] = np.empty(64, dtype)
        self._count = 0

    def extend(self, rows: NDArray[np.void]) -> None:
        """Append records."""
        end = self._count + len(rows)
        if end > len(self._table):
            grown = np.empty(max(end, 2 * len(self._table)), self._table.dtype)
            grown[: self._count] = self._table[: self._count]
            self._table = grown
        self._table[self._count : end] = rows
        self._count = end

    @property
    def all(self) -> NDArray[np.void]:
        """Everything so far."""
        return self._table[: self._count]


class MotionSink:
    """Collects one row per person per frame and leaves `path` readable at all times (see motion_file.py).

    The file is written at the first frame, again every `checkpoint_s`, and at `close`; each time it is replaced in one
    step, so even a killed run leaves a motion file, at most a few seconds short. About 1.4 kB a row are kept in memory.
    """

    def __init__(
        self,
        path: Path,
        meta: MotionMeta,
        fps: float | None = None,
        *,
        overwrite: bool = False,
        checkpoint_s: float = CHECKPOINT_S,
        finish: Finishes | None = None,
    ) -> None:
        """`fps`: rate that the source states; the time stamps decide where they do not bear it out. `finish`: what is
        done with the whole motion at the end (app/world/offline.py); None: it stays as it came.

        Raises: UsageError where `path` exists and `overwrite` is not set, or its folder does not exist.
        """
        check_target(path, overwrite)
        self._path = path
        self._meta = meta
        self._fps = fps
        self._checkpoint_s = checkpoint_s
        self._next_checkpoint_s = 0.0
        self._finish = finish
        self._world: WorldReport | None = None
        self._rows, self._smoothed = GrowingTable(ROW), GrowingTable(SMOOTHED)
        self._floor, self._camera_to_world = NO_FLOOR.copy(), LEVEL.copy()
        self._frame_count = 0
        self._steps_s: list[float] = []
        self._last_time_s = 0.0
        self._focal_px = 0.0
        self._image_wh = (0, 0)
        self._closed = False

    @property
    def name(self) -> str:
        """For messages."""
        return "motion"

    @property
    def path(self) -> Path:
        """The file that is written."""
        return self._path

    @property
    def world(self) -> WorldReport | None:
        """What `finish` found out; None before the end, or without it."""
        return self._world

    def write(self, result: FrameResult) -> None:
        """Take one frame. Raises RunError where the file cannot be written."""
        if self._frame_count == 0:
            self._focal_px = result.intrinsics.focal_px
            self._image_wh = result.frame.image_wh
        elif len(self._steps_s) < MOST_STEPS:
            self._steps_s.append(result.frame.time_s - self._last_time_s)
        self._last_time_s = result.frame.time_s
        self._frame_count += 1
        self._append(result)
        now_s = time.monotonic()
        if now_s >= self._next_checkpoint_s:
            self._save()
            took_s = time.monotonic() - now_s
            self._next_checkpoint_s = now_s + max(self._checkpoint_s, took_s / CHECKPOINT_SHARE)

    def close(self) -> None:
        """Write everything. May be called twice. Raises RunError where the disk does not take it; the file then ends
        at the last checkpoint."""
        if self._closed:
            return
        self._closed = True
        self._save(finish=True)

    def _append(self, result: FrameResult) -> None:
        rows = motion_rows(result)
        self._rows.extend(rows)
        if self._finish is not None:
            self._smoothed.extend(smoothed_rows(result))
        if result.world is not None:
            self._floor, self._camera_to_world = result.world.floor, result.world.camera_to_world

    def _save(self, *, finish: bool = False) -> None:
        meta = MotionMeta(
            package=self._meta.package,
            body=self._meta.body,
            smoother=self._meta.smoother,
            lag_s=self._meta.lag_s,
            source=self._meta.source,
            frame_count=self._frame_count,
        )
        motion = motion_from_rows(self._rows.all, self._focal_px, self._image_wh, self._measured_fps(), meta)
        known = np.isfinite(self._camera_to_world).all()
        motion = replace(motion, floor=self._floor, camera_to_world=self._camera_to_world if known else LEVEL.copy())
        if finish and self._finish is not None:
            # Rows of a frame come in the order of its tracks; the motion's are sorted by person.
            rows = self._rows.all
            order = np.lexsort((rows["person_id"], rows["frame"]))
            motion, self._world = self._finish(motion, self._smoothed.all[order])
        try:
            write_motion(self._path, motion)
        except OSError as error:
            kept = "an earlier part of the motion is kept" if self._path.exists() else "nothing of it was kept"
            raise cannot_write(self._path, error, kept) from error

    def _measured_fps(self) -> float:
        return measured_rate(self._steps_s, self._fps, FALLBACK_FPS)
