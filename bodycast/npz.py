"""Reading `.npz` archives and `.npy` arrays that anybody may have made: no pickle is opened, nothing is believed before
it is checked.

What an archive's directory and each array's header claim is held against the file's size before memory is taken, so
that neither a bomb nor a header of terabytes costs more than the limit.
"""

from __future__ import annotations

import math
import struct
import sys
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from bodycast.plain_text import shortened

MOST_BYTES = 64 * 2**20
MOST_TIMES_THE_FILE = 4
"""An archive may hold MOST_BYTES and so many times its own size; one without compression holds its own size."""
MOST_MEMBERS = 10_000
MOST_DIMENSIONS = 16
MOST_HEADER_BYTES = 10_000
_MOST_BY_DEFLATE = 1100
_AT_A_TIME = 1 << 24
_ENCRYPTED = 1

_BROKEN = (
    *(OSError, ValueError, EOFError, KeyError, TypeError, IndexError, AttributeError, OverflowError, MemoryError),
    *(RecursionError, SyntaxError, RuntimeError, zipfile.BadZipFile, zlib.error, struct.error, tokenize.TokenError),
)
"""What zipfile and numpy raise for files that are damaged or made up."""


class NpzError(ValueError):
    """An archive that cannot be read; the message is one line that says why."""


def read_npz(
    path: Path, names: Iterable[str] | None = None, *, objects: Callable[[bytes], Any] | None = None
) -> dict[str, Any]:
    """The arrays called `names` that an archive has, by name; all of them where that is left out. objects: reads the
    pickle of an array of Python objects (its array is what that gives); None: such an array is refused.

    Raises: NpzError for what is no archive, for a damaged, encrypted or unknown member, one that is no array or has
    Python objects in it, and where it claims more than it can hold. FileNotFoundError.
    """
    wanted = None if names is None else set(names)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        with zipfile.ZipFile(path) as archive:
            members = _members(archive, path.stat().st_size, wanted)
            return {name: _read(archive, name, info, objects) for name, info in members.items()}
    except NpzError:
        raise
    except _BROKEN as error:
        raise NpzError(f"not a readable .npz ({shortened(error) or type(error).__name__})") from error


def read_npy(path: Path) -> NDArray[Any]:
    """The array of a `.npy` file. Raises: NpzError as `read_npz`, FileNotFoundError."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        with path.open("rb") as stream:
            return _array(stream, path.stat().st_size, shortened(path.name), None)
    except NpzError:
        raise
    except _BROKEN as error:
        raise NpzError(f"{path.name}: damaged ({shortened(error) or type(error).__name__})") from error


def map_npy(path: Path, mode: Literal["r", "r+"] = "r") -> NDArray[Any]:
    """The array of a `.npy` file as it lies on the disk: only what is used is read; "r+": and may be changed.

    Raises: NpzError as `read_npz`, FileNotFoundError.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        with path.open("rb") as stream:
            shape, fortran, dtype = _head(stream, path.stat().st_size, shortened(path.name))
            begins = stream.tell()
        if dtype.hasobject:
            raise NpzError(f"{shortened(path.name)}: holds Python objects")
        if not math.prod(shape):
            return np.empty(shape, dtype)
        return np.memmap(path, dtype, mode, begins, shape, "F" if fortran else "C")
    except NpzError:
        raise
    except _BROKEN as error:
        raise NpzError(f"{path.name}: damaged ({shortened(error) or type(error).__name__})") from error


