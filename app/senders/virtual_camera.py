"""The overlay as a camera that other programs can choose: OBS's own on Windows and macOS, v4l2loopback on Linux.

pyvirtualcam is under the GPL: it stays an extra, and is imported only where it is asked for.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from bodycast.app.errors import UsageError, require
from bodycast.app.records import FrameResult

FALLBACK_FPS = 30.0


class VirtualCameraSender:
    """`Sender`: what is drawn, in the size of the source."""

    def __init__(self, image_wh: tuple[int, int], fps: float | None) -> None:
        """Raises: UsageError where pyvirtualcam or the system's virtual camera is missing."""
        library = require("pyvirtualcam", "virtual-camera.txt")
        self.warnings: Sequence[str] = ()
        self._image_wh = image_wh
        self._latency_s: float | None = None
        try:
            self._camera: Any = library.Camera(*image_wh, fps or FALLBACK_FPS, fmt=library.PixelFormat.BGR)
        except Exception as error:  # RuntimeError, but its backends are of many hands
            reason = " ".join(str(error).split())
            way = "install OBS, or on Linux v4l2loopback (docs/live_output.md)"
            raise UsageError(f"--virtual-camera: no virtual camera can be opened ({reason}): {way}") from error

    needs_picture = True

    @property
    def name(self) -> str:
        """For messages."""
        return "virtual camera"

    @property
    def latency_s(self) -> float | None:
        """See `Sender`."""
        return self._latency_s

    def describe(self) -> str:
        """See `Sender`."""
        return f"the overlay to the camera {self._camera.device}"

    def write(self, result: FrameResult) -> None:
        """Show one frame."""
        picture = result.overlay
        if (picture.shape[1], picture.shape[0]) != self._image_wh:
            picture = np.asarray(cv2.resize(picture, self._image_wh, interpolation=cv2.INTER_AREA), np.uint8)
        self._camera.send(np.ascontiguousarray(picture))
        self._latency_s = time.monotonic() - result.frame.time_s

    def idle(self) -> None:
        """The last picture stays."""

    def recentre(self) -> None:
        """Nothing to centre."""

    def close(self) -> None:
        """May be called twice."""
        self._camera.close()
