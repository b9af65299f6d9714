"""Open Sound Control 1.0: bundles whose layout stays the same from frame to frame and whose numbers are filled in.

Strings end with a zero byte and are padded to 4 bytes, numbers are big-endian: everything lies on words of 4 bytes, so
a frame is one assignment into an array of words.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

MOST_BYTES = 1472
"""Of a UDP datagram that Ethernet carries in one piece: 1500 less the headers of IP and UDP."""

_AT_ONCE = struct.pack(">Q", 1)
"""The time tag that means: now."""
_HEADER = b"#bundle\0" + _AT_ONCE

Message = tuple[str, tuple[str | int | float, ...]]
"""Address and arguments; the type of each argument stays, ints and floats are filled in anew every frame."""


def encode(message: Message) -> bytes:
    """One OSC message."""
    address, arguments = message
    kinds = "".join("s" if isinstance(value, str) else "i" if isinstance(value, int) else "f" for value in arguments)
    packed = _string(address) + _string("," + kinds)
    for value in arguments:
        if isinstance(value, str):
            packed += _string(value)
        else:
            packed += struct.pack(">i" if isinstance(value, int) else ">f", value)
    return packed


class Bundle:
    """One datagram: messages whose numbers change. Raises ValueError where they do not fit into MOST_BYTES."""

    def __init__(self, messages: Sequence[Message]) -> None:
        data = bytearray(_HEADER)
        numbers: dict[type, list[int]] = {int: [], float: []}
        for message in messages:
            packed = encode(message)
            data += struct.pack(">i", len(packed))
            # From the end: what stands before an argument need not be taken apart.
            at = (len(data) + len(packed)) // 4
            for value in reversed(message[1]):
                at -= len(_string(value)) // 4 if isinstance(value, str) else 1
                if not isinstance(value, str):
                    numbers[type(value)].append(at)
            data += packed
        if len(data) > MOST_BYTES:
            raise ValueError(f"an OSC bundle of {len(data)} bytes; at most {MOST_BYTES} fit into a datagram")
        self._data = data
        self._floats = np.frombuffer(data, ">f4")
        self._ints = np.frombuffer(data, ">i4")
        self._float_at = np.array(sorted(numbers[float]), np.intp)
        self._int_at = np.array(sorted(numbers[int]), np.intp)
        self.float_count = len(self._float_at)
        """How many floats `packed` takes."""

    def packed(self, floats: NDArray[np.floating], ints: Sequence[int] | None = None) -> bytes:
        """The datagram with these numbers, in the order of the messages; `ints` None: they stay."""
        self._floats[self._float_at] = floats
        if ints is not None:
            self._ints[self._int_at] = ints
        return bytes(self._data)


def bundles(messages: Sequence[Message]) -> list[Bundle]:
    """As few datagrams as hold the messages, in their order."""
    groups: list[list[Message]] = [[]]
    size = len(_HEADER)
    for message in messages:
        more = 4 + len(encode(message))
        if groups[-1] and size + more > MOST_BYTES:
            groups.append([])
            size = len(_HEADER)
        groups[-1].append(message)
        size += more
    return [Bundle(group) for group in groups]


def _string(text: str) -> bytes:
    data = text.encode("ascii") + b"\0"
    return data + b"\0" * (-len(data) % 4)
