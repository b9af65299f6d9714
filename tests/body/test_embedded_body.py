"""The embedded body is what it claims to be: SMPL's layout, a T-pose, people of plausible size, symmetric."""

from __future__ import annotations

import numpy as np
import pytest

from bodycast.hmr.body.body_files import NUM_POSE_FEATURES
from bodycast.hmr.body.body_model import EMBEDDED_BODY, BodyModel, mirror_pose
from bodycast.hmr.body.joints import MIRROR, NUM_JOINTS, Joint
from bodycast.hmr.geometry.rotations import axis_angle_to_matrix

FLIP = np.array([-1.0, 1.0, 1.0], dtype=np.float32)


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return BodyModel.load()


def random_people(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    pose = axis_angle_to_matrix(generator.normal(0.0, 0.4, (count, NUM_JOINTS, 3))).astype(np.float32)
    betas = generator.normal(size=(count, 10)).astype(np.float32)
    return pose, betas, generator.normal(size=(count, 3)).astype(np.float32)


def test_file_has_smpls_layout():
    with np.load(EMBEDDED_BODY, allow_pickle=False) as archive:
        count = len(archive["v_template"])
        assert count <= 7000
        assert archive["shapedirs"].shape == (count, 3, 10)
        assert archive["posedirs"].shape == (count, 3, NUM_POSE_FEATURES)
        assert archive["J_regressor"].shape == (NUM_JOINTS, count)
        assert archive["weights"].shape == (count, NUM_JOINTS)
        assert archive["kintree_table"].shape == (2, NUM_JOINTS)
        assert archive["f"].max() == count - 1
    assert EMBEDDED_BODY.stat().st_size < 4_000_000
    assert (EMBEDDED_BODY.parent / "LICENCE.md").is_file()


def test_weights_and_regressor_are_affine(body: BodyModel):
    assert np.allclose(body.weights.sum(axis=1), 1.0, atol=1e-6)
    assert body.weights.min() >= 0.0
    assert (body.weights > 0).sum(axis=1).max() <= 4
    assert np.allclose(body.arrays.J_regressor.sum(axis=1), 1.0, atol=1e-5)
    assert (body.arrays.J_regressor != 0).sum(axis=1).max() <= 400


def test_every_joint_moves_some_skin(body: BodyModel):
    assert (body.weights.max(axis=0) > 0.4).all()


@pytest.mark.parametrize("component", range(10))
@pytest.mark.parametrize("beta", [-2.0, 2.0])
def test_heights_are_those_of_adults(body: BodyModel, component: int, beta: float):
    betas = np.zeros((1, 10), dtype=np.float32)
    betas[0, component] = beta
    height_m = np.ptp(body.rest_vertices(betas)[0, :, 1])
    assert 1.4 < height_m < 2.1


def test_random_people_have_plausible_heights_and_pelvises_at_the_origin(body: BodyModel):
    _, betas, _ = random_people(200)
    heights_m = np.ptp(body.rest_vertices(betas)[:, :, 1], axis=1)
    assert 1.62 < heights_m.mean() < 1.76
    assert 0.06 < heights_m.std() < 0.13
    assert np.abs(body.joints(betas)[:, Joint.PELVIS]).max() < 1e-5


def test_rest_pose_is_a_t_pose(body: BodyModel):
    _, betas, _ = random_people(20)
    joints = body.joints(betas)
    for side, sign in (("LEFT", 1.0), ("RIGHT", -1.0)):
        shoulder, elbow, wrist = (joints[:, Joint[f"{side}_{name}"]] for name in ("SHOULDER", "ELBOW", "WRIST"))
        for limb in (elbow - shoulder, wrist - elbow):
            along = limb / np.linalg.norm(limb, axis=1, keepdims=True)
            assert (along[:, 0] * sign > np.cos(np.deg2rad(2.0))).all()
        hip, ankle = joints[:, Joint[f"{side}_HIP"]], joints[:, Joint[f"{side}_ANKLE"]]
        leg = (ankle - hip) / np.linalg.norm(ankle - hip, axis=1, keepdims=True)
        assert (leg[:, 1] < -np.cos(np.deg2rad(5.0))).all()
        foot = joints[:, Joint[f"{side}_FOOT"]] - ankle
        assert (foot[:, 2] > 0.08).all()  # toes forwards, +z
    assert (joints[:, Joint.HEAD, 1] > joints[:, Joint.NECK, 1]).all()


def test_palms_look_down(body: BodyModel):
    """The hand is flat: much thinner in y than in z, and the thumb side is in front of the wrist."""
    rest = body.rest_vertices(np.zeros((1, 10)))[0]
    hand = rest[body.weights[:, Joint.LEFT_HAND] > 0.5]
    assert np.ptp(hand[:, 1]) < 0.6 * np.ptp(hand[:, 2])
    palm = rest[body.weights[:, Joint.LEFT_WRIST] > 0.9]  # holds the thumb
    wrist = body.joints(np.zeros((1, 10)))[0, Joint.LEFT_WRIST]
    assert palm[:, 2].max() - wrist[2] > 1.5 * (wrist[2] - palm[:, 2].min())


def test_faces_look_outwards_and_enclose_a_human_volume(body: BodyModel):
    corners = body.arrays.v_template[body.faces].astype(np.float64)
    volume_m3 = np.einsum("fi,fi->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) / 6.0
    assert 0.05 < volume_m3 < 0.09


def test_body_is_mirror_symmetric_in_every_shape(body: BodyModel):
    with np.load(EMBEDDED_BODY) as archive:
        twin = archive["mirror_vertex"]
    _, betas, _ = random_people(5)
    rest = body.rest_vertices(betas)
    assert np.abs(rest[:, twin] * FLIP - rest).max() < 1e-5
    assert np.abs(body.weights[twin][:, MIRROR] - body.weights).max() < 1e-6
    joints = body.joints(betas)
    assert np.abs(joints[:, MIRROR] * FLIP - joints).max() < 1e-5


def test_mirrored_pose_gives_the_mirrored_body(body: BodyModel):
    with np.load(EMBEDDED_BODY) as archive:
        twin = archive["mirror_vertex"]
    pose, betas, transl = random_people(4)
    here = body(pose, betas, transl)
    there = body(mirror_pose(pose), betas, transl * FLIP)
    assert np.abs(there.vertices[:, twin] * FLIP - here.vertices).max() < 1e-4
    assert np.abs(there.joints[:, MIRROR] * FLIP - here.joints).max() < 1e-5
    assert np.array_equal(mirror_pose(mirror_pose(pose)), pose)


def test_limbs_keep_their_volume_when_they_bend(body: BodyModel):
    """No candy wrappers: the elbow bent by 90 degrees, the arms brought down, keep most of the body's volume."""
    rest = np.zeros((NUM_JOINTS, 3))
    bent = rest.copy()
    bent[Joint.LEFT_ELBOW] = [0.0, -np.pi / 2, 0.0]
    bent[Joint.RIGHT_ELBOW] = [0.0, np.pi / 2, 0.0]
    bent[Joint.LEFT_SHOULDER] = [0.0, 0.0, -1.2]
    bent[Joint.RIGHT_SHOULDER] = [0.0, 0.0, 1.2]
    bent[Joint.LEFT_KNEE] = bent[Joint.RIGHT_KNEE] = [np.pi / 2, 0.0, 0.0]
    pose = axis_angle_to_matrix(np.stack([rest, bent])).astype(np.float32)
    vertices = body(pose, np.zeros((2, 10)), np.zeros((2, 3))).vertices.astype(np.float64)
    corners = vertices[:, body.faces]
    volumes = np.einsum("nfi,nfi->n", corners[:, :, 0], np.cross(corners[:, :, 1], corners[:, :, 2])) / 6.0
    assert 0.93 < volumes[1] / volumes[0] < 1.07
