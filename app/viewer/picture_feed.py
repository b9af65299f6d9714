"""The newest picture for browsers: encoded when somebody asks for it, once."""

from __future__ import annotations

import threading

import numpy as np

from bodycast.hmr.geometry.arrays import U8

LONGEST_SIDE = 960
JPEG_QUALITY = 80


class PictureFeed:
    """`put` from one thread, `newest` from any."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._picture: U8 | None = None
        self._number = 0
        self._encoded: tuple[int, bytes] = (0, b"")

    def put(self, picture: U8) -> None:
        """(H,W,3) BGR; it is kept, so nobody may write into it."""
        self._picture = picture
        self._number += 1

    def newest(self, known: int) -> tuple[int, bytes] | None:
        """Number and JPEG of the newest picture; None where that is the `known` one, or there is none."""
        import cv2

        with self._lock:
            number, picture = self._number, self._picture
            if picture is None or number == known:
                return None
            if self._encoded[0] != number:
                scale = LONGEST_SIDE / max(picture.shape[:2])
                if scale < 1:
                    picture = np.asarray(cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))
                content = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
                self._encoded = number, content.tobytes()
            return self._encoded
