"""The motion of a run as it grows: parts on disk, so that memory stays flat and little is lost when a run is killed.

The folder `motion.parts` beside motion.npz holds `head.json`, and records without any framing: `frames` (one of each
frame), `rows` (one of each person in each frame) and, where the motion is worked out once more at the end, `smoothed`.
Records are handed to the system frame by frame, so that a killed process loses none, and synced to the disk every
second, so that a power cut loses little more than that.
A frame counts once its rows are there. `bodycast recover` makes motion.npz of what a killed run left.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from bodycast.app.errors import UsageError
from bodycast.app.files.motion_file import MAY_BE_NAN, ROW, ROWS_AT_A_TIME, MotionMeta
from bodycast.app.records import F64
from bodycast.app.sources.frame_rate import measured_rate

PARTS_FOLDER = "motion.parts"
HEAD, FRAMES, ROWS, SMOOTHED_ROWS = "head.json", "frames", "rows", "smoothed"
SYNC_S = 1.0
"""Time between syncs: a power cut loses at most this, and one sync. Half of what a run may lose."""
FORMAT = 1
FALLBACK_FPS = 30.0
"""Stated for clips of a single frame from a source that does not know its rate."""
MOST_STEPS = 10_000
"""Of so many frames the rate is measured."""
MOST_HEAD_BYTES = 1 << 20

FRAME = np.dtype(
    [
        ("frame", np.int64),
        ("time_s", np.float64),
        ("end_row", np.int64),
        ("focal_px", np.float64),
        ("image_wh", np.int32, 2),
        ("floor", np.float64, 4),
        ("camera_to_world", np.float64, (4, 4)),
    ]
)
"""One frame; `end_row`: rows so far, its own included."""
SMOOTHED = np.dtype(
    [("poses", np.float32, 72), ("betas", np.float32, 10), ("trans", np.float32, 3), ("turn", np.float32, 3)]
)
"""One row of what the smoother gave, and how the camera had turned since the first frame (axis-angle, that frame's
axes; NaN: not known)."""


@dataclass(frozen=True)
class PartsHead:
    """What holds for the clip: `meta`, the source's frame rate, and what the end needs: the body file and the world's
    options by name, empty where the motion stays as it came."""

    meta: MotionMeta
    fps: float | None
    body: str = "auto"
    finish: dict[str, Any] | None = None


class PartsWriter:
    """Appends frames. Raises OSError where the disk does not take them."""

    def __init__(self, folder: Path, head: PartsHead) -> None:
        """Makes the folder, in which an earlier run's parts are replaced."""
        if folder.is_symlink():
            folder.unlink()
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        content = {"format": FORMAT, "row_bytes": ROW.itemsize, "smoothed_bytes": SMOOTHED.itemsize, **asdict(head)}
        (folder / HEAD).write_text(json.dumps(content))
        names = (FRAMES, ROWS) if head.finish is None else (FRAMES, ROWS, SMOOTHED_ROWS)
        self._head = folder / HEAD
        self._inode = self._head.stat().st_ino
        self._files: dict[str, BinaryIO] = {name: open(folder / name, "wb") for name in names}  # noqa: SIM115
        self._end_row = 0
        self._next_sync_s = time.monotonic()

    def append(self, frame: NDArray[np.void], rows: NDArray[np.void], smoothed: NDArray[np.void]) -> None:
        """frame: one record of dtype FRAME, whose `end_row` is set here; rows, smoothed: of its people, sorted."""
        self._files[ROWS].write(rows.tobytes())
        if SMOOTHED_ROWS in self._files:
            self._files[SMOOTHED_ROWS].write(smoothed.tobytes())
        self._end_row += len(rows)
        frame["end_row"] = self._end_row
        self._files[FRAMES].write(frame.tobytes())
        # At every frame: on a busy machine the next one may be seconds away.
        self.flush(sync=time.monotonic() >= self._next_sync_s)

    def flush(self, *, sync: bool) -> None:
        """Hand everything to the system, and with `sync` to the disk; rows before the frames that count them.

        Raises OSError, also where the folder was removed or renamed: open files would take hours more.
        """
        for name in (ROWS, SMOOTHED_ROWS, FRAMES):
            if name in self._files:
                self._files[name].flush()
                if sync:
                    os.fsync(self._files[name].fileno())
        if sync:
            self._next_sync_s = time.monotonic() + SYNC_S
            if self._head.stat().st_ino != self._inode:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self._head))

    def close(self) -> None:
        """May be called twice."""
        for stream in self._files.values():
            stream.close()


