"""The 6D layouts and the torch rotations, against the definition and against scipy-free numpy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from bodycast.hmr.geometry import rotations as numpy_rotations
from bodycast.hmr.networks.rotation import (
    axis_angle_from_rotmat,
    identity_6d,
    rotmat_from_6d,
    rotmat_from_6d_columns,
    rotmat_from_axis_angle,
    sixd_from_columns,
    sixd_from_rotmat,
    sixd_to_columns,
)


def test_6d_gives_rotations_for_every_batch_size() -> None:
    for batch in (1, 2, 3, 4):  # three rows is where a cross product without an axis goes wrong
        R = rotmat_from_6d(torch.randn(batch, 6))
        torch.testing.assert_close(R @ R.mT, torch.eye(3).expand(batch, -1, -1), rtol=0, atol=1e-5)
        torch.testing.assert_close(torch.linalg.det(R), torch.ones(batch), rtol=0, atol=1e-5)


def test_6d_of_a_rotation_gives_it_back() -> None:
    R = rotmat_from_axis_angle(torch.randn(5, 24, 3))
    torch.testing.assert_close(rotmat_from_6d(sixd_from_rotmat(R)), R, rtol=0, atol=1e-5)


def test_first_numbers_are_the_first_column_in_row_layout() -> None:
    R = rotmat_from_6d(torch.tensor([0.0, 2.0, 0.0, -3.0, 1.0, 0.0]))
    torch.testing.assert_close(R, torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]))


def test_column_layout_reads_a_3x2_matrix() -> None:
    numbers = torch.randn(4, 6)
    expected = numpy_rotations.spin_rotation_6d_to_matrix(numbers.numpy())
    np.testing.assert_allclose(rotmat_from_6d_columns(numbers).numpy(), expected, atol=1e-6)
    torch.testing.assert_close(sixd_to_columns(sixd_from_columns(numbers)), numbers)


def test_identity_decodes_to_the_identity() -> None:
    R = rotmat_from_6d(identity_6d(24).unflatten(0, (24, 6)))
    torch.testing.assert_close(R, torch.eye(3).expand(24, -1, -1))


def test_wrong_width_is_refused() -> None:
    with pytest.raises(ValueError, match="6 numbers"):
        rotmat_from_6d(torch.zeros(2, 144))


def test_axis_angle_agrees_with_numpy_and_returns() -> None:
    vectors = torch.randn(200, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    vectors = vectors / vectors.norm(dim=-1, keepdim=True) * torch.linspace(0, 3.14, 200).double()[:, None]
    vectors[1] = 1e-9
    R = rotmat_from_axis_angle(vectors)
    np.testing.assert_allclose(R.numpy(), numpy_rotations.axis_angle_to_matrix(vectors.numpy()), atol=1e-12)
    torch.testing.assert_close(axis_angle_from_rotmat(R), vectors, rtol=0, atol=1e-7)


def test_equal_to_the_official_implementations(goldens_dir: Path) -> None:
    golden = np.load(goldens_dir / "geometry.npz")
    for function, source, output in (
        (rotmat_from_6d, "rot6d", "rotmat_hmr2_rows"),
        (rotmat_from_6d_columns, "rot6d", "rotmat_spin_columns"),
        (rotmat_from_axis_angle, "axis_angle", "rotmat_axis_angle"),
    ):
        ours = function(torch.from_numpy(golden[f"in/{source}"]).double())
        np.testing.assert_allclose(ours.numpy(), golden[f"out/{output}"], atol=2e-6)


def test_axis_angle_has_a_gradient_at_zero() -> None:
    vector = torch.zeros(1, 3, requires_grad=True)
    rotmat_from_axis_angle(vector)[0, 2, 1].backward()
    torch.testing.assert_close(vector.grad, torch.tensor([[1.0, 0.0, 0.0]]))
