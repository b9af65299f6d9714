"""Files that say a camera's lens, to begin the fuzzer's from: calibrations of every program that writes them, EXIF,
and QuickTime's metadata."""

from __future__ import annotations

import struct
from pathlib import Path

_MATRIX = b"[[500, 0, 320], [0, 500, 240], [0, 0, 1]]"
_OPENCV = (
    b"%YAML:1.0\n---\nimage_width: 640\nimage_height: 480\ncamera_matrix: !!opencv-matrix\n   rows: 3\n   cols: 3\n"
    b"   dt: d\n   data: [ 500., 0., 320., 0., 500., 240., 0., 0., 1. ]\n"
)
_DISTORTION = (
    b"distortion_coefficients: !!opencv-matrix\n   rows: 1\n   cols: 5\n   dt: d\n"
    b"   data: [ -0.2, 0.05, 0.001, -0.002, 0.01 ]\n"
)
_ROS = (
    b"image_width: 640\nimage_height: 480\ncamera_name: left\ncamera_matrix:\n  rows: 3\n  cols: 3\n"
    b"  data: [500, 0, 320,\n         0, 500, 240, 0, 0, 1]\ndistortion_model: plumb_bob\n"
    b"distortion_coefficients: {rows: 1, cols: 5, data: [-0.2, 0.05, 0.001, -0.002, 0.01]}\n"
)
_KALIBR = (
    b"cam0:\n  camera_model: pinhole\n  distortion_coeffs: [0.02, -0.01, 0.003, -0.0004]\n"
    b"  distortion_model: equidistant\n  intrinsics: [500, 500, 320, 240]\n  resolution: [640, 480]\n"
)
_FLAT = b"fx: 500\nfy: 500\ncx: 320\ncy: 240\nk1: -0.2\nk2: 0.05\np1: 0.001\np2: -0.002\nk3: 0.01\nw: 640\nh: 480\n"
CALIBRATIONS: dict[str, list[bytes]] = {
    ".yml": [_OPENCV, _OPENCV + _DISTORTION, _ROS, _KALIBR, _FLAT],
    ".json": [
        b'{"image_size": [640, 480], "camera_matrix": ' + _MATRIX + b', "dist": [0, 0, 0, 0, 0]}',
        b'{"left": {"K": ' + _MATRIX + b', "D": [[0.1, 0.01, 0, 0]], "fisheye": true, "width": 640, "height": 480}}',
    ],
    ".xml": [
        b'<?xml version="1.0"?>\n<opencv_storage>\n<image_width>640</image_width>\n<image_height>480</image_height>\n'
        b'<cameraMatrix type_id="opencv-matrix">\n  <rows>3</rows>\n  <cols>3</cols>\n  <dt>d</dt>\n'
        b"  <data>\n    500. 0. 320. 0. 500. 240. 0. 0. 1.</data></cameraMatrix>\n</opencv_storage>\n"
    ],
    ".toml": [
        b'[cam]\nname = "a"\nsize = [640, 480]\nmatrix = ' + _MATRIX + b"\ndistortions = [-0.1, 0.02, 0.001, 0]\n"
        b"rotation = [1.2, -1.1, 0.9]\nfisheye = false\n\n[metadata]\nerror = 0.0\n",
        b"[cam]\nsize = [640, 480]\nmatrix = " + _MATRIX + b"\ndistortions = [0.1, 0.01, 0, 0]\nfisheye = true\n",
    ],
    ".txt": [
        b"# cameras\n1 PINHOLE 640 480 500 500 320 240\n",
        b"1 OPENCV 640 480 500 500 320 240 -0.2 0.05 0.001 -0.002\n",
        b"3 OPENCV_FISHEYE 640 480 500 501 320 240 0.01 0.02 0.03 0.04\n",
    ],
}

_SHORT, _LONG, _RATIONAL = 3, 4, 5
_PHONE = ((0xA405, _SHORT, 26),)
_SENSOR = ((0x920A, _RATIONAL, (200, 10)), (0xA002, _LONG, 96), (0xA003, _LONG, 64), (0xA20E, _RATIONAL, (800, 1)))
LENS_TAG = "com.apple.quicktime.camera.focal_length.35mm_equivalent"


def exif_blocks() -> list[bytes]:
    """TIFF blocks as phones and cameras write them: the 35 mm equivalent; focal length and sensor; both byte orders."""
    return [_tiff(tags, order) for tags in (_PHONE, _SENSOR) for order in "<>"]


def _tiff(tags: tuple[tuple[int, int, int | tuple[int, int]], ...], order: str) -> bytes:
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8)
    first = struct.pack(order + "HHHII", 1, 0x8769, _LONG, 1, 26) + bytes(4)
    data_at = 26 + 2 + 12 * len(tags) + 4
    entries, data = struct.pack(order + "H", len(tags)), b""
    for tag, kind, value in tags:
        if isinstance(value, tuple):
            entries += struct.pack(order + "HHII", tag, kind, 1, data_at + len(data))
            data += struct.pack(order + "II", *value)
        else:
            entries += struct.pack(
                order + ("HHIHH" if kind == _SHORT else "HHII"), tag, kind, 1, value, *[0][: kind == _SHORT]
            )
    return head + first + entries + bytes(4) + data


def with_exif(picture: bytes, block: bytes) -> bytes:
    """A JPEG or a WebP with the block in it."""
    if picture.startswith(b"\xff\xd8"):
        body = b"Exif\0\0" + block
        return picture[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + picture[2:]
    body = picture[8:] + b"EXIF" + struct.pack("<I", len(block)) + block + b"\0" * (len(block) % 2)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def with_track_metadata(film: bytes) -> bytes:
    """A QuickTime film whose picture track says the lens, as phones write it."""

    def box(kind: bytes, *parts: bytes) -> bytes:
        content = b"".join(parts)
        return struct.pack(">I4s", 8 + len(content), kind) + content

    handler = box(b"hdlr", bytes(8), b"mdta", bytes(13))
    keys = box(b"keys", bytes(4), struct.pack(">I", 1), box(b"mdta", LENS_TAG.encode()))
    item = box(struct.pack(">I", 1), box(b"data", struct.pack(">II", 22, 0), b"\0\x1a"))
    meta = box(b"meta", handler, keys, box(b"ilst", item))
    content = bytearray(film)
    at = content.index(b"trak") - 4
    size = struct.unpack_from(">I", content, at)[0]
    content[at + size : at + size] = meta
    for start in (content.index(b"moov") - 4, at):
        struct.pack_into(">I", content, start, struct.unpack_from(">I", content, start)[0] + len(meta))
    return bytes(content)


def read_lens(path: Path) -> None:
    """Whatever the file says of its lens, as a picture and as a film: no refusal, only nothing."""
    from bodycast.app.sources.lens_metadata import film_lens, picture_lens
    from bodycast.app.sources.quicktime import quicktime_tags

    picture_lens(path.read_bytes(), (96, 64))
    film_lens(quicktime_tags(path), (96, 64))


def read_and_use_calibration(path: Path) -> None:
    """Also what a run does with it."""
    import numpy as np

    from bodycast.app.records import Frame
    from bodycast.app.sources.calibration import Undistorter
    from bodycast.app.sources.calibration_files import read_calibration

    Undistorter(read_calibration(path))(Frame(np.zeros((480, 640, 3), np.uint8), 0, 0.0))
