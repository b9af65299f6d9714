"""The focal length that a picture or a film says itself: EXIF of JPEG, PNG and WebP, lens tags of QuickTime and MP4.

EXIF 2.32 (CIPA DC-008), tags FocalLengthIn35mmFilm, FocalLength, FocalPlaneXResolution. A 35 mm equivalent compares
diagonals: that of the picture with the 43.27 mm of a frame of film.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from bodycast.hmr.geometry.camera import Intrinsics, fov_from_focal

FILM_DIAGONAL_MM = math.hypot(36.0, 24.0)
FOV_DEG = (5.0, 170.0)
"""Diagonal fields of view that are believed."""
SAME_ASPECT = 0.01

_EXIF_IFD, _FOCAL_MM, _FOCAL_35 = 0x8769, 0x920A, 0xA405
_WIDTH, _HEIGHT, _PLANE_X, _PLANE_UNIT = 0xA002, 0xA003, 0xA20E, 0xA210
_UNIT_MM = {2: 25.4, 3: 10.0, 4: 1.0, 5: 0.001}
_TYPES = {3: "H", 4: "I", 5: "II", 10: "ii"}
"""EXIF's types by number, as struct writes them: short, long, rational, signed rational."""


@dataclass(frozen=True)
class StatedLens:
    """`intrinsics` None: nothing is said, or nothing that can be; then `note` says why, for people to read."""

    intrinsics: Intrinsics | None = None
    note: str = ""


def picture_lens(content: bytes, image_wh: tuple[int, int]) -> StatedLens:
    """What the EXIF of an image file says of the lens, for the decoded picture of `image_wh`, upright."""
    try:
        tags = _tags(_exif(content))
    except (struct.error, IndexError):
        return StatedLens(note="its EXIF is damaged: nothing is known of its lens")
    full = sorted((tags.get(_WIDTH, 0.0), tags.get(_HEIGHT, 0.0)))
    long_px, short_px = max(image_wh), min(image_wh)
    focal_px = _focal_px(tags, full[1], image_wh)
    if not focal_px:
        return StatedLens()
    if full[0] > 0 and abs(full[1] / full[0] * short_px / long_px - 1) > SAME_ASPECT:
        return StatedLens(note=f"cropped since it was taken at {full[1]:.0f}x{full[0]:.0f}: its EXIF lens is left out")
    return _believed(focal_px, image_wh, "EXIF")


def film_lens(metadata: Mapping[str, str], image_wh: tuple[int, int]) -> StatedLens:
    """What the tags of a film or of its video track say of the lens, for pictures of `image_wh`."""
    for key, value in metadata.items():
        name = re.sub(r"[^a-z0-9]", "", key.lower())
        number = re.match(r"\s*(\d+(?:\.\d+)?)", value)
        if "focallength" in name and "35mm" in name and number and float(number[1]) > 0:
            return _believed(_from_35_mm(float(number[1]), image_wh), image_wh, "metadata")
    return StatedLens()


def _focal_px(tags: Mapping[int, float], full_px: float, image_wh: tuple[int, int]) -> float:
    """0: not said. full_px: the longer side of the picture as it was taken, 0 unknown."""
    if tags.get(_FOCAL_35, 0) > 0:
        return _from_35_mm(tags[_FOCAL_35], image_wh)
    focal_mm, per_unit = tags.get(_FOCAL_MM, 0.0), tags.get(_PLANE_X, 0.0)
    unit_mm = _UNIT_MM.get(round(tags.get(_PLANE_UNIT, 2)), 0.0)
    if focal_mm <= 0 or per_unit <= 0 or not unit_mm:
        return 0.0
    return focal_mm * per_unit / unit_mm * (max(image_wh) / full_px if full_px > 0 else 1.0)


def _from_35_mm(focal_mm: float, image_wh: tuple[int, int]) -> float:
    return focal_mm / FILM_DIAGONAL_MM * math.hypot(*image_wh)


def _believed(focal_px: float, image_wh: tuple[int, int], where: str) -> StatedLens:
    fov_deg = math.degrees(float(fov_from_focal(focal_px, image_wh)))
    if FOV_DEG[0] <= fov_deg <= FOV_DEG[1]:
        return StatedLens(Intrinsics.from_focal(focal_px, image_wh))
    return StatedLens(note=f"its {where} says a field of view of {fov_deg:.1f} degrees, which is left out")


def _exif(content: bytes) -> bytes:
    """The TIFF block of an image file; empty where it has none."""
    if content[:2] == b"\xff\xd8":
        found = (body for kind, body in _jpeg_segments(content) if kind == 0xE1 and body[:6] == b"Exif\0\0")
    elif content[:8] == b"\x89PNG\r\n\x1a\n":
        found = (body for kind, body in _chunks(content, 8, ">I4s", 4) if kind == b"eXIf")
    elif content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        found = (body for kind, body in _chunks(content, 12, "<4sI", 0) if kind == b"EXIF")
    else:
        return b""
    return next(found, b"").removeprefix(b"Exif\0\0")


def _jpeg_segments(content: bytes) -> Iterator[tuple[int, bytes]]:
    at = 2
    while at + 4 <= len(content) and content[at] == 0xFF and content[at + 1] != 0xDA:
        if content[at + 1] == 0xFF:  # fill bytes may stand before a marker
            at += 1
            continue
        (size,) = struct.unpack_from(">H", content, at + 2)
        yield content[at + 1], content[at + 4 : at + 2 + size]
        at += 2 + size


def _chunks(content: bytes, at: int, head: str, check_size: int) -> Iterator[tuple[bytes, bytes]]:
    """Chunks of PNG (a checksum after each) or RIFF (each at an even address)."""
    while at + 8 <= len(content):
        first, second = struct.unpack_from(head, content, at)
        kind, size = (first, second) if isinstance(first, bytes) else (second, first)
        yield kind, content[at + 8 : at + 8 + size]
        at += 8 + size + check_size + (size % 2 if not check_size else 0)


def _tags(tiff: bytes) -> dict[int, float]:
    """The first number of each numeric tag of the first directory and of the EXIF directory. Raises: struct.error."""
    if tiff[:2] not in (b"II", b"MM"):
        return {}
    order = "<" if tiff[:2] == b"II" else ">"
    (first,) = struct.unpack_from(order + "I", tiff, 4)
    tags = _directory(tiff, first, order)
    if _EXIF_IFD in tags:
        tags |= _directory(tiff, int(tags[_EXIF_IFD]), order)
    return tags


def _directory(tiff: bytes, at: int, order: str) -> dict[int, float]:
    tags: dict[int, float] = {}
    (count,) = struct.unpack_from(order + "H", tiff, at)
    for entry in range(at + 2, at + 2 + 12 * count, 12):
        tag, kind = struct.unpack_from(order + "HH", tiff, entry)
        if kind not in _TYPES:
            continue
        rational = len(_TYPES[kind]) == 2
        where = struct.unpack_from(order + "I", tiff, entry + 8)[0] if rational else entry + 8
        numbers = struct.unpack_from(order + _TYPES[kind], tiff, where)
        if not rational or numbers[1]:
            tags[tag] = numbers[0] / numbers[1] if rational else float(numbers[0])
    return tags
