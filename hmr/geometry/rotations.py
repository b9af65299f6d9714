"""Rotations in three dimensions: matrices, axis-angle, quaternions, the two 6D layouts.

A rotation matrix acts on column vectors: `x_out = R @ x_in`. Quaternions are (w, x, y, z) with w >= 0 on
output. Axis-angle vectors are in radians with an angle in 0..pi on output. The 6D representation is that of
Zhou et al. (CVPR 2019, "On the continuity of rotation representations"), in the layouts of HMR2.0 and SPIN.
"""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import ArrayLike

from bodycast.hmr.geometry.arrays import FloatArray, as_float, norm, require_last_axes

# Below this angle (or length) the sine quotients switch to their Taylor series.
_SMALL = 1e-4
_GUARD = 1e-12


def skew(vectors: ArrayLike) -> FloatArray:
    """Cross-product matrices: (..., 3) -> (..., 3, 3) with `skew(a) @ b == cross(a, b)`."""
    v = as_float(vectors)
    require_last_axes(v, (3,), "vectors")
    out = np.zeros((*v.shape, 3), v.dtype)
    out[..., 2, 1], out[..., 0, 2], out[..., 1, 0] = v[..., 0], v[..., 1], v[..., 2]
    return out - out.swapaxes(-1, -2)


def axis_angle_to_matrix(axis_angle_rad: ArrayLike) -> FloatArray:
    """Rodrigues' formula (the exponential map of SO(3)): (..., 3) radians -> (..., 3, 3)."""
    vector = as_float(axis_angle_rad)
    require_last_axes(vector, (3,), "axis_angle_rad")
    angle = norm(vector)[..., None]
    squared = angle * angle
    small = angle < _SMALL
    safe = np.where(small, 1.0, angle).astype(vector.dtype)
    sine_quotient = np.where(small, 1.0 - squared / 6.0, np.sin(safe) / safe)
    # (1 - cos a) / a^2 written with the half angle, which loses nothing where a is small.
    half = np.sin(0.5 * safe) / safe
    cosine_quotient = np.where(small, 0.5 - squared / 24.0, 2.0 * half * half)
    K = skew(vector)
    identity = np.eye(3, dtype=vector.dtype)
    rotation = identity + sine_quotient * K + cosine_quotient * (K @ K)
    return rotation.astype(vector.dtype)


def matrix_to_axis_angle(matrix: ArrayLike) -> FloatArray:
    """Logarithm of SO(3): (..., 3, 3) -> (..., 3) radians, angle in 0..pi, stable at 0 and at pi.

    At exactly pi the axis has two possible signs; either is a correct answer.
    """
    return quaternion_to_axis_angle(matrix_to_quaternion(matrix))


def axis_angle_to_quaternion(axis_angle_rad: ArrayLike) -> FloatArray:
    """(..., 3) radians -> unit quaternions (..., 4), w first."""
    vector = as_float(axis_angle_rad)
    require_last_axes(vector, (3,), "axis_angle_rad")
    angle = norm(vector)
    small = angle < _SMALL
    safe = np.where(small, 1.0, angle).astype(vector.dtype)
    quotient = np.where(small, 0.5 - angle * angle / 48.0, np.sin(0.5 * safe) / safe)
    quaternion = np.concatenate([np.cos(0.5 * angle), quotient * vector], axis=-1)
    return quaternion.astype(vector.dtype)


def quaternion_to_axis_angle(quaternion: ArrayLike) -> FloatArray:
    """(..., 4), w first, any non-zero length -> (..., 3) radians, angle in 0..pi."""
    q = normalise_quaternion(quaternion)
    q = np.where(q[..., :1] < 0, -q, q)
    w, vector = q[..., :1], q[..., 1:]
    sine = norm(vector)
    small = sine < _SMALL
    safe = np.where(small, 1.0, sine).astype(q.dtype)
    # atan2 keeps full precision near pi, where arccos of w would not.
    factor = np.where(small, 2.0 / np.maximum(w, 0.5), 2.0 * np.arctan2(safe, w) / safe)
    return cast(FloatArray, (factor * vector).astype(q.dtype))


def normalise_quaternion(quaternion: ArrayLike) -> FloatArray:
    """(..., 4) scaled to unit length; a zero quaternion raises ValueError."""
    q = as_float(quaternion)
    require_last_axes(q, (4,), "quaternion")
    length = norm(q)
    if np.any(length < _GUARD):
        raise ValueError("a quaternion of length zero is not a rotation")
    return cast(FloatArray, q / length)


def quaternion_to_matrix(quaternion: ArrayLike) -> FloatArray:
    """(..., 4), w first, normalised inside -> (..., 3, 3)."""
    q = normalise_quaternion(quaternion)
    w, x, y, z = (q[..., i] for i in range(4))
    rows = (
        np.stack([1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)], axis=-1),
        np.stack([2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)], axis=-1),
        np.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)], axis=-1),
    )
    return np.stack(rows, axis=-2)


