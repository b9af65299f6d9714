"""Similarity alignment: the official function, exact recovery, mirrored sets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bodycast.hmr.geometry.procrustes import align, fit_similarity
from bodycast.hmr.geometry.rotations import axis_angle_to_matrix


def test_matches_the_official_function(goldens_dir: Path):
    g = np.load(goldens_dir / "geometry.npz", allow_pickle=False)
    aligned = align(g["in/S1"], g["in/S2"])
    np.testing.assert_allclose(aligned, g["out/procrustes_S1_hat"], atol=2e-5)


@given(st.integers(0, 1000), st.floats(0.1, 10))
def test_recovers_a_known_similarity(seed, scale):
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(2, 14, 3))
    R, t = axis_angle_to_matrix(rng.normal(size=(2, 3))), rng.normal(size=(2, 3))
    target = scale * points @ R.swapaxes(-1, -2) + t[:, None]
    fit = fit_similarity(points, target)
    np.testing.assert_allclose(fit.scale, scale, rtol=1e-9)
    np.testing.assert_allclose(fit.rotation, R, atol=1e-9)
    np.testing.assert_allclose(fit.apply(points), target, atol=1e-8)


def test_a_mirrored_target_gets_a_proper_rotation():
    points = np.random.default_rng(3).normal(size=(14, 3))
    fit = fit_similarity(points, points * [-1, 1, 1])
    assert np.linalg.det(fit.rotation) == pytest.approx(1.0)
    assert np.abs(align(points, points * [-1, 1, 1]) - points * [-1, 1, 1]).max() > 0.1


def test_points_without_extent_only_move():
    fit = fit_similarity(np.ones((4, 3)), np.zeros((4, 3)))
    assert fit.scale == 1.0
    with pytest.raises(ValueError, match="share a shape"):
        fit_similarity(np.zeros((4, 3)), np.zeros((5, 3)))
