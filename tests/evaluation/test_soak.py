"""Long runs and killed ones, in small."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

from evaluation.soak import LONGEST_S, Soaked, kill_one, soak

pytest.importorskip("onnx", reason="tiny packages are written with onnx")

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read in /proc")
WIDTH = 160


@pytest.fixture(scope="module")
def flags(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Flags of a run with networks of a few nodes."""
    from tests.tiny_packages import detector_package, hmr_package

    folder = tmp_path_factory.mktemp("packages")
    network = hmr_package(folder / "tiny", camera=(0.9, 0.0, 0.0)).folder
    boxes = [[10, 5, 30, 60], [60, 8, 80, 58], [0, 0, 1, 1]]
    detector = detector_package(folder / "detector", boxes, [1.0, 1.0, 0.0]).folder
    return ["--model", str(network), "--detector", str(detector), "--engine", "onnxruntime", "--renderer", "cpu"]


def test_a_killed_run_loses_two_seconds_at_most(tmp_path: Path, flags: list[str]) -> None:
    found = kill_one(tmp_path, flags, WIDTH, 2.5, rate=10)
    assert found.ok, found
    assert min(found.motion_frames, found.film_frames) > 5


@pytest.mark.slow
def test_ten_killed_runs(tmp_path: Path, flags: list[str]) -> None:
    moments = random.Random(1)
    for number in range(10):
        folder = tmp_path / str(number)
        folder.mkdir()
        found = kill_one(folder, flags, WIDTH, moments.uniform(0.1, LONGEST_S), rate=10)
        assert found.ok, found


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="named pipes are POSIX")
def test_memory_is_flat_and_no_frame_is_lost(tmp_path: Path, flags: list[str]) -> None:
    found = soak(tmp_path, [*flags, "--draw", "skeleton", "--max-people", "1"], WIDTH, 12_000, None, 6_000)
    assert found.ok, found


def test_what_grows_or_loses_frames_fails() -> None:
    assert Soaked(10_000, 1.0, 200.0, 209.0, 10_000, 10_000, 0).ok
    assert not Soaked(10_000, 1.0, 200.0, 211.0, 10_000, 10_000, 0).ok
    assert not Soaked(10_000, 1.0, 200.0, 200.0, 9_999, 10_000, 0).ok
    assert not Soaked(10_000, 1.0, 200.0, 200.0, 10_000, 10_000, 1).ok
