"""Camera modes from a driver that is played by a function."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import pytest

from app.camera_modes import camera_modes, modes_text

MODES = {"MJPG": {(640, 480): (30, 60), (1280, 720): (30,)}, "YUYV": {(640, 480): (15,)}}


def listed(request: int, structure: bytearray) -> None:
    """A driver with two formats of discrete sizes, answered as V4L2 does."""
    (index,) = struct.unpack_from("<I", structure, 0)
    codes = [int.from_bytes(name.encode(), "little") for name in MODES]
    try:
        if len(structure) == 64:
            struct.pack_into("<I", structure, 44, codes[index])
            return
        code = struct.unpack_from("<I", structure, 4)[0]
        sizes = list(MODES.values())[codes.index(code)]
        if len(structure) == 44:
            struct.pack_into("<3I", structure, 8, 1, *list(sizes)[index])
        else:
            size = struct.unpack_from("<2I", structure, 8)
            struct.pack_into("<3I", structure, 16, 1, 1, sizes[size][index])
    except IndexError:
        raise OSError(22, "Invalid argument") from None


def stepwise(request: int, structure: bytearray) -> None:
    """A driver that takes any size in steps, as virtual cameras do."""
    (index,) = struct.unpack_from("<I", structure, 0)
    if index:
        raise OSError(22, "Invalid argument")
    if len(structure) == 64:
        struct.pack_into("<4s", structure, 44, b"YU12")
    elif len(structure) == 44:
        struct.pack_into("<7I", structure, 8, 3, 2, 1920, 2, 1, 1080, 1)
    else:
        struct.pack_into("<7I", structure, 16, 3, 1, 60, 1, 1, 1, 1)


def test_formats_sizes_and_rates(tmp_path: Path) -> None:
    if sys.platform == "win32":
        pytest.skip("V4L2 is Linux's")
    device = tmp_path / "video0"
    device.touch()
    modes = camera_modes(device, lambda file, request, structure: listed(request, structure))
    assert modes == {"MJPG": [(1280, 720, 30.0), (640, 480, 60.0)], "YUYV": [(640, 480, 15.0)]}
    assert modes_text(modes) == "MJPG 1280x720@30, 640x480@60; YUYV 640x480@15"
    virtual = camera_modes(device, lambda file, request, structure: stepwise(request, structure))
    assert virtual == {"YU12": [(1920, 1080, 60.0)]}


def test_a_node_without_pictures(tmp_path: Path) -> None:
    if sys.platform == "win32":
        pytest.skip("V4L2 is Linux's")

    def refuse(file: int, request: int, structure: bytearray) -> None:
        raise OSError(25, "Inappropriate ioctl for device")

    device = tmp_path / "video1"
    device.touch()
    assert camera_modes(device, refuse) == {}
    assert modes_text({}) == "no picture formats"


@pytest.mark.skipif(sys.platform != "linux", reason="V4L2 is Linux's")
def test_a_plain_file_is_no_camera_and_a_missing_one_raises(tmp_path: Path) -> None:
    device = tmp_path / "video2"
    device.touch()
    assert camera_modes(device) == {}
    with pytest.raises(OSError):
        camera_modes(tmp_path / "video3")