@dataclass(frozen=True)
class Parts:
    """What is whole in a folder of parts: `head`; `frames` (F,) of dtype FRAME; `rows` (R,) of dtype ROW and `smoothed`
    (R,) of dtype SMOOTHED (empty without), mapped from the disk."""

    head: PartsHead
    frames: NDArray[np.void]
    rows: NDArray[np.void]
    smoothed: NDArray[np.void]

    @property
    def meta(self) -> MotionMeta:
        """With the number of frames."""
        return replace(self.head.meta, frame_count=len(self.frames))

    @property
    def focal_px(self) -> float:
        """Of the first frame."""
        return float(self.frames["focal_px"][0]) if len(self.frames) else 0.0

    @property
    def image_wh(self) -> tuple[int, int]:
        """Of the first frame."""
        if not len(self.frames):
            return 0, 0
        width, height = self.frames["image_wh"][0].tolist()
        return width, height

    @property
    def fps(self) -> float:
        """Measured where the stated rate does not bear out."""
        steps: list[float] = np.diff(self.frames["time_s"][:MOST_STEPS]).tolist()
        return measured_rate(steps, self.head.fps, FALLBACK_FPS)

    @property
    def floor(self) -> F64:
        """Of the last frame."""
        return self.frames["floor"][-1].copy() if len(self.frames) else np.full(4, np.nan)

    @property
    def camera_to_world(self) -> F64 | None:
        """Of the last frame; None where it is not known."""
        matrix: F64 | None = self.frames["camera_to_world"][-1].copy() if len(self.frames) else None
        return matrix if matrix is not None and np.isfinite(matrix).all() else None


def read_parts(folder: Path) -> Parts:
    """What a run, killed or not, has left. Raises: UsageError for a folder that holds no parts of this version."""
    head = _read_head(folder)
    frames = _mapped(folder / FRAMES, FRAME)
    rows = _mapped(folder / ROWS, ROW)
    smoothed = _mapped(folder / SMOOTHED_ROWS, SMOOTHED)
    there = _whole_rows(rows, smoothed if head.finish is not None else None)
    ends = np.asarray(frames["end_row"])
    # A torn record at the end, or zeros that a power cut left, end what is whole.
    whole = (ends <= there) & (ends >= 0) & np.isfinite(frames["time_s"]) & (frames["focal_px"] > 0)
    whole &= np.diff(ends, prepend=0) >= 0
    count = len(frames) if whole.all() else int(np.argmin(whole))
    end = int(ends[count - 1]) if count else 0
    return Parts(head, frames[:count], rows[:end], smoothed[:end] if head.finish is not None else smoothed[:0])


def _whole_rows(rows: NDArray[np.void], smoothed: NDArray[np.void] | None) -> int:
    """How many rows there are before the first that a power cut left as zeros or garbage: a later frame may be on the
    disk before its rows are."""
    there = len(rows) if smoothed is None else min(len(rows), len(smoothed))
    for begin in range(0, there, ROWS_AT_A_TIME):
        some = slice(begin, min(begin + ROWS_AT_A_TIME, there))
        good = (rows["person_id"][some] >= 1) & (rows["frame"][some] >= 0) & _finite(rows[some], MAY_BE_NAN)
        if smoothed is not None:
            good &= smoothed["trans"][some].any(axis=1) & _finite(smoothed[some], ("turn",))
        if not good.all():
            return begin + int(np.argmin(good))
    return there


def _finite(table: NDArray[np.void], left_out: Sequence[str]) -> NDArray[np.bool_]:
    """(R,) which rows are finite, apart from some columns."""
    finite = np.ones(len(table), np.bool_)
    for name in table.dtype.names or ():
        if name not in left_out:
            finite &= np.isfinite(table[name]).reshape(len(table), -1).all(axis=1)
    return finite


def _read_head(folder: Path) -> PartsHead:
    path = folder / HEAD
    try:
        if path.stat().st_size > MOST_HEAD_BYTES:
            raise ValueError("it is too long")
        content = cast("dict[str, Any]", json.loads(path.read_bytes()))
        if (content["format"], content["row_bytes"], content["smoothed_bytes"]) != (
            FORMAT,
            ROW.itemsize,
            SMOOTHED.itemsize,
        ):
            raise ValueError("another version wrote it")
        meta = MotionMeta(**content["meta"])
        return PartsHead(meta, content["fps"], content["body"], content["finish"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageError(f"{path}: no motion that can be recovered ({error})") from error


def _mapped(path: Path, dtype: np.dtype[np.void]) -> NDArray[np.void]:
    """The whole records of a file; none where it is not there."""
    count = path.stat().st_size // dtype.itemsize if path.is_file() else 0
    return np.memmap(path, dtype, "r", shape=(count,)) if count else np.empty(0, dtype)
