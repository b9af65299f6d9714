"""Decoders of the glTF extension EXT_meshopt_compression: mode 0 (attributes) and mode 1 (triangles), without filters.

Written from the bitstream's public specification (glTF 2.0 vendor extension EXT_meshopt_compression, appendix A).
"""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray

U8 = NDArray[np.uint8]
TAIL_BYTES = 32
_GROUP = 16
# What one byte of 2-bit or 4-bit deltas holds, first delta in the highest bits.
_UNPACKED = {
    1: [bytes(four) for four in product(range(4), repeat=4)],
    2: [bytes(two) for two in product(range(16), repeat=2)],
}
_SENTINEL = {1: 3, 2: 15}


class MeshoptError(ValueError):
    """A stream that breaks the specification; one line."""


def decode_attributes(data: bytes, count: int, stride: int) -> U8:
    """(count, stride) bytes of the elements of a mode 0 stream. Raises MeshoptError."""
    if not data or data[0] != 0xA0:
        raise MeshoptError("attributes: expected a stream of version 0 (first byte 0xa0)")
    out = np.empty((count, stride), np.uint8)
    last = np.frombuffer(data[-stride:], np.uint8)
    block = min((8192 // stride) & ~15, 256)
    at = 1
    try:
        for start in range(0, count, block):
            size = min(block, count - start)
            groups = -(-size // _GROUP)
            columns = bytearray()
            for _ in range(stride):
                column, at = _column(data, at, groups)
                columns += column
            coded = np.frombuffer(columns, np.uint8).reshape(stride, groups * _GROUP)[:, :size]
            deltas = (coded >> 1) ^ -(coded & 1)
            rows = (np.cumsum(deltas, axis=1, dtype=np.uint8) + last[:, None]).T
            out[start : start + size] = rows
            last = out[start + size - 1]
    except IndexError:
        raise MeshoptError("attributes: the stream ends early") from None
    if at != len(data) - max(stride, TAIL_BYTES):
        raise MeshoptError(f"attributes: {len(data) - max(stride, TAIL_BYTES) - at} bytes left over")
    return out


def _column(data: bytes, at: int, groups: int) -> tuple[bytearray, int]:
    """One byte of every element of a block, still zigzag deltas; and where the stream goes on."""
    header = data[at : at + -(-groups // 4)]
    at += len(header)
    out = bytearray(groups * _GROUP)
    if not any(header):
        return out, at
    for group in range(groups):
        mode = header[group >> 2] >> 2 * (group & 3) & 3
        if mode == 0:
            continue
        if mode == 3:
            values, at = data[at : at + _GROUP], at + _GROUP
        else:
            table, sentinel = _UNPACKED[mode], _SENTINEL[mode]
            values = bytearray(b"".join([table[byte] for byte in data[at : at + 4 * mode]]))
            at += 4 * mode
            if sentinel in values:
                for place, value in enumerate(values):
                    if value == sentinel:
                        values[place] = data[at]
                        at += 1
        if len(values) != _GROUP:
            raise IndexError
        out[group * _GROUP : (group + 1) * _GROUP] = values
    return out, at


def decode_triangles(data: bytes, count: int) -> NDArray[np.uint32]:
    """(count,) vertex indices of a mode 1 stream, three a triangle. Raises MeshoptError."""
    if not data or data[0] != 0xE1 or count % 3:
        raise MeshoptError("triangles: expected a stream of version 1 (first byte 0xe1) and whole triangles")
    try:
        reader = _Triangles(data, count // 3)
        for code in data[1 : 1 + count // 3]:
            reader.take(code)
    except IndexError:
        raise MeshoptError("triangles: the stream ends early") from None
    if reader.at != len(data) - 16:
        raise MeshoptError(f"triangles: {len(data) - 16 - reader.at} bytes left over")
    return np.array(reader.out, np.uint32)


class _Triangles:
    """The decoder's state, named as in the specification; the newest entry of a queue is its first."""

    def __init__(self, data: bytes, triangles: int) -> None:
        self.data, self.at, self.table = data, 1 + triangles, data[-16:]
        self.next = self.last = 0
        self.edges: list[tuple[int, int]] = [(0, 0)] * 16
        self.vertices: list[int] = [0] * 16
        self.out: list[int] = []

    def take(self, code: int) -> None:
        """Read one triangle."""
        high, low = code >> 4, code & 15
        if high < 15:
            self._beside_an_edge(high, low)
        elif low < 14:
            self._three(self.table[low], explicit=False, first_is_next=True)
        else:
            self.at += 1
            self._three(self.data[self.at - 1], explicit=True, first_is_next=low == 14)

    def _beside_an_edge(self, high: int, low: int) -> None:
        a, b = self.edges[high]
        if 0 < low < 13:
            c = self.vertices[low]
        else:
            if low == 0:
                c = self._fresh()
            elif low == 15:
                c = self._index()
            else:
                c = self.last = self.last + (1 if low == 14 else -1)
            self._push_vertex(c)
        self.edges = [(a, c), (c, b), *self.edges[:14]]
        self.out += (a, b, c)

    def _three(self, pair: int, *, explicit: bool, first_is_next: bool) -> None:
        if explicit and pair == 0:
            self.next = 0
        a = self._fresh() if first_is_next else self._index()
        corners = [a]
        new = [a]
        for nibble in (pair >> 4, pair & 15):
            if nibble == 0:
                corner = self._fresh()
            elif nibble == 15 and explicit:
                corner = self._index()
            else:
                corner = self.vertices[nibble - 1]
            corners.append(corner)
            if nibble in (0, 15):
                new.append(corner)
        # Queue places count from before this triangle.
        for corner in new:
            self._push_vertex(corner)
        a, b, c = corners
        self.edges = [(a, c), (c, b), (b, a), *self.edges[:13]]
        self.out += corners

    def _fresh(self) -> int:
        self.next += 1
        return self.next - 1

    def _push_vertex(self, vertex: int) -> None:
        self.vertices = [vertex, *self.vertices[:15]]

    def _index(self) -> int:
        """A LEB128 zigzag step from the last explicit index."""
        value = shift = 0
        while True:
            byte = self.data[self.at]
            self.at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        self.last += ~(value >> 1) if value & 1 else value >> 1
        return self.last
