"""Sizes and frame rates that a camera offers, asked of the Linux driver (V4L2); the camera is not started."""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CameraMode:
    """`pixels`: the driver's four letters (MJPG, YUYV); `fps`: frame rates at this size, fastest first; of a range, its
    ends."""

    pixels: str
    width: int
    height: int
    fps: tuple[float, ...]


Asks = Callable[[int, bytes], bytes | None]
"""Request number and structure -> the structure as the driver filled it in; None: there is no such entry."""

# linux/videodev2.h: number and layout of the three questions; unions and reserved words at the end.
_FORMATS, _SIZES, _INTERVALS = (2, "<3I32s5I"), (74, "<11I"), (75, "<13I")
_CAPTURE = 1
_DISCRETE = 1
_MOST_ENTRIES = 256


def camera_modes(path: str) -> tuple[CameraMode, ...] | None:
    """The modes of the camera with this device file; None: the system does not say."""
    if not sys.platform.startswith("linux") or not path.startswith("/dev/"):
        return None
    import fcntl

    try:
        device = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    except OSError:
        return None

    def ask(request: int, filled: bytes) -> bytes | None:
        try:
            return fcntl.ioctl(device, request, filled)
        except OSError:
            return None

    try:
        return tuple(read_modes(ask))
    finally:
        os.close(device)


def read_modes(ask: Asks) -> Iterator[CameraMode]:
    """All modes, in the driver's order."""
    for answer in _entries(ask, _FORMATS, lambda index: (index, _CAPTURE, 0, b"", 0, 0, 0, 0, 0)):
        code = int(answer[4])
        pixels = struct.pack("<I", code).decode("ascii", "replace").strip()
        for size in _entries(ask, _SIZES, lambda index, code=code: (index, code, *(0,) * 9)):
            kind, *numbers = size[2:9]
            # A range is (least, most, step) of width, then of height: its ends are two modes.
            ends = [(numbers[0], numbers[1])]
            if kind != _DISCRETE:
                ends = [(numbers[1], numbers[4]), (numbers[0], numbers[3])]
            for width, height in ends:
                yield CameraMode(pixels, width, height, _rates(ask, code, width, height))


def _rates(ask: Asks, code: int, width: int, height: int) -> tuple[float, ...]:
    found: set[float] = set()
    for answer in _entries(ask, _INTERVALS, lambda index: (index, code, width, height, *(0,) * 9)):
        kind, *numbers = answer[4:11]
        for seconds, per in ((numbers[0], numbers[1]), (numbers[2], numbers[3]))[: 1 if kind == _DISCRETE else 2]:
            if seconds:
                found.add(round(per / seconds, 2))
    return tuple(sorted(found, reverse=True))


def _entries(
    ask: Asks, question: tuple[int, str], filled: Callable[[int], tuple[int | bytes, ...]]
) -> Iterator[tuple[int, ...]]:
    """Answers to a question from index 0 on, until the driver has no more."""
    number, layout = question
    request = 3 << 30 | struct.calcsize(layout) << 16 | ord("V") << 8 | number
    for index in range(_MOST_ENTRIES):
        answer = ask(request, struct.pack(layout, *filled(index)))
        if answer is None:
            return
        yield struct.unpack(layout, answer)


def mode_lines(modes: tuple[CameraMode, ...]) -> list[str]:
    """For people: a line for each pixel format, its sizes with their frame rates."""
    by_pixels: dict[str, list[str]] = {}
    for mode in modes:
        rates = ", ".join(f"{rate:g}" for rate in mode.fps)
        text = f"{mode.width}x{mode.height}" + (f" at {rates}" if rates else "")
        by_pixels.setdefault(mode.pixels, []).append(text)
    return [f"{pixels}: {'; '.join(sizes)}" for pixels, sizes in by_pixels.items()]
