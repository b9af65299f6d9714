"""Motion clips: AMASS files, other frame rates, mirrors, FastHMR's motion vector."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bodycast.hmr.body.inverse_kinematics import inverse_kinematics
from bodycast.hmr.body.motion_vectors import motion_vectors, rest_joints_29
from bodycast.hmr.geometry.rotations import axis_angle_to_matrix, geodesic_distance
from training.motion.data import (
    MotionClip,
    at_rate,
    load_clip,
    load_split,
    mirrored,
    plausible_runs,
    resample,
    reversed_in_time,
)


def swinging(frames: int = 61, fps: float = 30.0) -> MotionClip:
    """Every joint swings at 0.5 Hz about its own axis; the root goes round in a circle."""
    time_s = np.arange(frames) / fps
    axes = np.random.default_rng(0).normal(0, 0.3, (24, 3))
    pose = axis_angle_to_matrix(np.sin(np.pi * time_s)[:, None, None] * axes)
    transl = np.stack([np.cos(time_s), 1 + 0 * time_s, np.sin(time_s)], 1)
    return MotionClip(pose.astype(np.float32), transl.astype(np.float32), fps, "swing", np.ones(frames, bool))


def test_an_amass_file_stands_up(tmp_path: Path) -> None:
    poses = np.zeros((5, 156), np.float32)
    poses[:, 0] = np.pi / 2  # AMASS's z-up world: a person who stands is turned by 90 degrees about x
    path = tmp_path / "walk_poses.npz"
    np.savez(path, poses=poses, trans=np.tile([[0.0, 0.0, 0.9]], (5, 1)), mocap_framerate=np.float64(120))
    clip = load_clip(path)
    assert clip.fps == 120 and len(clip) == 5
    assert geodesic_distance(clip.pose[0, 0], np.eye(3, dtype=np.float32)) < 1e-3
    np.testing.assert_allclose(clip.transl_m[0], [0, 0.9, 0], atol=1e-6)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"poses": np.zeros((5, 156))}, "lacks trans, mocap_framerate"),
        ({"poses": np.zeros((5, 9)), "trans": np.zeros((5, 3)), "mocap_framerate": np.float64(30)}, r"\(5, 9\)"),
    ],
)
def test_another_npz_is_refused_by_what_it_lacks(tmp_path: Path, content: dict[str, np.ndarray], says: str) -> None:
    np.savez(tmp_path / "x.npz", **content)
    with pytest.raises(ValueError, match=says):
        load_clip(tmp_path / "x.npz")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.bvh: no such motion file"):
        load_clip(tmp_path / "none.bvh")


def test_resampling_at_the_own_times_changes_nothing_and_between_them_little() -> None:
    clip = swinging()
    same = resample(clip, np.arange(len(clip)) / clip.fps)
    np.testing.assert_allclose(same.pose, clip.pose, atol=1e-5)
    np.testing.assert_allclose(same.transl_m, clip.transl_m, atol=1e-6)
    twice = at_rate(clip, 60.0)
    truth = swinging(frames=len(twice), fps=60.0)
    assert len(twice) == 121 and twice.fps == pytest.approx(60, rel=1e-3)
    assert geodesic_distance(twice.pose, truth.pose).max() < 2e-3
    assert np.abs(twice.transl_m - truth.transl_m)[2:-2].max() < 1e-4


def test_mirror_and_reversal_undo_themselves() -> None:
    clip = swinging()
    for change in (mirrored, reversed_in_time):
        once, twice = change(clip), change(change(clip))
        assert np.abs(once.pose - clip.pose).max() > 0.1
        np.testing.assert_array_equal(twice.pose, clip.pose)
        np.testing.assert_array_equal(twice.transl_m, clip.transl_m)


def test_runs_leave_the_broken_frames_out() -> None:
    clip = swinging()
    broken = np.ones(len(clip), bool)
    broken[20:23] = False
    runs = plausible_runs(MotionClip(clip.pose, clip.transl_m, clip.fps, clip.name, broken), 25)
    assert [len(run) for run in runs] == [38]
    np.testing.assert_array_equal(runs[0].pose, clip.pose[23:])


def test_the_motion_vector_gives_the_pose_back() -> None:
    clip = swinging()
    frames = motion_vectors(clip.pose).astype(np.float64)
    assert frames.shape == (61, 133)
    rest = np.broadcast_to(rest_joints_29().astype(np.float64), (61, 29, 3))
    pose = inverse_kinematics(rest, frames[:, :87].reshape(-1, 29, 3), frames[:, 87:].reshape(-1, 23, 2))
    assert geodesic_distance(pose, clip.pose.astype(np.float64)).max() < 2e-3


def test_the_captured_clips_are_split_by_subject(shared_dir: Path) -> None:
    test = load_split(shared_dir / "data" / "mocap_cmu", "test", fps=15.0)
    assert {clip.name.split("_")[0] for clip in test} == {"02", "08", "10"}
    assert all(clip.fps == pytest.approx(15, rel=1e-3) for clip in test)
