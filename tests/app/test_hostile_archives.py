"""Archives that lie: one line each, no memory taken, by every reader of arrays."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bodycast.app.errors import UsageError
from bodycast.app.files.motion_file import ROW, motion_from_rows, read_motion, write_motion
from bodycast.hmr.body.body_files import BodyFileError, load_body_arrays
from bodycast.npz import NpzError, map_npy, read_npy, read_npz
from tests.sinks.results import META


def npy(shape: object, body: bytes, descr: object = "<f4") -> bytes:
    text = repr({"descr": descr, "fortran_order": False, "shape": shape}).encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + body


def archive(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytearray:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as written:
        for name, content in members.items():
            written.writestr(name, content)
    return bytearray(stream.getvalue())


def damaged_deflate() -> bytearray:
    content = archive({"a.npy": npy((1000,), np.random.default_rng(0).bytes(4000))}, zipfile.ZIP_DEFLATED)
    content[1000:1100] = bytes(100)
    return content


def patched(offset: int, value: bytes) -> bytearray:
    """One field of the central directory's entry changed, and where the local header has it, there too."""
    content = archive({"a.npy": npy((4,), bytes(16))})
    at = content.index(b"PK\x01\x02")
    content[at + offset : at + offset + len(value)] = value
    content[offset - 2 : offset - 2 + len(value)] = value
    return content


def twice() -> bytearray:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as written:
        written.writestr("a.npy", npy((4,), bytes(16)))
        with pytest.warns(UserWarning):
            written.writestr("a.npy", npy((4,), bytes(16)))
    return bytearray(stream.getvalue())


