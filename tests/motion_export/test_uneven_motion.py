"""Motion with gaps, pauses, one frame, or times and rates that cannot be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bodycast.app.errors import UsageError
from bodycast.app.files import export_motion
from bodycast.app.files.person_motion import clip_start_s, people_in_world
from bodycast.hmr.body.joints import JOINT_NAMES
from tests.motion_export.recordings import FPS, read_bvh, record, world_joints

MILLIMETRE = 1e-3


def test_gaps_and_uneven_times_are_filled_at_a_steady_rate(tmp_path: Path) -> None:
    times = [index / FPS for index in range(31) if index not in (7, 8, 20)]
    record(tmp_path / "motion.npz", times, {1: range(31)})
    (path,) = export_motion(tmp_path / "motion.npz", tmp_path / "out.bvh")
    places, _ = read_bvh(path)
    whole = record(tmp_path / "whole.npz", [index / FPS for index in range(31)], {1: range(31)})
    truth = world_joints(whole, 1)
    got = np.stack([places[name] for name in JOINT_NAMES], axis=1)
    assert got.shape == truth.shape
    error = np.abs(got - truth).max(axis=(1, 2))
    gap = [7, 8, 20]
    assert np.delete(error, gap).max() < MILLIMETRE
    assert error[gap].max() < 20 * MILLIMETRE  # interpolated, close to the truth


def test_a_single_frame_can_be_exported(tmp_path: Path) -> None:
    record(tmp_path / "motion.npz", [0.0], {1: range(1)})
    for suffix in (".bvh", ".glb", ".csv", ".npz"):
        (path,) = export_motion(tmp_path / "motion.npz", tmp_path / f"out{suffix}")
        assert path.stat().st_size > 0


def test_all_exports_start_with_the_first_frame_whoever_is_in_it(tmp_path: Path) -> None:
    """Live time stamps of a camera that slows down: the first frame's own time counts, not frame number by rate."""
    times = [1000.0, 1000.5, *(1001.0 + index / FPS for index in range(10))]
    late = record(tmp_path / "motion.npz", times, {1: range(4, 12), 2: range(6, 12)})
    assert late.start_s == 1000.0
    person = people_in_world(late, [1])[0]
    assert clip_start_s(late) == clip_start_s(late.of_person(2)) == 1000.0
    assert len(person.from_time(clip_start_s(late)).at_steady_rate(FPS)) == round((times[-1] - 1000.0) * FPS) + 1


def test_over_a_pause_the_last_pose_is_held(tmp_path: Path) -> None:
    times = [index / FPS for index in range(6)] + [4 + index / FPS for index in range(6)]
    person = people_in_world(record(tmp_path / "motion.npz", times, {1: range(12)}), [1])[0]
    steady = person.at_steady_rate(FPS)
    in_pause = (steady.time_s > times[5] + 1e-6) & (steady.time_s < 4 - 1 / FPS)
    assert in_pause.sum() > 100
    np.testing.assert_allclose(steady.root_m[in_pause], np.tile(person.root_m[5], (in_pause.sum(), 1)), atol=1e-9)
    np.testing.assert_allclose(steady.root_m[-1], person.root_m[-1], atol=1e-6)


@pytest.mark.parametrize(("times", "said"), [([0.0, 1e12], "spans"), ([0.0, 2.6e6], "spans")])
def test_absurd_times_are_refused_by_name(tmp_path: Path, times: list[float], said: str) -> None:
    path = tmp_path / "motion.npz"
    record(path, [0.0, 0.1], {1: range(2)})
    with np.load(path) as stored:
        content = dict(stored)
    content["time_s"] = np.array(times)
    np.savez(path, **content)
    with pytest.raises(UsageError, match=f"time_s.*{said}"):
        export_motion(path, tmp_path / "out.bvh")


@pytest.mark.parametrize("fps", [1e-3, 1e9])
def test_an_absurd_rate_is_refused_by_name(tmp_path: Path, fps: float) -> None:
    path = tmp_path / "motion.npz"
    record(path, [0.0, 1000.0], {1: range(2)})
    with np.load(path) as stored:
        content = {**stored, "fps": np.array(fps)}
    np.savez(path, **content)
    with pytest.raises(UsageError, match="fps"):
        export_motion(path, tmp_path / "out.bvh")
