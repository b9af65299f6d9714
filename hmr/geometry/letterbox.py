"""Where a picture of any shape lies in a frame of another: scaled to fit, in the middle, grey around it."""

from __future__ import annotations

from typing import NamedTuple

GREY = 114
"""What detectors were trained to see around a letterboxed picture (YOLO's)."""


class Letterbox(NamedTuple):
    """letterboxed = source * scale + (left, top); the picture is width x height px there."""

    scale: float
    left: int
    top: int
    width: int
    height: int


def letterbox_of(image_wh: tuple[int, int], frame_hw: tuple[int, int]) -> Letterbox:
    """The place of a picture of image_wh px in a frame of frame_hw."""
    scale = min(frame_hw[0] / image_wh[1], frame_hw[1] / image_wh[0])
    width, height = (max(1, round(side * scale)) for side in image_wh)
    return Letterbox(scale, (frame_hw[1] - width) // 2, (frame_hw[0] - height) // 2, width, height)
