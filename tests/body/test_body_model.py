"""Skinning: numpy against smplx and torch, forward kinematics by its axioms, shapes and empty batches."""

from __future__ import annotations

import pickle
import time
from pathlib import Path

import numpy as np
import pytest

from bodycast.hmr.body.body_files import BodyArrays
from bodycast.hmr.body.body_model import BodyModel, forward_kinematics, mirror_pose
from bodycast.hmr.body.joints import (
    HMR2_JOINT_NAMES,
    HMR2_MIRROR,
    JOINT_NAMES,
    MIRROR,
    NUM_JOINTS,
    OPENPOSE_FROM_SMPL,
    PARENTS,
    SMPL_VERTEX_JOINTS,
    Joint,
)
from bodycast.hmr.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle


def random_arrays(seed: int = 0, vertex_count: int = 60) -> BodyArrays:
    """A shapeless body with everything that SMPL has, pose correctives too."""
    generator = np.random.default_rng(seed)
    weights = generator.random((vertex_count, NUM_JOINTS)) ** 4
    regressor = generator.random((NUM_JOINTS, vertex_count)) ** 4
    return BodyArrays(
        name="random",
        v_template=generator.normal(size=(vertex_count, 3)).astype(np.float32),
        shapedirs=generator.normal(0, 0.1, (vertex_count, 3, 10)).astype(np.float32),
        posedirs=generator.normal(0, 0.05, (vertex_count, 3, 207)).astype(np.float32),
        J_regressor=(regressor / regressor.sum(axis=1, keepdims=True)).astype(np.float32),
        weights=(weights / weights.sum(axis=1, keepdims=True)).astype(np.float32),
        faces=generator.integers(0, vertex_count, (90, 3)).astype(np.int32),
        meta={},
    )


