"""Nearest rotation to a 3x3 matrix: closed form for real time, SVD as the reference.

Both solve the orthogonal Procrustes problem with a determinant of +1 (Kabsch 1976; Wahba's problem): the R in SO(3)
that maximises trace(R^T M). The closed form is Markley's FOAM (J. Astronautical Sciences 41, 1993): the maximum
itself, lambda = s1 + s2 + sign(det M) s3, follows from the eigenvalues of M^T M, and R is a polynomial in M.
"""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import ArrayLike

from bodycast.hmr.geometry.arrays import FloatArray, as_float, require_last_axes

# (s1 + s2)(s2 + s3)(s3 + s1) of the matrix scaled to unit Frobenius norm. The rounding error of R grows with its
# inverse square, 1e-11 at this bound; below it the SVD decides (no random matrix in 10,000).
_DEGENERATE = 1e-3


def nearest_rotation_svd(matrix: ArrayLike) -> FloatArray:
    """Nearest rotation by singular value decomposition: (..., 3, 3) -> (..., 3, 3)."""
    M = as_float(matrix)
    require_last_axes(M, (3, 3), "matrix")
    U, _, Vt = np.linalg.svd(M)
    sign = np.sign(np.linalg.det(U @ Vt)).astype(M.dtype)
    left = np.concatenate([U[..., :2], U[..., 2:] * sign[..., None, None]], axis=-1)
    return cast(FloatArray, left @ Vt)


def nearest_rotation(matrix: ArrayLike) -> FloatArray:
    """Nearest rotation in closed form: (..., 3, 3) -> (..., 3, 3), same dtype.

    Works in float64 inside. Equal to `nearest_rotation_svd` within 1e-6 rad wherever the answer is unique; rows where
    it is not (rank one, or a reflection with two equal singular values) are handed to the SVD.
    """
    given = as_float(matrix)
    require_last_axes(given, (3, 3), "matrix")
    wide = given.astype(np.float64)
    scale = np.sqrt(np.sum(wide * wide, axis=(-1, -2), keepdims=True))
    M = wide / np.where(scale > 0, scale, 1.0)
    adjugate_t = _cofactors(M)
    determinant = np.sum(M[..., 0, :] * adjugate_t[..., 0, :], axis=-1)
    singular = _signed_singular_values(adjugate_t, determinant)
    first, second, third = (singular[..., i] for i in range(3))
    # Newton's steps wander off where two roots of the quartic meet, so the bound is held against what they start from.
    degenerate = (first + second) * (second + third) * (third + first) < _DEGENERATE
    largest = _polished_root(first + second + third, adjugate_t, determinant)
    # With |M|_F = 1: kappa = (lambda^2 - 1) / 2, and zeta is the product of the pairwise sums.
    kappa = 0.5 * (largest * largest - 1.0)
    zeta = kappa * largest - determinant
    safe = np.where(degenerate, 1.0, zeta)[..., None, None]
    gram = np.swapaxes(M, -1, -2) @ M
    nearest = ((kappa + 1.0)[..., None, None] * M + largest[..., None, None] * adjugate_t - M @ gram) / safe
    if np.any(degenerate):
        nearest = np.where(degenerate[..., None, None], nearest_rotation_svd(M), nearest)
    return nearest.astype(given.dtype)


def _cofactors(M: FloatArray) -> FloatArray:
    """Cofactor matrix (transpose of the adjugate): its rows are cross products of the other two rows."""
    a, b, c = M[..., 0, :], M[..., 1, :], M[..., 2, :]
    return np.stack([np.cross(b, c), np.cross(c, a), np.cross(a, b)], axis=-2)


def _signed_singular_values(cofactors: FloatArray, determinant: FloatArray) -> FloatArray:
    """s1 >= s2 >= |s3| (..., 3) of a unit-norm matrix, s3 with the determinant's sign, to about 1e-8.

    Their squares solve x^3 - x^2 + c x - det^2 = 0 with c = |cofactors|^2: the trigonometric cubic.
    """
    c = np.sum(cofactors * cofactors, axis=(-1, -2))
    p = np.maximum(1.0 - 3.0 * c, 0.0)
    radius = np.sqrt(p)
    cubic = 1.0 - 4.5 * c + 13.5 * determinant * determinant
    cosine = np.clip(cubic / np.where(radius > 1e-9, p * radius, 1.0), -1.0, 1.0)
    angle = np.arccos(cosine) / 3.0
    first = (1.0 + 2.0 * radius * np.cos(angle)) / 3.0
    third = (1.0 + 2.0 * radius * np.cos(angle + 2.0 * np.pi / 3.0)) / 3.0
    squares = np.stack([first, 1.0 - first - third, third], axis=-1)
    singular = np.sqrt(np.maximum(squares, 0.0))
    singular[..., 2] *= np.where(determinant < 0, -1.0, 1.0)
    return cast(FloatArray, singular)


def _polished_root(root: FloatArray, cofactors: FloatArray, determinant: FloatArray) -> FloatArray:
    """lambda = s1 + s2 + s3 from a start: three Newton steps on the quartic remove the rounding of the arc cosine."""
    c = np.sum(cofactors * cofactors, axis=(-1, -2))
    for _ in range(3):
        square_term = root * root - 1.0
        value = square_term * square_term - 8.0 * root * determinant - 4.0 * c
        slope = 4.0 * root * square_term - 8.0 * determinant
        root = root - np.where(np.abs(slope) > 1e-12, value / np.where(slope == 0, 1.0, slope), 0.0)
    return root
