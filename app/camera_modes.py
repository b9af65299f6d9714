"""What a Linux camera can deliver, asked of its driver (V4L2) without starting it: its lamp stays dark.

Request numbers and structures are those of the kernel's videodev2.h.
"""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

_ENUM_FORMATS = 0xC0405602
_ENUM_SIZES = 0xC02C564A
_ENUM_INTERVALS = 0xC034564B
_VIDEO_CAPTURE = 1
_DISCRETE = 1
_MOST = 64
"""A driver that never says "no more" is not asked for ever."""

Control = Callable[[int, int, bytearray], object]
"""fcntl.ioctl: file, request, structure that is read and written. Raises OSError at the end of a list."""


def camera_modes(device: Path, control: Control | None = None) -> dict[str, list[tuple[int, int, float]]]:
    """Pixel format -> (width, height, frames per second), the largest first; empty for a node without pictures.

    Raises: OSError where the device cannot be opened.
    """
    if control is None:
        if sys.platform != "linux":
            return {}
        from fcntl import ioctl

        control = ioctl
    file = os.open(device, os.O_RDWR | os.O_NONBLOCK)
    try:
        modes: dict[str, list[tuple[int, int, float]]] = {}
        for code in _formats(file, control):
            name = code.to_bytes(4, "little").decode("ascii", errors="replace").strip()
            found = {
                (width, height, _rate(file, control, code, width, height))
                for width, height in _sizes(file, control, code)
            }
            modes[name] = sorted(found, key=lambda mode: (mode[0] * mode[1], mode[2]), reverse=True)
        return modes
    finally:
        os.close(file)


def modes_text(modes: dict[str, list[tuple[int, int, float]]], most: int = 3) -> str:
    """One line for people: the largest modes of each format."""
    parts = [
        f"{name} " + ", ".join(f"{width}x{height}@{rate:g}" for width, height, rate in sizes[:most])
        for name, sizes in modes.items()
        if sizes
    ]
    return "; ".join(parts) or "no picture formats"


def _formats(file: int, control: Control) -> Iterator[int]:
    for index in range(_MOST):
        question = bytearray(struct.pack("<3I32s5I", index, _VIDEO_CAPTURE, 0, b"", *[0] * 5))
        answer = _ask(file, control, _ENUM_FORMATS, question)
        if answer is None:
            return
        yield struct.unpack_from("<I", answer, 44)[0]


def _sizes(file: int, control: Control, code: int) -> Iterator[tuple[int, int]]:
    for index in range(_MOST):
        answer = _ask(file, control, _ENUM_SIZES, bytearray(struct.pack("<11I", index, code, *[0] * 9)))
        if answer is None:
            return
        kind, *numbers = struct.unpack_from("<7I", answer, 8)
        if kind != _DISCRETE:
            # Least, most and step of the width, then of the height: the most counts.
            yield numbers[1], numbers[4]
            return
        yield numbers[0], numbers[1]


def _rate(file: int, control: Control, code: int, width: int, height: int) -> float:
    """The highest frame rate at this size, 0 where the driver does not say."""
    best = 0.0
    for index in range(_MOST):
        question = bytearray(struct.pack("<13I", index, code, width, height, *[0] * 9))
        answer = _ask(file, control, _ENUM_INTERVALS, question)
        if answer is None:
            break
        kind, numerator, denominator = struct.unpack_from("<3I", answer, 16)
        best = max(best, denominator / numerator if numerator else 0.0)
        if kind != _DISCRETE:
            break
    return round(best, 2)


def _ask(file: int, control: Control, request: int, structure: bytearray) -> bytearray | None:
    """The structure as the driver filled it in; None at the end of its list."""
    try:
        control(file, request, structure)
    except OSError:
        return None
    return structure
