"""Frames of a source that lies about which way is up, turned and mirrored as the user says."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from bodycast.app.records import U8, Frame
from bodycast.hmr.geometry.camera import Intrinsics


@dataclass(frozen=True, slots=True)
class Turn:
    """Clockwise by 0, 90, 180 or 270 degrees, then, with `flip`, mirrored left-right."""

    degrees: int = 0
    flip: bool = False

    def size(self, wh: tuple[int, int]) -> tuple[int, int]:
        """Width and height of a picture that was this large."""
        return (wh[1], wh[0]) if self.degrees % 180 else wh

    def frame(self, frame: Frame) -> Frame:
        """The frame with its lens."""
        image: U8 = np.rot90(frame.image, -self.degrees // 90)
        image = np.ascontiguousarray(image[:, ::-1] if self.flip else image)
        lens = None if frame.intrinsics is None else self._lens(frame.intrinsics)
        return replace(frame, image=image, intrinsics=lens)

    def _lens(self, lens: Intrinsics) -> Intrinsics:
        for _ in range(self.degrees // 90):  # (x, y) -> (H - 1 - y, x)
            width, height = lens.image_wh
            lens = Intrinsics(lens.fy, lens.fx, height - 1 - lens.cy, lens.cx, (height, width))
        return replace(lens, cx=lens.image_wh[0] - 1 - lens.cx) if self.flip else lens
