"""Rotations: published functions' outputs, round trips, the corners at 0 and pi."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bodycast.hmr.geometry import rotations as rot
from bodycast.hmr.geometry.nearest_rotation import nearest_rotation, nearest_rotation_svd

component = st.floats(-1.0, 1.0, allow_nan=False, width=64)
axis_angles = arrays(np.float64, (5, 3), elements=st.floats(-1.7, 1.7, allow_nan=False))


@pytest.fixture(scope="module")
def golden(goldens_dir: Path):
    return np.load(goldens_dir / "geometry.npz", allow_pickle=False)


@pytest.mark.parametrize(
    ("function", "source", "target"),
    [
        (rot.rotation_6d_to_matrix, "rot6d", "rotmat_hmr2_rows"),
        (rot.spin_rotation_6d_to_matrix, "rot6d", "rotmat_spin_columns"),
        (rot.axis_angle_to_matrix, "axis_angle", "rotmat_axis_angle"),
        (rot.quaternion_to_matrix, "quat", "rotmat_quat"),
    ],
)
def test_matches_the_official_functions(golden, function, source, target):
    result = function(golden[f"in/{source}"])
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, golden[f"out/{target}"], atol=2e-6)


def test_three_rows_of_6d_are_three_rotations():
    six = np.random.default_rng(0).normal(size=(3, 6))
    np.testing.assert_allclose(
        rot.rotation_6d_to_matrix(six), np.stack([rot.rotation_6d_to_matrix(row) for row in six]), atol=1e-12
    )


@given(axis_angles)
def test_round_trips(axis_angle):
    R = rot.axis_angle_to_matrix(axis_angle)
    np.testing.assert_allclose(R @ R.swapaxes(-1, -2), np.broadcast_to(np.eye(3), R.shape), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(R), 1.0, atol=1e-12)
    # |axis_angle| < 1.7 * sqrt(3) < pi, so the logarithm is the vector itself.
    np.testing.assert_allclose(rot.matrix_to_axis_angle(R), axis_angle, atol=1e-8)
    np.testing.assert_allclose(rot.rotation_6d_to_matrix(rot.matrix_to_rotation_6d(R)), R, atol=1e-12)
    np.testing.assert_allclose(rot.spin_rotation_6d_to_matrix(rot.matrix_to_spin_rotation_6d(R)), R, atol=1e-12)
    np.testing.assert_allclose(rot.quaternion_to_matrix(rot.matrix_to_quaternion(R)), R, atol=1e-12)
    np.testing.assert_allclose(rot.quaternion_to_matrix(rot.axis_angle_to_quaternion(axis_angle)), R, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("angle", [0.0, 1e-9, 1e-6, 9e-5, 1.1e-4, 3e-3, 1.0, np.pi - 1e-3, np.pi - 1e-6, np.pi])
def test_logarithm_is_stable_from_zero_to_pi(angle, dtype):
    rng = np.random.default_rng(1)
    axis = rng.normal(size=(50, 3))
    axis /= np.linalg.norm(axis, axis=-1, keepdims=True)
    R = rot.axis_angle_to_matrix((angle * axis).astype(dtype))
    log = rot.matrix_to_axis_angle(R)
    assert log.dtype == dtype and np.isfinite(log).all()
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(np.linalg.norm(log, axis=-1), angle, atol=16 * eps)
    # Axes agree up to sign at pi; comparing rotations has no such ambiguity.
    np.testing.assert_allclose(rot.axis_angle_to_matrix(log), R, atol=16 * eps)


@given(axis_angles, axis_angles, st.floats(0, 1))
def test_interpolation_moves_at_constant_speed(first, second, weight):
    a, b = rot.axis_angle_to_matrix(first), rot.axis_angle_to_matrix(second)
    whole = rot.geodesic_distance(a, b)
    part = rot.geodesic_distance(a, rot.interpolate_rotations(a, b, weight))
    np.testing.assert_allclose(part, weight * whole, atol=1e-6)
    np.testing.assert_allclose(rot.interpolate_rotations(a, b, 1.0), b, atol=1e-6)


@given(axis_angles)
def test_geodesic_distance_is_the_angle(axis_angle):
    R = rot.axis_angle_to_matrix(axis_angle)
    np.testing.assert_allclose(rot.geodesic_distance(np.eye(3), R), np.linalg.norm(axis_angle, axis=-1), atol=1e-8)
    np.testing.assert_allclose(rot.geodesic_distance(R, R), 0.0, atol=1e-7)


_ALMOST_RANK_ONE = np.full((3, 3), 1e-5)
_ALMOST_RANK_ONE[1, 1] = 1.0
_NO_CORNER = _ALMOST_RANK_ONE.copy()
_NO_CORNER[0, 0] = 0.0


@settings(max_examples=200)
@given(arrays(np.float64, (8, 3, 3), elements=component))
@example(np.stack([_ALMOST_RANK_ONE, _NO_CORNER]))
def test_closed_form_nearest_rotation_is_as_near_as_the_svd(M):
    fast, slow = nearest_rotation(M), nearest_rotation_svd(M)
    np.testing.assert_allclose(fast @ fast.swapaxes(-1, -2), np.broadcast_to(np.eye(3), M.shape), atol=1e-7)
    np.testing.assert_allclose(np.linalg.det(fast), 1.0, atol=1e-7)
    # The objective both maximise; where the answer is unique the rotations agree too (next test).
    np.testing.assert_allclose((fast * M).sum((-1, -2)), (slow * M).sum((-1, -2)), atol=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_closed_form_nearest_rotation_equals_the_svd(dtype):
    M = np.random.default_rng(2).normal(size=(5000, 3, 3)).astype(dtype)
    assert (np.linalg.det(M) < 0).any()
    singular = np.linalg.svd(M, compute_uv=False)
    unique = singular[:, 1] + np.sign(np.linalg.det(M)) * singular[:, 2] > 1e-3 * singular[:, 0]
    assert unique.mean() > 0.98
    distance = rot.geodesic_distance(nearest_rotation(M), nearest_rotation_svd(M.astype(np.float64)))
    assert distance[unique].max() < (1e-6 if dtype == np.float32 else 1e-8)


def test_nearest_rotation_of_degenerate_matrices_is_a_rotation():
    M = np.stack([np.zeros((3, 3)), np.diag([1.0, 0, 0]), np.diag([1.0, 1, -1]), np.diag([1.0, 0.5, -0.5])])
    R = nearest_rotation(M)
    np.testing.assert_allclose(R @ R.swapaxes(-1, -2), np.broadcast_to(np.eye(3), M.shape), atol=1e-9)
    np.testing.assert_allclose(np.linalg.det(R), 1.0, atol=1e-9)


def test_empty_batches_flow():
    assert rot.rotation_6d_to_matrix(np.zeros((0, 6), np.float32)).shape == (0, 3, 3)
    assert rot.matrix_to_axis_angle(np.zeros((0, 24, 3, 3), np.float32)).shape == (0, 24, 3)
    assert nearest_rotation(np.zeros((0, 3, 3))).shape == (0, 3, 3)


def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match=r"rotation_6d must have shape \(\.\.\., 6\), got \(4, 5\)"):
        rot.rotation_6d_to_matrix(np.zeros((4, 5)))
    with pytest.raises(ValueError, match="length zero"):
        rot.quaternion_to_matrix(np.zeros(4))
