"""What a picture file's first bytes say, before anything is decoded: size, grey or colour, animated or not."""

from __future__ import annotations

import struct
from dataclasses import dataclass

MOST_PACKED = 1100
"""Deflate makes no more bytes of one."""
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


@dataclass(frozen=True, slots=True)
class PictureHeader:
    """`kind`: jpeg, png, webp, bmp; `wh` in pixels as stored; `frames` more than 1: animated; `bits` of a pixel, where
    the coding packs each one for itself."""

    kind: str
    wh: tuple[int, int]
    grey: bool = False
    frames: int = 1
    bits: int = 0

    @property
    def least_bytes(self) -> int:
        """No file of fewer bytes can hold the picture."""
        return self.pixels * self.bits // 8 // MOST_PACKED

    @property
    def pixels(self) -> int:
        """How many."""
        return self.wh[0] * self.wh[1]


def picture_header(content: bytes) -> PictureHeader | None:
    """Of a JPEG, PNG, WebP or BMP file; None: it is none of these, or broken."""
    try:
        if content.startswith(b"\x89PNG\r\n\x1a\n"):
            return _png(content)
        if content.startswith(b"\xff\xd8"):
            return _jpeg(content)
        if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
            return _webp(content)
        if content.startswith(b"BM"):
            width, height = struct.unpack_from("<ii", content, 18)
            return PictureHeader("bmp", (abs(width), abs(height)))
    except (struct.error, IndexError):
        return None
    return None


def _png(content: bytes) -> PictureHeader | None:
    width, height, depth, colour = struct.unpack_from(">IIBB", content, 16)
    at, frames = 8, 1
    # OpenCV takes memory for a chunk of whatever length it states.
    while at + 8 <= len(content):
        size, kind = struct.unpack_from(">I4s", content, at)
        if size > len(content) - at - 8:
            return None
        if kind == b"acTL" and size >= 8:
            frames = struct.unpack_from(">I", content, at + 8)[0]
        if kind == b"IEND":
            break
        at += 12 + size
    bits = depth * _CHANNELS.get(colour, 1)
    return PictureHeader("png", (width, height), colour in (0, 4), frames, bits)


def _jpeg(content: bytes) -> PictureHeader | None:
    at = 2
    while at + 4 <= len(content):
        if content[at] != 0xFF:
            return None
        marker = content[at + 1]
        if marker == 0xFF:  # padding
            at += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width, parts = struct.unpack_from(">HHB", content, at + 5)
            return PictureHeader("jpeg", (width, height), parts == 1)
        if marker in (0x01, *range(0xD0, 0xD9)):
            at += 2
            continue
        at += 2 + struct.unpack_from(">H", content, at + 2)[0]
    return None


def _webp(content: bytes) -> PictureHeader | None:
    kind = content[12:16]
    if kind == b"VP8X":
        width = int.from_bytes(content[24:27], "little") + 1
        height = int.from_bytes(content[27:30], "little") + 1
        animated = bool(content[20] & 0x02)
        return PictureHeader("webp", (width, height), frames=content.count(b"ANMF") if animated else 1)
    if kind == b"VP8L":
        bits = int.from_bytes(content[21:25], "little")
        return PictureHeader("webp", ((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1))
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", content, 26)
        return PictureHeader("webp", (width & 0x3FFF, height & 0x3FFF))
    return None
