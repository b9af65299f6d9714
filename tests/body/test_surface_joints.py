"""Face and foot points of the embedded body: where they lie, and that they move with the body."""

from __future__ import annotations

import numpy as np
import pytest

from bodycast.hmr.body.body_files import BodyArrays
from bodycast.hmr.body.body_model import EMBEDDED_BODY, BodyModel, mirror_pose
from bodycast.hmr.body.joints import Joint
from bodycast.hmr.body.surface_joints import (
    COCO_FROM_POINTS,
    COCO_JOINT_NAMES,
    MEDIAPIPE_FROM_POINTS,
    POINT_NAMES,
    SURFACE_JOINT_NAMES,
    SURFACE_VERTICES,
    body_points,
    surface_joints,
)
from bodycast.hmr.geometry.rotations import axis_angle_to_matrix

LEFT_RIGHT = [(n, n.replace("left", "right")) for n in SURFACE_JOINT_NAMES if n.startswith("left")]


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return BodyModel.load()


def rest(body: BodyModel, betas: np.ndarray) -> dict[str, np.ndarray]:
    pose = np.tile(np.eye(3, dtype=np.float32), (len(betas), 24, 1, 1))
    posed = body(pose, betas, np.zeros((len(betas), 3)))
    points = body_points(body, posed.vertices, posed.joints)
    return {name: points[:, index] for index, name in enumerate(POINT_NAMES)}


def test_points_lie_where_their_names_say(body: BodyModel) -> None:
    betas = np.concatenate([np.zeros((1, 10)), np.random.default_rng(0).normal(size=(20, 10))])
    p = rest(body, betas)
    head, ankle, foot = p["head"], p["left_ankle"], p["left_foot"]
    # The person faces +z, left is +x, y is up; metres.
    assert np.all(p["nose"][:, 2] > p["left_eye"][:, 2]) and np.all(p["left_eye"][:, 2] > p["left_ear"][:, 2])
    assert np.all(np.abs(p["nose"][:, 0]) < 1e-3)
    assert np.all(p["left_eye"][:, 1] > p["nose"][:, 1] + 0.02)
    eye_distance = p["left_eye"][:, 0] - p["right_eye"][:, 0]
    assert np.all((eye_distance > 0.05) & (eye_distance < 0.08))
    ear_distance = p["left_ear"][:, 0] - p["right_ear"][:, 0]
    assert np.all((ear_distance > 0.11) & (ear_distance < 0.19))
    assert np.all(np.linalg.norm(p["left_ear"] - head, axis=1) < 0.12)
    assert np.all(p["left_heel"][:, 2] < ankle[:, 2]) and np.all(p["left_big_toe"][:, 2] > foot[:, 2])
    assert np.all(p["left_small_toe"][:, 0] > p["left_big_toe"][:, 0] + 0.03)
    assert np.all(np.abs(p["left_heel"][:, 1] - p["left_big_toe"][:, 1]) < 0.04)


def test_points_are_mirror_symmetric(body: BodyModel) -> None:
    rng = np.random.default_rng(1)
    pose = axis_angle_to_matrix(rng.normal(scale=0.4, size=(1, 24, 3))).astype(np.float32)
    still = np.zeros((1, 3))
    once = body(pose, np.ones((1, 10)), still)
    twice = body(mirror_pose(pose), np.ones((1, 10)), still)
    a, b = surface_joints(body, once.vertices)[0], surface_joints(body, twice.vertices)[0]
    for left, right in LEFT_RIGHT:
        i, j = SURFACE_JOINT_NAMES.index(left), SURFACE_JOINT_NAMES.index(right)
        np.testing.assert_allclose(a[i] * [-1, 1, 1], b[j], atol=1e-4)


def test_tables_of_other_joint_sets_point_at_the_same_names() -> None:
    assert [POINT_NAMES[i] for i in COCO_FROM_POINTS] == list(COCO_JOINT_NAMES)
    assert POINT_NAMES[: len(Joint)] == tuple(joint.name.lower() for joint in Joint)
    assert POINT_NAMES[MEDIAPIPE_FROM_POINTS[28]] == "right_ankle"
    for table in SURFACE_VERTICES.values():
        assert set(table) == set(SURFACE_JOINT_NAMES)


def test_an_unknown_body_is_refused_by_name(body: BodyModel) -> None:
    arrays = BodyArrays(**{**vars(body.arrays), "name": "somebody"})
    other = BodyModel.from_arrays(arrays)
    with pytest.raises(ValueError, match="'somebody' has no table"):
        surface_joints(other, np.zeros((1, body.vertex_count, 3), np.float32))
    assert EMBEDDED_BODY.stem in SURFACE_VERTICES