def member_names(path: Path) -> list[str]:
    """Names of the arrays that an archive says it has. Raises: NpzError, FileNotFoundError."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        with zipfile.ZipFile(path) as archive:
            return [entry.filename.removesuffix(".npy") for entry in archive.infolist()]
    except _BROKEN as error:
        raise NpzError(f"not a readable .npz ({shortened(error) or type(error).__name__})") from error


def _members(archive: zipfile.ZipFile, size: int, wanted: set[str] | None) -> dict[str, zipfile.ZipInfo]:
    entries = archive.infolist()
    if len(entries) > MOST_MEMBERS:
        raise NpzError(f"more than {MOST_MEMBERS} members")
    members: dict[str, zipfile.ZipInfo] = {}
    for entry in entries:
        name = entry.filename.removesuffix(".npy")
        if wanted is not None and name not in wanted:
            continue
        if name in members:
            raise NpzError(f"{shortened(name)}: there twice")
        if entry.flag_bits & _ENCRYPTED:
            raise NpzError(f"{shortened(name)}: encrypted")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise NpzError(f"{shortened(name)}: unknown compression method {entry.compress_type}")
        packed = entry.compress_size
        most = packed if entry.compress_type == zipfile.ZIP_STORED else _MOST_BY_DEFLATE * packed + 1024
        if packed > size or entry.file_size > most:
            raise NpzError(f"{shortened(name)}: claims {entry.file_size} bytes, more than the file can hold")
        members[name] = entry
    whole = sum(entry.file_size for entry in members.values())
    if whole > MOST_BYTES + MOST_TIMES_THE_FILE * size:
        raise NpzError(f"{whole >> 20} MB are packed in {size} bytes, which no file of ours is")
    return members


def _read(
    archive: zipfile.ZipFile, name: str, entry: zipfile.ZipInfo, objects: Callable[[bytes], Any] | None
) -> NDArray[np.generic]:
    shown = shortened(name)
    try:
        with archive.open(entry) as member:
            return _array(member, entry.file_size, shown, objects)
    except NpzError:
        raise
    except _BROKEN as error:
        raise NpzError(f"{shown}: damaged ({shortened(error) or type(error).__name__})") from error


def _array(member: IO[bytes], size: int, shown: str, objects: Callable[[bytes], Any] | None) -> NDArray[np.generic]:
    """Raises NpzError, and what a damaged stream raises."""
    shape, fortran, dtype = _head(member, size, shown)
    if dtype.hasobject:
        if objects is None:
            raise NpzError(f"{shown}: holds Python objects")
        return objects(member.read(size))
    claimed = math.prod(shape) * dtype.itemsize
    array = np.empty(math.prod(shape), dtype)
    into: NDArray[np.uint8] = array.view(np.uint8) if claimed else np.empty(0, np.uint8)
    for begin in range(0, claimed, _AT_A_TIME):
        wanted = min(_AT_A_TIME, claimed - begin)
        piece = member.read(wanted)
        if len(piece) != wanted:
            raise NpzError(f"{shown}: ends too early")
        into[begin : begin + wanted] = np.frombuffer(piece, np.uint8)
    if member.read(1):  # the end, where the checksum is looked at
        raise NpzError(f"{shown}: longer than it says")
    if not is_text(array):
        raise NpzError(f"{shown}: text that is none")
    return array.reshape(shape, order="F" if fortran else "C")


def is_text(array: NDArray[Any]) -> bool:
    """Whether an array of text holds characters alone: of numbers beyond Unicode, Python makes a SystemError. True of
    arrays of numbers."""
    if array.dtype.kind != "U" or not array.size:
        return True
    codes = np.ascontiguousarray(array).view(np.dtype(np.uint32).newbyteorder(array.dtype.byteorder))
    return int(codes.max()) <= sys.maxunicode


def _head(member: IO[bytes], size: int, shown: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether columns come first, and dtype; `member` then stands at the numbers, of which there are as many as
    that says (Python objects are not counted). Raises as `_array`."""
    magic = member.read(8)
    if magic[:6] != b"\x93NUMPY" or magic[6:] not in (b"\x01\x00", b"\x02\x00", b"\x03\x00"):
        raise NpzError(f"{shown}: not an array")
    length = 2 if magic[6] == 1 else 4
    header_bytes = int.from_bytes(member.read(length), "little")
    if header_bytes > MOST_HEADER_BYTES:
        raise NpzError(f"{shown}: a header of {header_bytes} bytes")
    shape, fortran, dtype = _header(member.read(header_bytes), shown)
    claimed, holds = math.prod(shape) * dtype.itemsize, size - 8 - length - header_bytes
    if not dtype.hasobject and claimed != holds:
        raise NpzError(f"{shown}: its header claims {claimed} bytes, the file holds {holds}")
    return shape, fortran, dtype


def _header(text: bytes, shown: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    from ast import literal_eval

    parsed: object = literal_eval(text.decode("latin-1").strip())
    said = cast("dict[str, Any]", parsed) if isinstance(parsed, dict) else {}
    if set(said) != {"descr", "fortran_order", "shape"}:
        raise NpzError(f"{shown}: a header that is none of an array's")
    given: object = said["shape"]
    shape = cast("tuple[int, ...]", given) if isinstance(given, tuple) else (-1,)
    if len(shape) > MOST_DIMENSIONS or any(type(length) is not int or length < 0 for length in shape):
        raise NpzError(f"{shown}: a shape that cannot be ({shortened(str(shape))})")
    dtype = np.dtype(np.lib.format.descr_to_dtype(said["descr"]))
    if dtype.itemsize == 0:
        raise NpzError(f"{shown}: entries of no size")
    return shape, bool(said["fortran_order"]), dtype
