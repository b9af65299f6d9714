"""Motion files whose times, counts or people cannot be: one line, at once, little memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bodycast.app.errors import UsageError
from bodycast.app.files import export_motion
from bodycast.app.files.motion_file import ROW, Motion, motion_from_rows, read_motion, write_motion
from bodycast.app.files.person_motion import MOST_HELD
from bodycast.npz import MOST_BYTES
from tests.sinks.results import META


def motion_at(times_s: list[float], people: int = 1) -> Motion:
    rows = np.zeros(len(times_s) * people, ROW)
    rows["frame"], rows["time_s"] = np.repeat(np.arange(len(times_s)), people), np.repeat(times_s, people)
    rows["person_id"] = np.tile(np.arange(1, people + 1), len(times_s))
    rows["joints_3d"] = np.random.default_rng(0).normal(size=(24, 3))
    return motion_from_rows(rows, 500.0, (640, 480), 30.0, META)


@pytest.mark.parametrize("suffix", [".bvh", ".trc", ".npz"])
@pytest.mark.parametrize(
    ("times_s", "people", "message"),
    [([0, 33_000, 33_001], 1, "3 frames over 3.3e"), ([0, 0.03, 3000], 20, "20 people of 1800020 frames")],
)
def test_a_few_rows_far_apart_are_no_motion(
    tmp_path: Path, suffix: str, times_s: list[float], people: int, message: str
) -> None:
    write_motion(tmp_path / "m.npz", motion_at(times_s, people))
    with pytest.raises(UsageError, match=message):
        export_motion(tmp_path / "m.npz", tmp_path / f"out{suffix}")
    assert [path.name for path in tmp_path.iterdir()] == ["m.npz"]


def test_a_long_pause_is_held_in_little_memory(tmp_path: Path) -> None:
    from bodycast.app.files.person_motion import people_in_world

    person = people_in_world(motion_at([0, 1 / 30, 600, 600 + 1 / 30]), [1])[0]
    tracemalloc.start()
    steady = person.at_steady_rate(30.0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(steady) == 18_002 < MOST_HELD
    assert peak < 2.5 * steady.rotations.nbytes + (30 << 20)
    np.testing.assert_allclose(steady.rotations[9000], person.rotations[1], atol=1e-9)


@pytest.mark.parametrize(("suffix", "people"), [(".glb", 301), (".csv", 5001)])
def test_too_many_people_at_once_are_refused(tmp_path: Path, suffix: str, people: int) -> None:
    write_motion(tmp_path / "m.npz", motion_at([0], people))
    with pytest.raises(UsageError, match=f"{people} people.*--person-id"):
        export_motion(tmp_path / "m.npz", tmp_path / f"out{suffix}")
    with pytest.raises(UsageError, match="no person 9999") as caught:
        export_motion(tmp_path / "m.npz", tmp_path / f"out{suffix}", person_id=9999)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("start_s", [-1e300, 1e300, 1e9])
def test_a_start_that_cannot_be_is_refused(tmp_path: Path, start_s: float) -> None:
    with pytest.raises(ValueError, match="start_s"):
        replace(motion_at([0, 1]), start_s=start_s)


def packed(path: Path, change: Callable[[dict[str, np.ndarray]], None]) -> None:
    write_motion(path, motion_at([0, 0.1]))
    with np.load(path) as archive:
        content = dict(archive)
    change(content)
    np.savez_compressed(path, **content)


def test_a_small_file_of_many_rows_is_refused_before_it_is_read(tmp_path: Path) -> None:
    rows = MOST_BYTES // ROW.itemsize + 1000

    def much(content: dict[str, np.ndarray]) -> None:
        for name, column in content.items():
            if column.ndim and len(column) == 2 and name != "image_wh":
                content[name] = np.zeros((rows, *column.shape[1:]), column.dtype)

    packed(tmp_path / "m.npz", much)
    assert (tmp_path / "m.npz").stat().st_size < 1 << 20
    with pytest.raises(UsageError, match="no file of ours"):
        read_motion(tmp_path / "m.npz")


def test_no_file_of_an_export_replaces_what_is_read(tmp_path: Path) -> None:
    """Of two people, the second file's name is the source's."""
    source = tmp_path / "out_person2.npz"
    write_motion(source, motion_at([0, 0.1], people=2))
    before = source.read_bytes()
    with pytest.raises(UsageError, match="would replace what it reads"):
        export_motion(source, tmp_path / "out.npz", overwrite=True)
    assert source.read_bytes() == before and len(list(tmp_path.iterdir())) == 1
    other = tmp_path / "motion.npz"
    other.hardlink_to(source)
    with pytest.raises(UsageError, match="would replace what it reads"):
        export_motion(other, tmp_path / "out.npz", overwrite=True)
