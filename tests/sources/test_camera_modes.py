"""A camera's modes, from a driver that answers as Linux' documentation of V4L2 says."""

from __future__ import annotations

import json
import struct

import pytest

from bodycast.app.commands import cameras
from bodycast.app.sources import camera_list, camera_modes
from bodycast.app.sources.camera_list import CameraDevice
from bodycast.app.sources.camera_modes import CameraMode, mode_lines, read_modes

# The numbers of VIDIOC_ENUM_FMT, VIDIOC_ENUM_FRAMESIZES and VIDIOC_ENUM_FRAMEINTERVALS in linux/videodev2.h.
FORMATS, SIZES, INTERVALS = 0xC0405602, 0xC02C564A, 0xC034564B


def code_of(letters: str) -> int:
    return struct.unpack("<I", letters.encode())[0]


class Driver:
    """MJPG in two sizes, and YUYV in a range."""

    def __call__(self, request: int, filled: bytes) -> bytes | None:
        words = struct.unpack(f"<{len(filled) // 4}I", filled)
        index = words[0]
        if request == FORMATS:
            if index > 1:
                return None
            assert words[1] == 1, "of a capture device"
            letters = ("MJPG", "YUYV")[index]
            return struct.pack("<3I32s5I", index, 1, 0, b"described", code_of(letters), 0, 0, 0, 0)
        code = words[1]
        if request == SIZES:
            if code == code_of("MJPG"):
                size = ((1920, 1080), (1280, 720))[index] if index < 2 else None
                return size and struct.pack("<11I", index, code, 1, *size, *(0,) * 6)
            return None if index else struct.pack("<11I", 0, code, 3, 160, 640, 16, 120, 480, 8, 0, 0)
        assert request == INTERVALS
        if code == code_of("MJPG"):
            rates = {1920: (30,), 1280: (30, 60)}[words[2]]
            if index >= len(rates):
                return None
            return struct.pack("<13I", *words[:4], 1, 1, rates[index], *(0,) * 6)
        return None if index else struct.pack("<13I", *words[:4], 3, 1, 30, 1, 5, 1, 1, 0, 0)


MODES = (
    CameraMode("MJPG", 1920, 1080, (30.0,)),
    CameraMode("MJPG", 1280, 720, (60.0, 30.0)),
    CameraMode("YUYV", 640, 480, (30.0, 5.0)),
    CameraMode("YUYV", 160, 120, (30.0, 5.0)),
)


def test_all_modes_are_read() -> None:
    assert tuple(read_modes(Driver())) == MODES


def test_a_device_that_is_no_camera_has_none() -> None:
    assert tuple(read_modes(lambda request, filled: None)) == ()
    assert camera_modes.camera_modes("/dev/null") in ((), None)
    assert camera_modes.camera_modes("/dev/no-such-device") is None
    assert camera_modes.camera_modes("") is None


def test_people_read_a_line_for_each_format() -> None:
    assert mode_lines(MODES) == [
        "MJPG: 1920x1080 at 30; 1280x720 at 60, 30",
        "YUYV: 640x480 at 30, 5; 160x120 at 30, 5",
    ]


def test_the_command_lists_them(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    devices = [CameraDevice(0, "Desk Camera", "/dev/video0"), CameraDevice(2, "Other", "")]
    monkeypatch.setattr(camera_list, "list_cameras", lambda: devices)
    monkeypatch.setattr(camera_modes, "camera_modes", lambda path: MODES if path else None)
    assert cameras.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert (
        lines[0].startswith("0  Desk Camera") and "1280x720 at 60, 30" in lines[1] and lines[3].startswith("2  Other")
    )
    assert cameras.main(["--json"]) == 0
    first, second = json.loads(capsys.readouterr().out)
    assert first["modes"][1] == {"pixels": "MJPG", "width": 1280, "height": 720, "fps": [60.0, 30.0]}
    assert second["modes"] is None and second["index"] == 2
