"""Pickles that would crash, hang or fill the memory of a reader are refused in one line, at once."""

from __future__ import annotations

import pickle
import resource
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

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


HOSTILE = {
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
