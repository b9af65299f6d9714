"""Quaternions and kinematics of the senders against the project's own."""

from __future__ import annotations

import numpy as np

from bodycast.app.senders.skeleton import bones_in_world, matrices, quaternions, rest_offsets, t_pose
from bodycast.hmr.body.joints import PARENTS
from bodycast.hmr.geometry.rotations import axis_angle_to_matrix, matrix_to_quaternion, quaternion_to_matrix
from tests.sinks.results import embedded_body, pose_of


def turns(count: int) -> np.ndarray:
    """(N,3,3): small, large and half turns about every axis."""
    axes = np.random.default_rng(0).normal(size=(count, 3))
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    axes[:3], axes[3:6] = np.eye(3), -np.eye(3)
    angles = np.linspace(0, np.pi, count)
    angles[:6] = np.pi
    return np.concatenate([axis_angle_to_matrix(axes * angles[:, None]), np.eye(3)[None]])


def test_quaternions_are_the_project_s_with_w_last() -> None:
    rotations = turns(200)
    found = quaternions(rotations)
    expected = matrix_to_quaternion(rotations)[:, [1, 2, 3, 0]]
    same = np.sign((found * expected).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(found * same, expected, atol=1e-7)
    np.testing.assert_allclose(matrices(found), rotations, atol=1e-12)
    np.testing.assert_allclose(matrices(found), quaternion_to_matrix(found[:, [3, 0, 1, 2]]), atol=1e-12)


def test_bones_in_the_world_are_those_of_the_body() -> None:
    pose = pose_of(3, 1.7).astype(np.float64)
    joints = embedded_body()(pose[None].astype(np.float32), np.zeros((1, 10), np.float32), np.zeros((1, 3), np.float32))
    offsets = rest_offsets(pose, joints.joints[0].astype(np.float64))
    offsets[0] = joints.joints[0, 0]
    rotations, places = bones_in_world(pose[:22], offsets[:22])
    np.testing.assert_allclose(places, joints.joints[0, :22], atol=1e-5)
    np.testing.assert_allclose(rotations[20], rotations[18] @ pose[20], atol=1e-12)


def test_a_t_pose_of_drooping_arms_and_splayed_legs_is_straight_and_as_long() -> None:
    rest = embedded_body()(
        np.tile(np.eye(3, dtype=np.float32), (1, 24, 1, 1)), np.zeros((1, 10), np.float32), np.zeros((1, 3), np.float32)
    ).joints[0]
    offsets = rest_offsets(np.broadcast_to(np.eye(3), (24, 3, 3)), rest.astype(np.float64))
    droop = axis_angle_to_matrix(np.array([[0.1, 0.2, -0.6], [0.0, 0.1, 0.4]])).astype(np.float64)
    bent = offsets.copy()
    bent[[18, 20, 22]] = offsets[[18, 20, 22]] @ droop[0].T
    bent[[4, 7]] = offsets[[4, 7]] @ droop[1].T
    straight = t_pose(bent)
    for joint, direction in ((18, (1, 0, 0)), (20, (1, 0, 0)), (4, (0, -1, 0)), (7, (0, -1, 0))):
        length = np.linalg.norm(bent[joint])
        np.testing.assert_allclose(straight.offsets_m[joint], length * np.array(direction), atol=1e-9)
        np.testing.assert_allclose(straight.turns[PARENTS[joint]] @ straight.offsets_m[joint], bent[joint], atol=1e-9)
    assert 0.8 < straight.hips_m < 1.2
