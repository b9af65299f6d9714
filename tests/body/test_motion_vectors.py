"""FastHMR's motion vectors: layout, and poses back from them."""

from __future__ import annotations

import numpy as np

from bodycast.hmr.body.body_model import BodyModel
from bodycast.hmr.body.motion_vectors import WIDTH, motion_vectors, poses_of_vectors, rest_joints_29
from bodycast.hmr.geometry.rotations import axis_angle_to_matrix, geodesic_distance


def poses(count: int, seed: int = 0) -> np.ndarray:
    turns = np.random.default_rng(seed).normal(0, 0.4, (count, 24, 3))
    turns[:, 0] *= 3
    return axis_angle_to_matrix(turns).astype(np.float32)


def test_the_joints_are_those_of_the_mean_body_seen_from_its_pelvis() -> None:
    pose = poses(5)
    found = motion_vectors(pose)
    assert found.shape == (5, WIDTH) and found.dtype == np.float32
    body = BodyModel.load()
    joints = body(pose, np.zeros((5, 10), np.float32), np.zeros((5, 3), np.float32)).joints
    np.testing.assert_allclose(found[:, :72].reshape(5, 24, 3), joints - joints[:, :1], atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(found[:, 87:].reshape(5, 23, 2), axis=-1), 1, atol=1e-4)


def test_poses_come_back() -> None:
    pose = poses(6, seed=1).reshape(2, 3, 24, 3, 3)
    again = poses_of_vectors(motion_vectors(pose))
    assert again.shape == pose.shape
    assert np.rad2deg(geodesic_distance(again, pose)).max() < 0.2


def test_longer_bones_are_aimed_along() -> None:
    pose = poses(4, seed=2)
    vectors = motion_vectors(pose)
    vectors[:, :87] *= 1.05
    assert np.rad2deg(geodesic_distance(poses_of_vectors(vectors), pose)).mean() < 2
    assert rest_joints_29().shape == (29, 3)
