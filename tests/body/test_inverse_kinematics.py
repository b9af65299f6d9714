"""Inverse kinematics: HybrIK's numbers, exact recovery, numpy against torch, closed form against SVD."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bodycast.hmr.body import inverse_kinematics as ik
from bodycast.hmr.geometry.rotations import axis_angle_to_matrix, geodesic_distance


@pytest.fixture(scope="module")
def golden(goldens_dir: Path):
    return np.load(goldens_dir / "hybrik_ik.npz", allow_pickle=False)


def skeleton(rng: np.random.Generator, batch: tuple[int, ...] = ()) -> np.ndarray:
    """A random rest skeleton of human size: every bone 5 to 45 cm."""
    bones = rng.normal(size=(*batch, 29, 3))
    bones *= rng.uniform(0.05, 0.45, size=(*batch, 29, 1)) / np.linalg.norm(bones, axis=-1, keepdims=True)
    rest = np.zeros((*batch, 29, 3))
    for j, parent in enumerate(ik.SKELETON_29_PARENTS):
        if parent >= 0:
            rest[..., j, :] = rest[..., parent, :] + bones[..., j, :]
    return rest


def test_tables_agree_with_the_official_ones(golden):
    assert list(ik.SKELETON_29_PARENTS) == golden["mid/parents"].tolist()
    assert list(ik.BONE_CHILD) == golden["mid/children"][:24].tolist()


@pytest.mark.parametrize("root_fit", ["closed_form", "svd"])
def test_adaptive_matches_the_official_code(golden, root_fit):
    result = ik.inverse_kinematics(
        golden["in/rest_joints"], golden["in/target_joints"], golden["in/phis"], root_fit=root_fit
    )
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, golden["out/adaptive"], atol=1e-4)
    # The first two poses carry no noise and true twists, so the answer is known.
    np.testing.assert_allclose(result[:2], golden["in/true_rotmats"][:2], atol=5e-6)


def test_naive_matches_the_official_code(golden):
    args = (golden["in/rest_joints"], golden["in/target_joints"], golden["in/phis"])
    given_root = ik.inverse_kinematics(*args, rule="naive", root_rotation=golden["in/global_orient"])
    np.testing.assert_allclose(given_root, golden["out/naive_given_root"], atol=1e-4)
    # Poses 4 and 6 start from an upstream root that is not orthonormal (see evaluation/goldens/inverse_kinematics.py).
    poses = [0, 1, 2, 3, 5, 7]
    fitted = ik.inverse_kinematics(*args, rule="naive")[poses]
    np.testing.assert_allclose(fitted, golden["out/naive"][poses], atol=2e-4)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["adaptive", "naive"]))
def test_rotations_survive_the_way_through_joints_and_twists(seed, rule):
    rng = np.random.default_rng(seed)
    rest = skeleton(rng, (2,))
    rotations = axis_angle_to_matrix(rng.normal(scale=0.8, size=(2, 24, 3)))
    joints, twists = ik.forward_kinematics(rest, rotations), ik.bone_twists(rest, rotations)
    np.testing.assert_allclose((twists**2).sum(-1), 1.0, atol=1e-9)
    # Neither where the skeleton stands nor the length of the twist vectors matters.
    again = ik.inverse_kinematics(rest, joints + np.array([1.0, 2.0, 3.0]), 3 * twists, rule=rule)
    np.testing.assert_allclose(again, rotations, atol=1e-5)


def test_adaptive_stays_nearer_to_the_targets_when_bone_lengths_are_off():
    rng = np.random.default_rng(5)
    rest = skeleton(rng, (40,))
    rotations = axis_angle_to_matrix(rng.normal(scale=0.5, size=(40, 24, 3)))
    target = ik.forward_kinematics(rest, rotations) + rng.normal(scale=0.005, size=(40, 29, 3))
    target += rest[:, :1] - target[:, :1]
    twists = ik.bone_twists(rest, rotations)
    errors = {
        rule: np.linalg.norm(
            ik.forward_kinematics(rest, ik.inverse_kinematics(rest, target, twists, rule=rule)) - target, axis=-1
        ).mean()
        for rule in ("adaptive", "naive")
    }
    assert errors["adaptive"] < 0.8 * errors["naive"]


def test_closed_form_root_equals_svd_root_under_noise():
    rng = np.random.default_rng(6)
    rest = skeleton(rng, (200,)).astype(np.float32)
    rotations = axis_angle_to_matrix(rng.normal(size=(200, 24, 3)).astype(np.float32))
    target = ik.forward_kinematics(rest, rotations) + rng.normal(scale=0.01, size=(200, 29, 3)).astype(np.float32)
    twists = ik.bone_twists(rest, rotations)
    fast = ik.inverse_kinematics(rest, target, twists)[:, 0]
    slow = ik.inverse_kinematics(*(x.astype(np.float64) for x in (rest, target, twists)), root_fit="svd")[:, 0]
    assert geodesic_distance(fast, slow).max() < 1e-4


def test_opposite_bones_get_a_half_turn():
    rest = skeleton(np.random.default_rng(7))
    # Point reflection: no bone direction survives, every swing but those fixed by the parents is a half turn.
    result = ik.inverse_kinematics(rest, -rest, np.tile([1.0, 0.0], (23, 1)), rule="naive", root_rotation=np.eye(3))
    assert np.isfinite(result).all()
    np.testing.assert_allclose(result @ result.swapaxes(-1, -2), np.broadcast_to(np.eye(3), (24, 3, 3)), atol=1e-9)
    np.testing.assert_allclose(ik.forward_kinematics(rest, result)[4] - rest[1], -(rest[4] - rest[1]), atol=1e-6)


def test_torch_equals_numpy_and_has_gradients(golden):
    torch = pytest.importorskip("torch")
    names = ("in/rest_joints", "in/target_joints", "in/phis")
    arrays = [golden[name].astype(np.float64) for name in names]
    for options in ({}, {"root_fit": "svd"}, {"rule": "naive"}):
        tensors = [torch.from_numpy(a.copy()).requires_grad_() for a in arrays]
        result = ik.inverse_kinematics(*tensors, **options)
        np.testing.assert_allclose(result.detach().numpy(), ik.inverse_kinematics(*arrays, **options), atol=1e-7)
        (result * torch.linspace(-1, 1, 24)[:, None, None]).sum().backward()
        assert all(torch.isfinite(t.grad).all() and t.grad.abs().max() > 0 for t in tensors)


def test_gradient_of_the_closed_form_root_is_right():
    torch = pytest.importorskip("torch")
    M = torch.randn(4, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert torch.autograd.gradcheck(lambda m: ik._torch_nearest_rotation(torch, m), (M,), atol=1e-5)


def test_numpy_path_does_not_load_torch():
    code = (
        "import sys, numpy as np; from bodycast.hmr.body.inverse_kinematics import inverse_kinematics as f;"
        "r = np.random.default_rng(0).normal(size=(29, 3)); f(r, r, np.ones((23, 2)));"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


def test_wrong_input_is_named():
    good, twists = np.zeros((29, 3)), np.ones((23, 2))
    with pytest.raises(ValueError, match=r"rest_joints must have shape \(\.\.\., 29, 3\), got \(24, 3\)"):
        ik.inverse_kinematics(np.zeros((24, 3)), good, twists)
    with pytest.raises(TypeError, match="numpy array or a torch tensor, got list"):
        ik.inverse_kinematics([[0.0] * 3] * 29, good, twists)
