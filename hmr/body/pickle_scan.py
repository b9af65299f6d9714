"""A look through a pickle's operations before anything is built from them.

Building costs what the file says, not what the file is: a number of nine bytes makes a table of gigabytes, nested
tuples overflow the C stack, shared tuples as keys are hashed for ever. What a file of arrays does not need is refused.
"""

from __future__ import annotations

import io
import pickletools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_OPERATIONS: dict[str, Any] = {operation.code: operation for operation in pickletools.opcodes}
MOST_OPERATIONS = 3_000_000
"""A second or two; bodies and label files have some thousands, for their numbers are in one piece."""
MOST_KEY_DIGITS = 11
MOST_DEPTH = 60
"""Containers and objects within each other; chumpy's expressions and label files have under twenty."""

_NUMBERS = frozenset(("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"))
_WORDS = frozenset(("NONE", "NEWTRUE", "NEWFALSE"))
_TEXTS = frozenset(
    ("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8")
)
_BYTES = frozenset(("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"))
_SMALL_NUMBERS = frozenset(("BININT", "BININT1", "BININT2"))
_LONG_NUMBERS = frozenset(("LONG1", "LONG4"))
_ATOMS = _NUMBERS | _WORDS | _TEXTS | _BYTES
_LINES = {"INT": 1, "LONG": 1, "FLOAT": 1, "STRING": 1, "UNICODE": 1, "PUT": 1, "GET": 1, "GLOBAL": 2, "INST": 2}
"""Operations whose argument is so many lines of text."""
_EMPTY = frozenset(("EMPTY_LIST", "EMPTY_TUPLE", "EMPTY_DICT"))
_JOINS_MARKED = frozenset(("TUPLE", "LIST", "DICT"))
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_PUTS = frozenset(("PUT", "BINPUT", "LONG_BINPUT"))
_GETS = frozenset(("GET", "BINGET", "LONG_BINGET"))
_NOTHING = frozenset(("PROTO", "FRAME", "STOP"))


class UnsafePickle(ValueError):  # noqa: N818 - reads as what it says
    """The pickle is broken, or has what a file of arrays does not need."""


@dataclass(slots=True)
class _Value:
    """What is known of one value: how deep it is nested, whether it may be a key, and whether it is a class or a
    function of ours."""

    depth: int = 0
    key: bool = False
    named: bool = False


def check_operations(data: bytes) -> None:
    """Raises UnsafePickle naming what is wrong; nothing is built, and memory stays within a few times the file's."""
    scan = _Scan(len(data))
    try:
        for count, (name, argument) in enumerate(_operations(data)):
            if count > MOST_OPERATIONS:
                raise UnsafePickle(f"more than {MOST_OPERATIONS} operations")
            scan.step(name, argument)
    except UnsafePickle:
        raise
    except (ValueError, IndexError, KeyError, TypeError, OverflowError) as error:
        reason = " ".join(str(error).split())[:120]
        raise UnsafePickle(f"not a readable pickle ({reason or type(error).__name__})") from error


def _operations(data: bytes) -> Iterator[tuple[str, Any]]:
    """Name and argument of each operation up to the end. `pickletools.genops` takes no text that is not ASCII, which
    Python 2 wrote. Raises ValueError and others where the file is cut off."""
    stream = io.BytesIO(data)
    while True:
        code = stream.read(1)
        if not code:
            raise ValueError("it ends too early")
        operation = _OPERATIONS[code.decode("latin-1")]
        argument: Any = None
        if operation.name in _LINES:
            lines = [stream.readline() for _ in range(_LINES[operation.name])]
            if not lines[-1].endswith(b"\n"):
                raise ValueError("it ends too early")
            argument = lines[0].strip()
        elif operation.arg is not None:
            argument = operation.arg.reader(stream)
        yield operation.name, argument
        if operation.name == "STOP":
            return


