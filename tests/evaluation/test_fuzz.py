"""A minute of damaged files for every reader: each is read, or refused in one line."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from evaluation.fuzz import file_of, fuzz, mutated
from evaluation.fuzz_seeds import READERS, Reader, make_seeds

SECONDS = 60.0

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="limits of processes are POSIX")


def test_a_minute_of_damaged_files_finds_nothing() -> None:
    found = fuzz(SECONDS, seed=1)
    assert found.strays == []
    assert found.files > 10 * len(READERS)
    assert 0 < found.refused < found.files, "all read or all refused: the damage misses its mark"
    assert found.peak_mb < 1024


def test_every_seed_is_read_as_it_is(tmp_path: Path) -> None:
    seeds = make_seeds()
    assert set(seeds) == {reader.name for reader in READERS}
    for reader in READERS:
        if reader.name == "golden":
            continue  # of one package, whichever is first
        for content in seeds[reader.name]:
            path = tmp_path / f"file{reader.suffix}"
            path.write_bytes(content)
            assert reader.outcome(path) == "read", reader.name


def test_what_is_no_refusal_of_ours_is_a_stray(tmp_path: Path) -> None:
    def broken(path: Path) -> None:
        raise KeyError(path.name)

    assert Reader("broken", ".bin", broken).outcome(tmp_path / "x.bin").startswith("KeyError")


def test_a_file_is_made_again_from_its_numbers() -> None:
    seeds = {"plain": [bytes(range(256)) * 4]}
    reader = Reader("plain", ".bin", lambda _: None)
    assert file_of(reader, seeds, 3, 7) == file_of(reader, seeds, 3, 7) != file_of(reader, seeds, 3, 8)
    assert mutated(b"", b"x", np.random.default_rng(0)) == b""
