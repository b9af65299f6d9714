"""A look into an ONNX file before any library opens it: where its weights lie.

A graph may name other files as the place of its weights, by any path, and a library would read them. Packages of ours
have their weights inside, or, where they are too many for one protobuf, in one file beside the graph that
`package.json` lists with its hash. The file is protobuf; field numbers are those of onnx.proto3.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path

from bodycast.engines.errors import PackageError

_INNER: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "weight", 15: "sparse tensor"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse tensor", 23: "sparse tensor"},
    "sparse tensor": {1: "tensor", 2: "tensor"},
    "tensor": {},
    "weight": {},
}
"""Message -> field -> message: the ways by which a tensor can be reached. A "weight" is an initialiser of a graph, the
only tensor that may lie in the data file."""

_DIMS, _DATA_TYPE, _EXTERNAL_DATA, _DATA_LOCATION = 1, 2, 13, 14
_VARINT, _EIGHT_BYTES, _LENGTH, _FOUR_BYTES = 0, 1, 2, 5
_ITEM_SIZES = {1: 4, 2: 1, 3: 1, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8}
"""ONNX's number of float32, uint8, int8, int32, int64, bool, float16 and float64 -> bytes of one."""
_LONGEST = 64
"""Bytes of a file name or a number in a weight's entry: ours are shorter."""


@dataclass(frozen=True, slots=True)
class _DataFile:
    """The one file beside the graph that may hold weights."""

    name: str
    size: int


def check_onnx_file(path: Path, data_file: str | None = None) -> None:
    """Look through a graph. data_file: plain name of the file in the same folder that may hold weights; its hash is the
    caller's to check.

    Raises: PackageError where the file is no ONNX graph, has weights in another file than that, or beyond its end; and
    where that file is a link.
    """
    data = None if data_file is None else _data_file(path.with_name(data_file))
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            outside = _has_data_outside(content, data)
    except (ValueError, IndexError, OSError) as error:
        raise PackageError(f"{path}: cannot open it: not an ONNX graph ({error or 'it ends too early'})") from error
    if outside:
        raise PackageError(
            f"{path}: has weights in another file, which is not opened; a package's weights lie in its graph, or in a "
            "file beside it that package.json lists: export it again"
        )


def _data_file(path: Path) -> _DataFile:
    if path.is_symlink() or not path.is_file():
        raise PackageError(f"{path}: weights lie in a plain file of the package's folder, this is none")
    return _DataFile(path.name, path.stat().st_size)


def _has_data_outside(content: mmap.mmap, data: _DataFile | None) -> bool:
    """Whether a tensor has data elsewhere than in the graph or, as an initialiser, in the data file."""
    found_graph = False
    pending = [("model", 0, len(content))]
    while pending:
        kind, start, end = pending.pop()
        if kind in ("tensor", "weight") and not _stays(content, start, end, data if kind == "weight" else None):
            return True
        for field, wire, value, size in _fields(content, start, end):
            inner = _INNER[kind].get(field)
            if inner is None:
                continue
            if wire != _LENGTH:
                raise ValueError(f"field {field} of a {kind} is no {inner}")
            found_graph = found_graph or inner == "graph"
            pending.append((inner, value, value + size))
    if not found_graph:
        raise ValueError("it has no graph")
    return False


def _stays(content: mmap.mmap, start: int, end: int, data: _DataFile | None) -> bool:
    """Whether one tensor's data are in the graph, or whole within `data`."""
    external, item_size = False, 0
    dims: list[int] = []
    entries: dict[str, str] = {}
    for field, wire, value, size in _fields(content, start, end):
        if field == _EXTERNAL_DATA or (field == _DATA_LOCATION and value != 0):
            external = True
        if field == _EXTERNAL_DATA:
            key, text = _entry(content, value, value + size)
            if key in entries:
                return False
            entries[key] = text
        elif field == _DATA_LOCATION and value != 1 and external:
            return False
        elif field == _DATA_TYPE:
            item_size = _ITEM_SIZES.get(value, 0)
        elif field == _DIMS:
            dims += [value] if wire == _VARINT else _numbers(content, value, value + size)
    if not external:
        return True
    if data is None or set(entries) != {"location", "offset", "length"} or entries["location"] != data.name:
        return False
    offset, length = (entries[key] for key in ("offset", "length"))
    if not all(text.isascii() and text.isdigit() for text in (offset, length)):
        return False
    # A reader that trusts the shape would else read beyond what is there.
    return item_size > 0 and int(length) == item_size * prod(dims) and int(offset) + int(length) <= data.size


def _entry(content: mmap.mmap, start: int, end: int) -> tuple[str, str]:
    """Key and value of a StringStringEntryProto."""
    texts = {1: "", 2: ""}
    for field, wire, value, size in _fields(content, start, end):
        if field not in texts or wire != _LENGTH or size > _LONGEST or texts[field]:
            raise ValueError("a weight's place is not understood")
        texts[field] = content[value : value + size].decode("utf-8")
    return texts[1], texts[2]


def _numbers(content: mmap.mmap, start: int, end: int) -> list[int]:
    """Packed varints."""
    found: list[int] = []
    while start < end:
        number, start = _varint(content, start)
        found.append(number)
    if start != end:
        raise ValueError("lengths do not add up")
    return found


def _fields(content: mmap.mmap, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Field number, wire type, and the number itself or where the bytes start and how many they are."""
    at = start
    while at < end:
        began = at
        tag, at = _varint(content, at)
        # Readers cut longer tags down to 32 bits, and then see another field than this one.
        if tag > 0xFFFFFFFF or at - began > 5:
            raise ValueError("a field number is too large")
        field, wire = tag >> 3, tag & 7
        value, size = at, 0
        if wire == _VARINT:
            value, at = _varint(content, at)
        elif wire == _LENGTH:
            size, value = _varint(content, at)
            if size > 0x7FFFFFFF:
                raise ValueError("a length is too large")
            at = value + size
        elif wire in (_EIGHT_BYTES, _FOUR_BYTES):
            at += 8 if wire == _EIGHT_BYTES else 4
        else:
            raise ValueError(f"wire type {wire}")
        if at > end or field == 0:
            raise ValueError("lengths do not add up")
        yield field, wire, value, size


def _varint(content: mmap.mmap, at: int) -> tuple[int, int]:
    """A number of up to ten bytes, and where it ends."""
    value = 0
    for position in range(10):
        byte = content[at + position]
        value |= (byte & 0x7F) << (7 * position)
        if byte < 0x80:
            return value, at + position + 1
    raise ValueError("a number without end")
