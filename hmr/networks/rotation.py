"""Rotations inside networks (torch): the 6-number form of HMR2.0 and its relatives.

A rotation is regressed as six numbers, two three-vectors that Gram-Schmidt turns into the first two columns
of the matrix (Zhou et al. 2019, "On the Continuity of Rotation Representations"). Two layouts of the six
numbers are in use:

- rows (HMR2.0, 4D-Humans): numbers 0..2 are the first vector, 3..5 the second. Everything in this project
  uses it.
- columns (SPIN, CLIFF): the numbers are a 3x2 matrix read row by row, so 0, 2, 4 are the first vector.

The public SPIN mean-pose file is in the column layout: decoded as rows its root is degenerate, hence the
converters. Everything here is built from elementary operations, so that it exports, and is correct for every
batch size.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "axis_angle_from_rotmat",
    "identity_6d",
    "rotmat_from_6d",
    "rotmat_from_6d_columns",
    "rotmat_from_axis_angle",
    "sixd_from_columns",
    "sixd_from_rotmat",
    "sixd_to_columns",
]


def _cross(a: Tensor, b: Tensor) -> Tensor:
    """Cross product over the last axis, spelled out: exporters have no cross operator."""
    ax, ay, az = a.unbind(-1)
    bx, by, bz = b.unbind(-1)
    return torch.stack((ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx), dim=-1)


def rotmat_from_6d(sixd: Tensor) -> Tensor:
    """Rotation matrices (..., 3, 3) from (..., 6) numbers in the row layout of HMR2.0.

    The first vector becomes column 0, the second, made orthogonal to it, column 1, their cross product column
    2.
    """
    if sixd.shape[-1] != 6:
        raise ValueError(f"6D rotations need 6 numbers on the last axis, got shape {tuple(sixd.shape)}")
    first = F.normalize(sixd[..., :3], dim=-1)
    second = sixd[..., 3:]
    second = F.normalize(second - (first * second).sum(-1, keepdim=True) * first, dim=-1)
    return torch.stack((first, second, _cross(first, second)), dim=-1)


def rotmat_from_6d_columns(sixd: Tensor) -> Tensor:
    """Rotation matrices (..., 3, 3) from (..., 6) numbers in the column layout of SPIN and CLIFF."""
    return rotmat_from_6d(sixd_from_columns(sixd))


def sixd_from_columns(sixd: Tensor) -> Tensor:
    """Column layout (SPIN, CLIFF) to row layout (HMR2.0), (..., 6) to (..., 6)."""
    pairs = sixd.unflatten(-1, (3, 2))
    return pairs.transpose(-1, -2).flatten(-2)


def sixd_to_columns(sixd: Tensor) -> Tensor:
    """Row layout (HMR2.0) to column layout (SPIN, CLIFF), (..., 6) to (..., 6)."""
    pairs = sixd.unflatten(-1, (2, 3))
    return pairs.transpose(-1, -2).flatten(-2)


def sixd_from_rotmat(rotmat: Tensor) -> Tensor:
    """Row-layout 6D numbers (..., 6) of rotation matrices (..., 3, 3): column 0, then column 1."""
    return rotmat[..., :2].transpose(-1, -2).flatten(-2)


def identity_6d(joints: int) -> Tensor:
    """The rest pose of `joints` joints in the row layout, (joints * 6,): [1, 0, 0, 0, 1, 0] for each."""
    return torch.tensor([1.0, 0.0, 0.0, 0.0, 1.0, 0.0]).repeat(joints)


def rotmat_from_axis_angle(axis_angle: Tensor) -> Tensor:
    """Rotation matrices (..., 3, 3) from axis-angle vectors (..., 3) in radians (Rodrigues' formula).

    Exact and differentiable at zero: sin(a)/a and (1 - cos(a))/a^2 are replaced by their series for small
    angles.
    """
    square = (axis_angle * axis_angle).sum(-1, keepdim=True)
    small = square < 1e-6
    safe = torch.where(small, torch.ones_like(square), square)
    angle = safe.sqrt()
    sinc = torch.where(small, 1 - square / 6, angle.sin() / angle)
    cosc = torch.where(small, 0.5 - square / 24, (1 - angle.cos()) / safe)
    x, y, z = axis_angle.unbind(-1)
    zero = torch.zeros_like(x)
    skew = torch.stack((zero, -z, y, z, zero, -x, -y, x, zero), dim=-1).unflatten(-1, (3, 3))
    identity = torch.eye(3, dtype=axis_angle.dtype, device=axis_angle.device)
    return identity + sinc.unsqueeze(-1) * skew + cosc.unsqueeze(-1) * (skew @ skew)


def axis_angle_from_rotmat(rotmat: Tensor) -> Tensor:
    """Axis-angle vectors (..., 3) in radians, of length 0 to pi, from rotation matrices (..., 3, 3).

    Goes through the quaternion whose largest component is solved for first, which is stable at every angle.
    """
    r00, r01, r02, r10, r11, r12, r20, r21, r22 = rotmat.flatten(-2).unbind(-1)
    candidates = torch.stack(
        (
            torch.stack((1 + r00 + r11 + r22, r21 - r12, r02 - r20, r10 - r01), -1),
            torch.stack((r21 - r12, 1 + r00 - r11 - r22, r10 + r01, r02 + r20), -1),
            torch.stack((r02 - r20, r10 + r01, 1 - r00 + r11 - r22, r21 + r12), -1),
            torch.stack((r10 - r01, r02 + r20, r21 + r12, 1 - r00 - r11 + r22), -1),
        ),
        dim=-2,
    )
    best = candidates.diagonal(dim1=-2, dim2=-1).argmax(-1)
    index = best[..., None, None].expand(*best.shape, 1, 4)
    quaternion = F.normalize(candidates.gather(-2, index).squeeze(-2), dim=-1)
    quaternion = torch.where(quaternion[..., :1] < 0, -quaternion, quaternion)
    vector = quaternion[..., 1:]
    length = vector.norm(dim=-1, keepdim=True)
    angle = 2 * torch.atan2(length, quaternion[..., :1])
    return torch.where(length < 1e-8, 2 * vector, vector * angle / length.clamp_min(1e-12))
