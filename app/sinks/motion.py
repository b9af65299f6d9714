"""The motion file as a sink: rows are collected, and written whole now and then, so that little is ever lost."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bodycast.app.errors import RunError, cannot_write
from bodycast.app.files.motion_file import ROW, MotionMeta, motion_from_rows, write_motion
from bodycast.app.files.output_file import check_target
from bodycast.app.records import FrameResult
from bodycast.app.sources.frame_rate import measured_rate
from bodycast.hmr.geometry.rotations import matrix_to_axis_angle

CHECKPOINT_S = 5.0
CHECKPOINT_SHARE = 0.05
"""Largest share of the time that checkpoints may take: long recordings are written less often."""

MOST_STEPS = 10_000
"""Of so many frames the rate is measured, and no more times are kept."""

FALLBACK_FPS = 30.0
"""Stated for clips of a single frame from a source that does not know its rate."""


class MotionSink:
    """Collects one row per person per frame and leaves `path` readable at all times (see motion_file.py).

    The file is written at the first frame, again every `checkpoint_s`, and at `close`; each time it is replaced in one
    step, so even a killed run leaves a motion file, at most a few seconds short. About 0.9 kB a row are kept in memory.
    """

    def __init__(
        self,
        path: Path,
        meta: MotionMeta,
        fps: float | None = None,
        *,
        overwrite: bool = False,
        checkpoint_s: float = CHECKPOINT_S,
    ) -> None:
        """`fps`: rate that the source states; the time stamps decide where they do not bear it out.

        Raises: UsageError where `path` exists and `overwrite` is not set, or its folder does not exist.
        """
        check_target(path, overwrite)
        self._path = path
        self._meta = meta
        self._fps = fps
        self._checkpoint_s = checkpoint_s
        self._next_checkpoint_s = 0.0
        self._rows: NDArray[np.void] = np.empty(64, ROW)
        self._row_count = 0
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
        self._save()

    def _append(self, result: FrameResult) -> None:
        count = len(result.estimates)
        end = self._row_count + count
        if end > len(self._rows):
            grown = np.empty(max(end, 2 * len(self._rows)), ROW)
            grown[: self._row_count] = self._rows[: self._row_count]
            self._rows = grown
        rows = self._rows[self._row_count : end]
        rows["frame"] = result.frame.index
        rows["time_s"] = result.frame.time_s
        rows["person_id"] = result.estimates.id
        rows["bbox_xyxy"] = result.xyxy
        rows["score"] = result.estimates.score
        rows["poses"] = matrix_to_axis_angle(result.estimates.pose).reshape(count, 72)
        rows["betas"] = result.estimates.betas
        rows["trans"] = result.estimates.transl_m
        rows["joints_3d"] = result.bodies.joints
        # A joint at or behind the camera plane has no image; the file says so with NaN.
        rows["joints_2d"] = np.where(np.isfinite(result.bodies.joints_px), result.bodies.joints_px, np.nan)
        for name in ("time_s", "bbox_xyxy", "score", "poses", "betas", "trans", "joints_3d"):
            if not np.isfinite(rows[name]).all():
                raise RunError(f"frame {result.frame.index}: {name} holds values that are not finite; check the model")
        if len(np.unique(rows["person_id"])) != count:
            raise RunError(f"frame {result.frame.index}: one person occurs twice, ids {rows['person_id'].tolist()}")
        self._row_count = end

    def _save(self) -> None:
        meta = MotionMeta(
            package=self._meta.package,
            body=self._meta.body,
            smoother=self._meta.smoother,
            lag_s=self._meta.lag_s,
            source=self._meta.source,
            frame_count=self._frame_count,
        )
        rows = self._rows[: self._row_count]
        motion = motion_from_rows(rows, self._focal_px, self._image_wh, self._measured_fps(), meta)
        try:
            write_motion(self._path, motion)
        except OSError as error:
            kept = "an earlier part of the motion is kept" if self._path.exists() else "nothing of it was kept"
            raise cannot_write(self._path, error, kept) from error

    def _measured_fps(self) -> float:
        return measured_rate(self._steps_s, self._fps, FALLBACK_FPS)
