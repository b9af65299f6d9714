"""Pickles that would crash, hang or fill the memory of a reader are refused in one line, at once."""

from __future__ import annotations

import pickle
import resource
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from bodycast.hmr.body import pickle_scan
from bodycast.hmr.body.safe_pickle import RefusedPickle, load_arrays_from_pickle, load_tree_from_pickle

REPOSITORY = Path(__file__).resolve().parents[2]


def deep(opening: bytes, closing: bytes, depth: int) -> bytes:
    return b"}(U\x01a" + opening * depth + closing * depth + b"u."


def shared_tuples(levels: int) -> bytes:
    """((((), ()), ((), ())), ...): each level twice the one before it, used as a key: hashing it never ends."""
    return b"})" + b"q\x00h\x00\x86" * levels + b"K\x01s."


def sparse(shape: object, starts: object) -> bytes:
    """A scipy matrix of one entry with another shape and other starts."""
    fields = {"_shape": shape, "starts": starts}
    body = pickle.dumps(fields, protocol=2)
    return b"\x80\x02}U\x01jcscipy.sparse.csc\ncsc_matrix\n)\x81" + body[2:-1] + b"bs."


def same_hash(count: int) -> bytes:
    """Keys that are multiples of 2^61 - 1, which Python's hash of whole numbers takes for 0."""
    keys = (index * ((1 << 61) - 1) for index in range(1, count))
    return b"\x80\x02}(" + b"".join(b"\x8a\x11" + key.to_bytes(17, "little") + b"N" for key in keys) + b"u."


def one_zero() -> bytes:
    """An array of a single 0, as a part of another pickle."""
    return pickle.dumps(np.zeros(1, np.int64), 0)[:-1].replace(b"p0\n", b"", 1)


def select_in_select(levels: int, end: bytes | None = None) -> bytes:
    """chumpy's Select of which array and indices are both the next one: 2^levels ways to the end."""
    select = b"cchumpy.reordering\nSelect\n)\x81"
    if end is None:
        made = b"".join(select + b"q%c0" % index for index in range(levels + 1))
        filled = b"".join(b"h%c}(U\x01ah%cU\x04idxsh%cub0" % (index, index + 1, index + 1) for index in range(levels))
        return b"\x80\x02" + made + filled + b"}U\nv_templateh\0s."
    chain = b"".join(select + b"}(U\x01ah\x01U\x04idxsh\x01ubq\x010" for _ in range(levels))
    return b"\x80\x02" + end + b"q\x010" + chain + b"}U\nv_templateh\x01s."


HOSTILE = {
    "keys of one hash": same_hash(40_000),
    "a key of a million digits": b"\x80\x02}\x8b" + struct.pack("<i", 500_000) + b"\x7f" * 500_000 + b"Ns.",
    "a key of a million digits, as text": b"}L" + b"9" * 1_000_000 + b"L\nNs.",
    "keys that are fractions": pickle.dumps({1.5: 0}, 2),
    "a chain without an end": select_in_select(60),
    "a chain of 2^18 ways": select_in_select(18, b"cchumpy.ch\nCh\n)\x81}U\x01x" + one_zero() + b"sb"),
    "attributes of a function": b"\x80\x02c_codecs\nencode\nN}U\x0c__defaults__)s\x86b.",
    "attributes of a class": b"\x80\x02cnumpy\nndarray\nN}U\x05statei1\ns\x86b.",
    "nested tuples": deep(b"", b"", 1)[:-2] + b")" + b"\x85" * 200_000 + b"u.",
    "nested lists": b"}U\x01a]" + b"]" * 100_000 + b"a" * 100_000 + b"s.",
    "shared tuples as a key": shared_tuples(60),
    "a place of the memo far away": b"\x80\x02}r\xff\xff\xff\x0b.",
    "a place of the memo far away, as text": b"}p268435455\n.",
    "bytes of a terabyte": b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b".",
    "text of gigabytes": b"\x80\x02}X" + struct.pack("<I", 1 << 31) + b"x.",
    "a frame of a terabyte": b"\x80\x04\x95" + struct.pack("<Q", 1 << 40) + b"}.",
    "a set": pickle.dumps({"a": {1, 2}}),
    "something persistent": b"}U\x01aPname\ns.",
    "an extension": b"}U\x01a\x82\x01s.",
    "a sparse matrix of absurd shape": sparse((1 << 20, 1 << 20), [0, 1]),
    "a sparse matrix of negative shape": sparse((-3, 4), [0, 1]),
    "a sparse matrix of broken shape": sparse((1.5, 2.5), [0, 1]),
    "nothing": b"",
    "values that are missing": b"}s.",
    "a mark alone": b"(.",
    "no end": b"}",
}


@pytest.mark.parametrize("load", [load_arrays_from_pickle, load_tree_from_pickle], ids=["arrays", "tree"])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pickles_are_refused_in_one_line(name: str, load: object) -> None:
    began = time.process_time()
    with pytest.raises(RefusedPickle) as caught:
        load(HOSTILE[name])  # type: ignore[operator]
    assert time.process_time() - began < 5
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


def test_more_operations_than_any_file_of_ours_has_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickle_scan, "MOST_OPERATIONS", 1000)
    for load in (load_arrays_from_pickle, load_tree_from_pickle):
        with pytest.raises(RefusedPickle, match="more than 1000 operations"):
            load(b"\x80\x02" + b"N0" * 1000 + b"}.")


def test_the_same_in_a_process_with_little_memory(tmp_path: Path) -> None:
    """No signal, and nobody asks for a gigabyte."""
    for row, content in enumerate(HOSTILE.values()):
        (tmp_path / f"{row}.pkl").write_bytes(content)
    program = (
        "import sys; from pathlib import Path\n"
        "from bodycast.hmr.body.safe_pickle import RefusedPickle, load_arrays_from_pickle\n"
        "for path in sorted(Path(sys.argv[1]).glob('*.pkl')):\n"
        "    try: load_arrays_from_pickle(path.read_bytes())\n"
        "    except RefusedPickle: continue\n"
        "    sys.exit(f'{path} was read')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], cwd=REPOSITORY, capture_output=True, text=True, timeout=120,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30)), check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-1000:]


def test_the_cases_that_were_reported(shared_dir: Path) -> None:
    folder = shared_dir / "cases" / "pickles"
    if not folder.is_dir():
        pytest.skip("../shared has no cases/pickles")
    for path in sorted(folder.glob("*.pkl")):
        with pytest.raises(RefusedPickle):
            load_arrays_from_pickle(path.read_bytes())