def matrix_to_quaternion(matrix: ArrayLike) -> FloatArray:
    """(..., 3, 3) -> unit quaternions (..., 4), w first and w >= 0.

    Each of the four rows below is the quaternion times four times one of its components; the row of the
    largest component is the one that never divides by something small.
    """
    R = as_float(matrix)
    require_last_axes(R, (3, 3), "matrix")
    m00, m11, m22 = R[..., 0, 0], R[..., 1, 1], R[..., 2, 2]
    xw, yw, zw = R[..., 2, 1] - R[..., 1, 2], R[..., 0, 2] - R[..., 2, 0], R[..., 1, 0] - R[..., 0, 1]
    xy, xz, yz = R[..., 1, 0] + R[..., 0, 1], R[..., 0, 2] + R[..., 2, 0], R[..., 2, 1] + R[..., 1, 2]
    candidates = np.stack(
        [
            np.stack([1 + m00 + m11 + m22, xw, yw, zw], axis=-1),
            np.stack([xw, 1 + m00 - m11 - m22, xy, xz], axis=-1),
            np.stack([yw, xy, 1 - m00 + m11 - m22, yz], axis=-1),
            np.stack([zw, xz, yz, 1 - m00 - m11 + m22], axis=-1),
        ],
        axis=-2,
    )
    best = np.argmax(np.diagonal(candidates, axis1=-2, axis2=-1), axis=-1)
    chosen = np.take_along_axis(candidates, best[..., None, None], axis=-2)[..., 0, :]
    quaternion = chosen / np.maximum(norm(chosen), _GUARD)
    quaternion = np.where(quaternion[..., :1] < 0, -quaternion, quaternion)
    return quaternion.astype(R.dtype)


def _gram_schmidt(first: FloatArray, second: FloatArray) -> FloatArray:
    """Rotation whose first column is along `first` and whose second lies in the plane of both."""
    x = first / np.maximum(norm(first), _GUARD)
    residual = second - np.sum(x * second, axis=-1, keepdims=True) * x
    y = residual / np.maximum(norm(residual), _GUARD)
    return np.stack([x, y, np.cross(x, y, axis=-1)], axis=-1).astype(first.dtype)


def rotation_6d_to_matrix(rotation_6d: ArrayLike) -> FloatArray:
    """HMR2.0's layout: (..., 6) read as two rows of three, the first two *columns* of R -> (..., 3, 3)."""
    six = as_float(rotation_6d)
    require_last_axes(six, (6,), "rotation_6d")
    return _gram_schmidt(six[..., :3], six[..., 3:])


def matrix_to_rotation_6d(matrix: ArrayLike) -> FloatArray:
    """Inverse of `rotation_6d_to_matrix` (HMR2.0's layout): (..., 3, 3) -> (..., 6)."""
    R = as_float(matrix)
    require_last_axes(R, (3, 3), "matrix")
    return np.concatenate([R[..., :, 0], R[..., :, 1]], axis=-1)


def spin_rotation_6d_to_matrix(rotation_6d: ArrayLike) -> FloatArray:
    """SPIN's and CLIFF's layout: (..., 6) read as a 3x2 matrix (elements 0, 2, 4 = first column of R)."""
    six = as_float(rotation_6d)
    require_last_axes(six, (6,), "rotation_6d")
    return _gram_schmidt(six[..., 0::2], six[..., 1::2])


def matrix_to_spin_rotation_6d(matrix: ArrayLike) -> FloatArray:
    """Inverse of `spin_rotation_6d_to_matrix`: (..., 3, 3) -> (..., 6)."""
    R = as_float(matrix)
    require_last_axes(R, (3, 3), "matrix")
    return np.stack([R[..., :, 0], R[..., :, 1]], axis=-1).reshape(*R.shape[:-2], 6)


def geodesic_distance(first: ArrayLike, second: ArrayLike) -> FloatArray:
    """Angle in radians, 0..pi, of the rotation that takes one (..., 3, 3) to the other: -> (...)."""
    a, b = as_float(first), as_float(second)
    relative = np.swapaxes(a, -1, -2) @ b
    q = matrix_to_quaternion(relative)
    return 2.0 * np.arctan2(norm(q[..., 1:])[..., 0], q[..., 0])


def interpolate_rotations(first: ArrayLike, second: ArrayLike, weight: ArrayLike) -> FloatArray:
    """Constant-speed path between rotations (slerp): weight 0 -> `first`, 1 -> `second`.

    first, second (..., 3, 3), weight scalar or (...); returns (..., 3, 3) in the type of `first`.
    """
    a, b = as_float(first), as_float(second)
    step = matrix_to_axis_angle(np.swapaxes(a, -1, -2) @ b)
    scaled = (step * np.asarray(weight, dtype=a.dtype)[..., None]).astype(a.dtype)
    return cast(FloatArray, a @ axis_angle_to_matrix(scaled))