HOSTILE: dict[str, tuple[Callable[[], bytes | bytearray], str]] = {
    "damaged": (damaged_deflate, "damaged"),
    "method": (lambda: patched(10, struct.pack("<H", 97)), "compression method 97"),
    "encrypted": (lambda: patched(8, struct.pack("<H", 1)), "encrypted"),
    "size": (lambda: patched(24, struct.pack("<I", 1 << 31)), "more than the file can hold"),
    "terabytes": (lambda: archive({"a.npy": npy((1 << 40,), bytes(64))}), "header claims 4398046511104"),
    "overflow": (lambda: archive({"a.npy": npy((1 << 62, 1 << 62, 4), bytes(64))}), "header claims"),
    "negative": (lambda: archive({"a.npy": npy((-1, 4), bytes(16))}), "shape that cannot be"),
    "axes": (lambda: archive({"a.npy": npy((1,) * 17, bytes(4))}), "shape that cannot be"),
    "no array": (lambda: archive({"a.npy": b"hello"}), "not an array"),
    "text": (lambda: archive({"a.npy": b"\x93NUMPY\x01\x00\x05\x00" + b"((((("}), "damaged"),
    "deep": (lambda: archive({"a.npy": b"\x93NUMPY\x01\x00\x00\x10" + b"(" * 4096}), "damaged"),
    "long header": (lambda: archive({"a.npy": b"\x93NUMPY\x02\x00" + struct.pack("<I", 1 << 30)}), "header of"),
    "objects": (lambda: archive({"a.npy": npy((1,), b"\x80\x04N.", "|O")}), "Python objects"),
    "no size": (lambda: archive({"a.npy": npy((1 << 60,), b"", "|V0")}), "no size"),
    "twice": (twice, "there twice"),
    "bomb": (lambda: archive({"a.npy": npy((130 << 20,), bytes(520 << 20))}, zipfile.ZIP_DEFLATED), "no file of ours"),
    "no text": (lambda: archive({"meta.npy": npy((), b"\xff" * 8, "<U2")}), "text that is none"),
    "no text, swapped": (lambda: archive({"meta.npy": npy((2,), b"\x7f" * 16, ">U2")}), "text that is none"),
    "short": (lambda: archive({"a.npy": npy((4,), bytes(16))})[:-30], "not a readable"),
    "nothing": (lambda: b"", "not a readable"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_an_archive_that_lies_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    make, said = HOSTILE[name]
    path = tmp_path / "file.npz"
    path.write_bytes(make())
    with pytest.raises(NpzError, match=said) as caught:
        read_npz(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300
    with pytest.raises(UsageError) as told:
        read_motion(path)
    assert "\n" not in str(told.value)
    with pytest.raises(BodyFileError):
        load_body_arrays(path)


def test_what_numpy_writes_is_read(tmp_path: Path) -> None:
    content = {
        "a": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
        "fortran": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "empty": np.zeros((0, 3)),
        "number": np.array(2.5),
        "text": np.array("déjà vu"),
        "swapped text": np.array(["\U0001f600", "é"]).astype(">U2"),
        "no text": np.array([], "<U3"),
        "records": np.zeros(3, [("x", np.int32), ("y", np.float64, 2)]),
    }
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "file.npz", **content)
        read = read_npz(tmp_path / "file.npz")
        assert set(read) == set(content)
        for name, array in content.items():
            np.testing.assert_array_equal(read[name], array)
            assert (read[name].dtype, read[name].shape) == (array.dtype, array.shape)
        assert set(read_npz(tmp_path / "file.npz", ["a", "missing"])) == {"a"}


LYING_ARRAYS: dict[str, tuple[Callable[[], bytes], str]] = {
    "terabytes": (lambda: npy((1 << 40,), bytes(64)), "header claims 4398046511104"),
    "too short": (lambda: npy((4, 4), bytes(16)), "header claims 64 bytes, the file holds 16"),
    "too long": (lambda: npy((4,), bytes(64)), "header claims 16 bytes, the file holds 64"),
    "objects": (lambda: npy((1,), b"\x80\x04N.", "|O"), "Python objects"),
    "no array": (lambda: b"hello", "not an array"),
    "text": (lambda: b"\x93NUMPY\x01\x00\x05\x00(((((", "damaged"),
}


@pytest.mark.parametrize("name", LYING_ARRAYS)
def test_a_lying_array_is_refused_and_not_made_longer(tmp_path: Path, name: str) -> None:
    make, said = LYING_ARRAYS[name]
    path = tmp_path / "pixels.npy"
    path.write_bytes(make())
    for read in (read_npy, map_npy, lambda file: map_npy(file, "r+")):
        with pytest.raises(NpzError, match=said) as caught:
            read(path)
        assert "\n" not in str(caught.value)
    assert path.read_bytes() == make()


def test_arrays_are_read_mapped_and_changed_in_place(tmp_path: Path) -> None:
    for array in (np.arange(24.0).reshape(2, 3, 4), np.asfortranarray(np.arange(6).reshape(2, 3)), np.zeros((0, 3))):
        path = tmp_path / "a.npy"
        np.save(path, array)
        np.testing.assert_array_equal(read_npy(path), array)
        np.testing.assert_array_equal(map_npy(path), array)
    np.save(path, np.zeros(3))
    map_npy(path, "r+")[1] = 5
    np.testing.assert_array_equal(np.load(path), [0, 5, 0])
    with pytest.raises(FileNotFoundError, match="no such file"):
        map_npy(tmp_path / "none.npy")


DEEP = "[" * 100_000
DIGITS = '{"a": ' + "9" * 10_000 + "}"


@pytest.mark.parametrize("text", [DEEP, DIGITS], ids=["deep", "digits"])
def test_json_that_no_reader_takes_is_one_line(tmp_path: Path, text: str) -> None:
    """Nested beyond Python's stack, or a number that it does not convert: neither is a JSONDecodeError."""
    from bodycast.app.files.motion_parts import read_parts
    from bodycast.engines.plans import PlanError, read_record

    path = tmp_path / "m.npz"
    write_motion(path, motion_from_rows(np.zeros(0, ROW), 500.0, (640, 480), 30.0, META))
    with np.load(path) as stored:
        content = dict(stored)
    np.savez(path, **{**content, "meta": np.array(text)})
    (tmp_path / "head.json").write_text(text)
    for read, said in ((read_motion, UsageError), (read_record, PlanError)):
        with pytest.raises(said) as caught:
            read(path if said is UsageError else tmp_path / "head.json")
        assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="no motion that can be recovered"):
        read_parts(tmp_path)