def random_inputs(count: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    pose = axis_angle_to_matrix(generator.normal(0.0, 0.7, (count, NUM_JOINTS, 3))).astype(np.float32)
    betas = generator.normal(size=(count, 10)).astype(np.float32)
    return pose, betas, generator.normal(size=(count, 3)).astype(np.float32)


@pytest.fixture(scope="module", params=["embedded", "random"])
def body(request: pytest.FixtureRequest) -> BodyModel:
    return BodyModel.load() if request.param == "embedded" else BodyModel.from_arrays(random_arrays())


def smplx_model(arrays: BodyArrays, path: Path):
    """The same body in the `smplx` package, through a file in the form it expects."""
    smplx = pytest.importorskip("smplx")
    posedirs = np.zeros((len(arrays.v_template), 3, 207)) if arrays.posedirs is None else arrays.posedirs
    content = {
        "v_template": arrays.v_template,
        "shapedirs": arrays.shapedirs,
        "posedirs": posedirs,
        "J_regressor": arrays.J_regressor,
        "weights": arrays.weights,
        "kintree_table": np.stack([np.where(PARENTS < 0, 2**32 - 1, PARENTS), np.arange(NUM_JOINTS)]),
        "f": arrays.faces.astype(np.uint32),
    }
    path.write_bytes(pickle.dumps(content))
    extra_joints = dict.fromkeys(smplx.vertex_ids.vertex_ids["smplh"], 0)  # its picked vertices are not compared
    return smplx.SMPL(str(path), create_transl=False, vertex_ids=extra_joints, num_betas=10)


def test_equals_smplx(body: BodyModel, tmp_path: Path):
    torch = pytest.importorskip("torch")
    reference = smplx_model(body.arrays, tmp_path / "body.pkl")
    pose, betas, transl = random_inputs(3)
    axis_angle = torch.from_numpy(matrix_to_axis_angle(pose.astype(np.float64)).astype(np.float32))
    theirs = reference(
        betas=torch.from_numpy(betas),
        global_orient=axis_angle[:, 0],
        body_pose=axis_angle[:, 1:].reshape(3, -1),
        transl=torch.from_numpy(transl),
    )
    ours = body(pose, betas, transl)
    assert np.abs(ours.vertices - theirs.vertices.detach().numpy()).max() < 1e-5
    assert np.abs(ours.joints - theirs.joints.detach().numpy()[:, :NUM_JOINTS]).max() < 1e-5


def test_equals_torch(body: BodyModel):
    torch = pytest.importorskip("torch")
    from bodycast.hmr.body.torch_body import TorchBody

    pose, betas, transl = random_inputs(4)
    tensors = [torch.from_numpy(array).requires_grad_() for array in (pose, betas, transl)]
    torch_body = TorchBody(body.arrays)
    vertices, joints = torch_body(*tensors)
    ours = body(pose, betas, transl)
    assert np.abs(ours.vertices - vertices.detach().numpy()).max() < 1e-5
    assert np.abs(ours.joints - joints.detach().numpy()).max() < 1e-5
    assert torch.equal(torch_body.posed_joints(*tensors), joints)
    (vertices.square().sum() + joints.square().sum()).backward()
    for tensor in tensors:
        assert tensor.grad is not None and tensor.grad.abs().sum() > 0


def test_torch_body_refuses_wrong_shapes():
    torch = pytest.importorskip("torch")
    from bodycast.hmr.body.torch_body import TorchBody

    with pytest.raises(ValueError, match=r"betas \(N, 10\)"):
        TorchBody(random_arrays())(torch.zeros(2, 24, 3, 3), torch.zeros(2, 9), torch.zeros(2, 3))


def test_empty_batch_flows(body: BodyModel):
    output = body(np.zeros((0, 24, 3, 3)), np.zeros((0, 10)), np.zeros((0, 3)))
    assert output.vertices.shape == (0, body.vertex_count, 3)
    assert output.joints.shape == (0, NUM_JOINTS, 3)
    assert output.vertices.dtype == output.joints.dtype == np.float32


def test_rows_do_not_depend_on_each_other(body: BodyModel):
    pose, betas, transl = random_inputs(3)
    together = body(pose, betas, transl)
    for row in range(3):
        alone = body(pose[row : row + 1], betas[row : row + 1], transl[row : row + 1])
        assert np.abs(alone.vertices[0] - together.vertices[row]).max() < 1e-5


def test_cached_rest_vertices_give_the_same_body(body: BodyModel):
    pose, betas, transl = random_inputs(2)
    cached = body.rest_vertices(betas)
    assert np.array_equal(body(pose, betas, transl, cached).vertices, body(pose, betas, transl).vertices)


def test_identity_pose_is_the_rest_body_moved(body: BodyModel):
    _, betas, transl = random_inputs(2)
    still = np.broadcast_to(np.eye(3), (2, NUM_JOINTS, 3, 3))
    output = body(still, betas, transl)
    assert np.abs(output.vertices - body.rest_vertices(betas) - transl[:, None]).max() < 1e-5
    assert np.abs(output.joints - body.joints(betas) - transl[:, None]).max() < 1e-5


def test_rest_joints_are_the_regressed_ones(body: BodyModel):
    _, betas, _ = random_inputs(3)
    regressed = np.einsum("jv,nvc->njc", body.arrays.J_regressor, body.rest_vertices(betas))
    assert np.abs(regressed - body.joints(betas)).max() < 1e-5


def test_root_turns_about_its_own_rest_place(body: BodyModel):
    pose, betas, _ = random_inputs(2)
    still = np.broadcast_to(np.eye(3, dtype=np.float32), pose.shape).copy()
    still[:, 0] = pose[:, 0]
    joints = body(still, betas, np.zeros((2, 3))).joints
    rest = body.joints(betas)
    pivot = rest[:, :1]
    expected = pivot + np.einsum("nij,nkj->nki", pose[:, 0], rest - pivot)
    assert np.abs(joints - expected).max() < 1e-5


def test_forward_kinematics_keeps_bone_lengths_and_rotations():
    pose, _, _ = random_inputs(5)
    rest = np.random.default_rng(2).normal(size=(5, NUM_JOINTS, 3)).astype(np.float32)
    rotations, places = forward_kinematics(pose, rest)
    assert np.abs(rotations @ rotations.swapaxes(-1, -2) - np.eye(3)).max() < 1e-5
    lengths = np.linalg.norm(places[:, 1:] - places[:, PARENTS[1:]], axis=-1)
    assert np.allclose(lengths, np.linalg.norm(rest[:, 1:] - rest[:, PARENTS[1:]], axis=-1), atol=1e-5)


def test_a_joint_moves_its_descendants_only():
    _, places_before = forward_kinematics(
        np.broadcast_to(np.eye(3, dtype=np.float32), (1, NUM_JOINTS, 3, 3)),
        np.random.default_rng(3).normal(size=(1, NUM_JOINTS, 3)).astype(np.float32),
    )
    pose = np.broadcast_to(np.eye(3, dtype=np.float32), (1, NUM_JOINTS, 3, 3)).copy()
    pose[0, Joint.LEFT_SHOULDER] = axis_angle_to_matrix(np.array([0.3, 0.5, -1.0]))
    _, places_after = forward_kinematics(pose, places_before)
    moved = np.flatnonzero(np.abs(places_after - places_before).max(axis=2)[0] > 1e-4)
    assert moved.tolist() == [Joint.LEFT_ELBOW, Joint.LEFT_WRIST, Joint.LEFT_HAND]


@pytest.mark.parametrize(
    ("pose", "betas", "transl", "message"),
    [
        ((2, 23, 3, 3), (2, 10), (2, 3), r"pose: expected shape \(N, 24, 3, 3\), got \(2, 23, 3, 3\)"),
        ((2, 24, 3, 3), (1, 10), (2, 3), r"betas: expected shape \(2, 10\), got \(1, 10\)"),
        ((2, 24, 3, 3), (2, 10), (2, 4), r"transl: expected shape \(2, 3\), got \(2, 4\)"),
    ],
)
def test_wrong_shapes_are_named(pose: tuple, betas: tuple, transl: tuple, message: str):
    body = BodyModel.from_arrays(random_arrays())
    with pytest.raises(ValueError, match=message):
        body(np.zeros(pose), np.zeros(betas), np.zeros(transl))
    with pytest.raises(ValueError, match="expected shape"):
        mirror_pose(np.zeros((2, 3, 3)))


def test_joint_tables_agree_with_each_other():
    assert len(JOINT_NAMES) == NUM_JOINTS == 24 and len(HMR2_JOINT_NAMES) == 44
    assert (PARENTS[1:] < np.arange(1, NUM_JOINTS)).all() and PARENTS[0] == -1
    for table in (MIRROR, HMR2_MIRROR):
        assert np.array_equal(table[table], np.arange(len(table)))
    assert np.array_equal(PARENTS[MIRROR][1:], MIRROR[PARENTS[1:]])  # the tree is its own mirror image
    assert MIRROR[Joint.LEFT_WRIST] == Joint.RIGHT_WRIST and MIRROR[Joint.NECK] == Joint.NECK
    openpose = set(OPENPOSE_FROM_SMPL) | set(SMPL_VERTEX_JOINTS)
    assert openpose == set(HMR2_JOINT_NAMES[:25])
    for name, joint in OPENPOSE_FROM_SMPL.items():
        assert name.removeprefix("op_").replace("mid_hip", "pelvis") == joint.name.lower()


def test_one_person_takes_little_time(body: BodyModel):
    """Budget 1.5 ms; the bound leaves room for a busy machine, the measured time is a fifth of the budget."""
    pose, betas, transl = random_inputs(1)
    body(pose, betas, transl)
    times_s = []
    for _ in range(30):
        start = time.perf_counter()
        body(pose, betas, transl)
        times_s.append(time.perf_counter() - start)
    assert min(times_s) < 3e-3
