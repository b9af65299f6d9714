"""Metadata items of a QuickTime or MP4 file: those of its tracks, which FFmpeg leaves out, and its own.

Phones write the lens into the video track. Apple, "QuickTime File Format", Metadata: an atom `meta` with the names in
`keys` and the values, by number, in `ilst`; ISO 14496-12 puts four bytes more at the beginning of `meta`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

LARGEST_BYTES = 100_000_000
_TEXT, _SIGNED, _UNSIGNED = (1,), (21, 65, 66, 67, 74), (22, 75, 76, 77, 78)
_FLOATS = {23: ">f", 24: ">d"}
"""Apple's well-known types of values by number."""


def quicktime_tags(path: Path) -> dict[str, str]:
    """Names and values, numbers as text; those of tracks first. Empty for another kind of file, or one that cannot be
    read as this one."""
    try:
        with path.open("rb") as stream:
            movie = _movie(stream)
    except OSError:
        return {}
    tags: dict[str, str] = {}
    try:
        tracks = [body for kind, body in _atoms(movie) if kind == b"trak"]
        for holder in (*tracks, movie):
            for kind, body in _atoms(holder):
                if kind == b"meta":
                    tags = _items(body) | tags
    except struct.error:
        return tags
    return tags


def _movie(stream: BinaryIO) -> bytes:
    """The content of the atom `moov`."""
    while len(head := stream.read(8)) == 8:
        size, kind = struct.unpack(">I4s", head)
        body = size - 8
        if size == 1:
            long = stream.read(8)
            body = struct.unpack(">Q", long)[0] - 16 if len(long) == 8 else -1
        if not kind.isalnum() or body < 0:
            return b""
        if kind == b"moov":
            return stream.read(body) if body <= LARGEST_BYTES else b""
        stream.seek(body, 1)
    return b""


def _atoms(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at + 8 <= len(content):
        size, kind = struct.unpack_from(">I4s", content, at)
        if size < 8:
            return
        yield kind, content[at + 8 : at + size]
        at += size


def _items(meta: bytes) -> dict[str, str]:
    parts = dict(_atoms(meta if meta[4:8] == b"hdlr" else meta[4:]))
    names = [body.decode("utf-8", "replace") for _, body in _atoms(parts.get(b"keys", b"")[8:])]
    tags: dict[str, str] = {}
    for number, item in _atoms(parts.get(b"ilst", b"")):
        place = int.from_bytes(number, "big") - 1
        data = dict(_atoms(item)).get(b"data", b"")
        if 0 <= place < len(names) and len(data) > 8:
            value = _value(int.from_bytes(data[:4], "big"), data[8:])
            tags |= {names[place]: value} if value is not None else {}
    return tags


def _value(kind: int, content: bytes) -> str | None:
    if kind in _TEXT:
        return content.decode("utf-8", "replace")
    if kind in (*_SIGNED, *_UNSIGNED):
        return str(int.from_bytes(content, "big", signed=kind in _SIGNED))
    return f"{struct.unpack(_FLOATS[kind], content)[0]:g}" if kind in _FLOATS else None
