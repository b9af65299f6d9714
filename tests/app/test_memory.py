"""Memory of a worker and of a run: threads that come and go share heaps, and what is free is given back."""

from __future__ import annotations

import os
import subprocess
import sys
import weakref
from pathlib import Path
from types import SimpleNamespace

import pytest

from bodycast.app import memory
from evaluation.batch_holds import memory_is_flat

REPOSITORY = Path(__file__).resolve().parents[2]
THREADS = 24
PROGRAM = f"""
import os, sys, threading
from bodycast.app import memory
from evaluation.batch_holds import memory_is_flat
if sys.argv[1] == "shared":
    memory.share_heaps()
kept = threading.Barrier({THREADS})
def work():
    kept.wait()
    blocks = [bytearray(60_000) for _ in range(50)]
    blocks.clear()
    kept.wait()  # so that each has a heap of its own, as long as it may
for _ in range(3):
    threads = [threading.Thread(target=work) for _ in range({THREADS})]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
maps = open("/proc/self/maps").read().splitlines()
# glibc's further heaps begin at multiples of 64 MB.
print(sum(int(line.split("-")[0], 16) % (1 << 26) == 0 and " rw-p " in line for line in maps))
"""


@pytest.mark.skipif(memory._glibc() is None or (os.cpu_count() or 1) < 2, reason="glibc's heaps")
def test_threads_of_a_worker_share_heaps() -> None:
    counts = [
        int(
            subprocess.run([sys.executable, "-c", PROGRAM, how], cwd=REPOSITORY, capture_output=True, check=True).stdout
        )
        for how in ("shared", "own")
    ]
    assert counts[0] < memory.ARENAS < counts[1]


@pytest.mark.skipif(memory._glibc() is None, reason="glibc's heaps")
def test_free_memory_is_given_back() -> None:
    def resident_mb() -> float:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

    blocks = [bytearray(50_000) for _ in range(2_000)]
    held = bytearray(50_000)  # above them: a heap does not shrink by itself
    before = resident_mb()
    blocks.clear()
    memory.GivesBack()()
    assert len(held) == 50_000 and resident_mb() < before - 50


def test_a_film_in_a_cycle_of_references_is_let_go() -> None:
    class Film:
        pass

    film = Film()
    film.itself = film  # type: ignore[attr-defined]
    known = weakref.ref(film)
    del film
    memory.GivesBack()()
    assert known() is None


def test_elsewhere_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_glibc", lambda: None)
    memory.share_heaps()
    memory.GivesBack()()


def test_it_is_not_done_after_every_short_film(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[float] = []
    now = [10.0]
    monkeypatch.setattr(memory, "_give_back", lambda: done.append(now[0]))
    gives_back = memory.GivesBack(lambda: now[0])
    for now[0] in (10.0, 11.0, 14.9, 15.0, 16.0, 40.0):
        gives_back()
    assert done == [10.0, 15.0, 40.0]


def test_a_run_gives_back_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[float] = []
    now = [0.0]
    library = SimpleNamespace(malloc_trim=lambda _: done.append(now[0]))
    monkeypatch.setattr(memory, "_glibc", lambda: library)
    trims = memory.Trims(lambda: now[0])
    for now[0] in (1.0, 59.0, 60.0, 61.0, 121.0):
        trims()
    assert done == [60.0, 121.0]


def test_the_evaluation_tells_memory_that_grows(capsys: pytest.CaptureFixture[str]) -> None:
    films = range(0, 200)
    steady = [(done, 300.0 + 10 * (done % 3)) for done in films]
    grows = [(done, 300.0 + done) for done in films]
    assert memory_is_flat({1: steady}, workers=2)
    assert not memory_is_flat({1: steady, 2: grows}, workers=2)
    assert memory_is_flat({3: grows[:40]}, workers=2), "too short to say"
    said = capsys.readouterr().out.splitlines()
    assert said[0].endswith("(+0.0%): flat") and said[2].endswith("it GROWS") and "median" not in said[3]
