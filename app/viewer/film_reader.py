"""Pictures of a film by time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bodycast.app.errors import require
from bodycast.hmr.geometry.arrays import U8

if TYPE_CHECKING:
    from av import VideoFrame

JUMP_S = 1.0
"""Further ahead, the nearest key frame is sought; nearer, what lies between is read."""


class FilmReader:
    """Use it from one thread. Times count from the first picture."""

    def __init__(self, path: Path) -> None:
        """Raises: UsageError without PyAV; OSError and its kind for a film that does not open."""
        require("av", "live.txt")
        import av

        self._film = av.open(str(path))
        self._stream = self._film.streams.video[0]
        self._start_s = float((self._stream.start_time or 0) * (self._stream.time_base or 0))
        self._frames: Iterator[VideoFrame] = self._film.decode(self._stream)
        self._at_s = -1e9
        self._next: tuple[float, VideoFrame] | None = self._read()

    def picture_at(self, time_s: float) -> U8 | None:
        """(H,W,3) BGR of the picture that is shown at that time; None where it is the one given before, or the film
        has ended."""
        if time_s < self._at_s or time_s > self._at_s + JUMP_S:
            ticks = round((time_s + self._start_s) / float(self._stream.time_base or 1))
            self._film.seek(max(ticks, 0), stream=self._stream)
            self._frames = self._film.decode(self._stream)
            self._next = self._read()
        found = None
        while self._next is not None and self._next[0] <= time_s + 1e-3:
            self._at_s, found = self._next
            self._next = self._read()
        return None if found is None else np.asarray(found.to_ndarray(format="bgr24"), np.uint8)

    def close(self) -> None:
        """Close the file."""
        self._film.close()

    def _read(self) -> tuple[float, VideoFrame] | None:
        frame = next(self._frames, None)
        return None if frame is None else (float(frame.time or 0.0) - self._start_s, frame)
