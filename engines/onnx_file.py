"""A look into an ONNX file before any library opens it: all of it lies in the one file.

A graph may name other files as the place of its weights, by any path, and a library would read them. Packages of ours
have their weights inside. The file is protobuf; field numbers are those of onnx.proto3.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

from bodycast.engines.errors import PackageError

_INNER: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse tensor"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse tensor", 23: "sparse tensor"},
    "sparse tensor": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
"""Message -> field -> message: the ways by which a tensor can be reached."""

_EXTERNAL_DATA, _DATA_LOCATION = 13, 14
_VARINT, _EIGHT_BYTES, _LENGTH, _FOUR_BYTES = 0, 1, 2, 5


def check_onnx_file(path: Path) -> None:
    """Raises PackageError where the file is no ONNX graph, or has weights in another file."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            outside = _has_data_outside(content)
    except (ValueError, IndexError, OSError) as error:
        raise PackageError(f"{path}: cannot open it: not an ONNX graph ({error or 'it ends too early'})") from error
    if outside:
        raise PackageError(
            f"{path}: has weights in another file, which is not opened; a package's weights lie in its graph: export "
            "it again"
        )


def _has_data_outside(content: mmap.mmap) -> bool:
    found_graph = False
    pending = [("model", 0, len(content))]
    while pending:
        kind, start, end = pending.pop()
        for field, wire, value, size in _fields(content, start, end):
            if kind == "tensor" and (field == _EXTERNAL_DATA or (field == _DATA_LOCATION and value != 0)):
                return True
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