class _Scan:
    """The unpickler's stack with `_Value` in the place of values; None is a mark."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._stack: list[_Value | None] = []
        self._memo: dict[int, _Value] = {}
        self._steps = 0

    def step(self, name: str, argument: Any) -> None:
        """One operation."""
        self._steps += 1
        if name in _ATOMS:
            self._stack.append(_Value(key=_may_be_key(name, argument)))
        elif name in _PUTS or name == "MEMOIZE":
            self._remember(len(self._memo) if name == "MEMOIZE" else int(argument))
        elif name in _GETS:
            self._stack.append(self._memo[int(argument)])
        elif name in _EMPTY or name in ("GLOBAL", "STACK_GLOBAL"):
            if name == "STACK_GLOBAL":
                self._take(2)
            self._stack.append(_Value(named=name not in _EMPTY))
        elif name == "MARK":
            self._stack.append(None)
        else:
            self._join(name, argument)

    def _remember(self, index: int) -> None:
        if not 0 <= index <= self._steps:
            raise UnsafePickle(f"a place of the memo is out of order ({index})")
        value = self._stack[-1]
        if value is None:
            raise UnsafePickle("a mark is no value")
        self._memo[index] = value

    def _join(self, name: str, argument: Any) -> None:
        if name in _TUPLES:
            self._stack.append(_around(self._take(_TUPLES[name])))
        elif name in _JOINS_MARKED:
            items = self._take_marked()
            if name == "DICT":
                _check_keys(items[::2])
            self._stack.append(_around(items))
        elif name in ("APPEND", "APPENDS", "BUILD"):
            self._grow(self._take_marked() if name == "APPENDS" else self._take(1))
            owner = self._stack[-1]
            if owner is not None and owner.named:  # its attributes would be set, for all files to come
                raise UnsafePickle("a class or a function is changed")
        elif name in ("SETITEM", "SETITEMS"):
            items = self._take_marked() if name == "SETITEMS" else self._take(2)
            _check_keys(items[::2])
            self._grow(items)
        elif name in ("REDUCE", "NEWOBJ"):
            self._stack.append(_around(self._take(2)))
        elif name in ("OBJ", "INST"):
            self._stack.append(_around(self._take_marked()))
        elif name in ("POP", "POP_MARK", "DUP"):
            self._shuffle(name)
        elif name == "FRAME" and int(argument) > self._size:
            raise ValueError("a frame is longer than the file")
        elif name not in _NOTHING:
            raise UnsafePickle(f"the operation {name} is not used by files of arrays")

    def _shuffle(self, name: str) -> None:
        if name == "DUP":
            self._stack.append(self._stack[-1])
        elif name == "POP_MARK":
            self._take_marked()
        else:
            self._stack.pop()

    def _take(self, count: int) -> list[_Value]:
        taken = self._stack[-count:]
        del self._stack[-count:]
        values = [value for value in taken if value is not None]
        if len(values) != count:
            raise UnsafePickle("values are missing")
        return values

    def _take_marked(self) -> list[_Value]:
        values: list[_Value] = []
        while (value := self._stack.pop()) is not None:
            values.append(value)
        return values[::-1]

    def _grow(self, items: list[_Value]) -> None:
        owner = self._stack[-1]
        if owner is None:
            raise UnsafePickle("values are missing")
        owner.depth = max(owner.depth, _around(items).depth)


def _around(items: list[_Value]) -> _Value:
    depth = 1 + max((item.depth for item in items), default=0)
    if depth > MOST_DEPTH:
        raise UnsafePickle(f"values are nested more than {MOST_DEPTH} deep")
    return _Value(depth)


def _may_be_key(name: str, argument: Any) -> bool:
    """Text and small whole numbers: others can be chosen so that all have one hash, and a table of them takes hours."""
    if name in _LONG_NUMBERS:
        return abs(int(argument)) < 1 << 31
    if name in ("INT", "LONG"):
        return len(argument) <= MOST_KEY_DIGITS
    return name not in _NUMBERS or name in _SMALL_NUMBERS


def _check_keys(keys: list[_Value]) -> None:
    if not all(key.key for key in keys):
        raise UnsafePickle("a key is neither text nor a small whole number")
