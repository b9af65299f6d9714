"""Metrics: the official evaluation code's numbers, and cases worked out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bodycast.hmr.geometry import metrics
from bodycast.hmr.geometry.rotations import axis_angle_to_matrix


@pytest.fixture(scope="module")
def golden(goldens_dir: Path):
    return np.load(goldens_dir / "geometry.npz", allow_pickle=False)


def test_position_errors_match_the_official_code(golden):
    a, b = golden["in/S1"], golden["in/S2"]
    np.testing.assert_allclose(metrics.mpjpe_mm(a, b), golden["out/eval_mpjpe_mm"], rtol=1e-5)
    np.testing.assert_allclose(metrics.pa_mpjpe_mm(a, b), golden["out/eval_pampjpe_mm"], rtol=1e-4)


def test_acceleration_errors_match_the_official_code(golden):
    p, g, visible = golden["in/joints_pred"], golden["in/joints_gt"], golden["in/vis"]
    np.testing.assert_allclose(metrics.acceleration_error_mm(p, g), 1000 * golden["out/accel_error"], rtol=1e-4)
    np.testing.assert_allclose(
        metrics.acceleration_error_mm(p, g, visible), 1000 * golden["out/accel_error_vis"], rtol=1e-4
    )


def test_root_alignment_removes_a_common_shift_and_pa_a_similarity():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(5, 24, 3))
    shifted = truth + np.array([0.3, -0.4, 0.0])
    np.testing.assert_allclose(metrics.mpjpe_mm(shifted, truth), 500.0)
    np.testing.assert_allclose(metrics.mpjpe_mm(shifted, truth, root=0), 0.0, atol=1e-9)
    turned = 1.7 * shifted @ axis_angle_to_matrix([0.3, 1.0, -0.2]).T
    np.testing.assert_allclose(metrics.pa_mpjpe_mm(turned, truth), 0.0, atol=1e-8)


def test_pve_relative_to_roots():
    rng = np.random.default_rng(1)
    truth = rng.normal(size=(2, 50, 3))
    predicted = truth + np.array([0.0, 0.0, 0.1])
    np.testing.assert_allclose(metrics.pve_mm(predicted, truth), 100.0)
    np.testing.assert_allclose(metrics.pve_mm(predicted, truth, predicted[:, 0], truth[:, 0]), 0.0, atol=1e-9)
    with pytest.raises(ValueError, match="both roots or none"):
        metrics.pve_mm(predicted, truth, predicted_root=predicted[:, 0])


def test_acceleration_and_jitter_of_a_known_path():
    """x = t^3 metres per second^3: acceleration 6 t, jerk 6."""
    fps = 25.0
    t = np.arange(12) / fps
    points = np.zeros((12, 2, 3))
    points[..., 0] = (t**3)[:, None]
    still = np.zeros_like(points)
    per_frame = metrics.acceleration_error_mm(points, still) / 1000
    np.testing.assert_allclose(per_frame * fps**2, 6 * t[1:-1], atol=1e-9)
    np.testing.assert_allclose(metrics.jitter_m_s3(points, fps), 6.0, rtol=1e-6)
    np.testing.assert_allclose(metrics.jitter_m_s3(still, fps), 0.0)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="share a shape"):
        metrics.mpjpe_mm(np.zeros((2, 3, 3)), np.zeros((2, 4, 3)))
    with pytest.raises(ValueError, match="F >= 3"):
        metrics.acceleration(np.zeros((2, 4, 3)))
    with pytest.raises(ValueError, match="F >= 4"):
        metrics.jitter_m_s3(np.zeros((3, 4, 3)), 30.0)
