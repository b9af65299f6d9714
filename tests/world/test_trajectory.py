"""Root trajectories, poses that follow them, and one body a person."""

from __future__ import annotations

import numpy as np
import pytest

from bodycast.app.world.frame_world import world_rows
from bodycast.app.world.person_series import bone_length_m, resized_root
from bodycast.app.world.repose import repose, repose_points
from bodycast.app.world.root_filter import FIRST_M, FIRST_M_S, RootState, smooth_root, transition
from bodycast.app.world.shapes import RunningShape, body_height_m, clip_shape, with_height
from bodycast.hmr.body.keypoint_refinement import Held
from bodycast.hmr.body.soles import SOLE_CARRIER
from bodycast.hmr.geometry.ground import Floor
from bodycast.hmr.geometry.rotations import axis_angle_to_matrix
from tests.sinks.results import embedded_body, result_of
from tests.world.scenes import AVERAGE, LENS, Seen, at_another_depth, bowing, on_floor, see, skeleton

FLOOR = Floor.of_angles(0.2, 0.0, 1.6)


def test_the_root_smoother_is_the_least_squares_solution() -> None:
    rng = np.random.default_rng(0)
    time_s = np.cumsum(rng.uniform(0.02, 0.2, 7))
    places = rng.normal(size=(7, 3)) + np.array([0, 0, 4])
    factor = rng.normal(size=(7, 3, 3))
    precision = factor @ factor.swapaxes(1, 2) * 50
    precision[3] = 0  # a frame that nothing is known of
    vector = (precision @ (places + rng.normal(0, 0.3, places.shape))[..., None])[..., 0]
    # All states at once: a prior of the first, a step between neighbours, measurements.
    first = np.diag([FIRST_M**-2] * 3 + [FIRST_M_S**-2] * 3)
    normal, right = np.zeros((42, 42)), np.zeros(42)
    normal[:6, :6] = first
    right[:6] = first @ np.concatenate([places[0], np.zeros(3)])
    for row in range(7):
        at = slice(6 * row, 6 * row + 3)
        normal[at, at] += precision[row]
        right[at] += vector[row]
        if row:
            step, noise = transition(time_s[row] - time_s[row - 1])
            both = np.concatenate([-step, np.eye(6)], axis=1)
            rows = slice(6 * row - 6, 6 * row + 6)
            normal[rows, rows] += both.T @ np.linalg.solve(noise, both)
    expected = np.linalg.solve(normal, right).reshape(7, 6)[:, :3]
    np.testing.assert_allclose(smooth_root(time_s, places, precision, vector), expected, atol=1e-6)


def test_the_live_filter_ends_where_the_smoother_ends() -> None:
    time_s = np.arange(20) / 30
    places = np.stack([0.5 * time_s, np.zeros(20), 4 + time_s], axis=1)
    precision = np.tile(np.eye(3) * 400, (20, 1, 1))
    vector = (precision @ places[..., None])[..., 0]
    state = RootState.begin(places[0], 0.0)
    for row in range(20):
        state = state.predicted(time_s[row]).updated(precision[row], vector[row])
    np.testing.assert_allclose(state.mean[:3], smooth_root(time_s, places, precision, vector)[-1], atol=1e-9)


def test_a_body_that_moves_along_its_ray_keeps_its_picture_and_its_soles() -> None:
    pose, bow = bowing(75, 0.8)
    truth = see(pose, on_floor(pose, (0.3, -4.5)), FLOOR)
    estimate = at_another_depth(truth, 1 + 0.1 * bow)
    targets = repose_points(estimate.joints(), LENS)
    body = skeleton()
    rest = np.repeat(body.rest(AVERAGE[None]), 75, axis=0)
    soles = truth.series().soles_m
    held = Held(SOLE_CARRIER, body.offsets, soles, np.full((75, 4), 1 / 0.003**2, np.float32))
    turned, transl = repose(estimate.pose, rest, truth.root_m, targets, LENS, held)
    after = Seen(turned, transl + rest[:, 0])
    off = np.linalg.norm(repose_points(after.joints(), LENS) - targets, axis=-1)
    assert off.mean() < 1.0
    assert np.percentile(off, 95) < 4.0
    assert np.linalg.norm(after.series().soles_m - soles, axis=-1).max() < 0.005
    assert np.abs(after.root_m - truth.root_m).max() < 0.02
    # Left as it was, the picture would be off by much more.
    stiff = Seen(estimate.pose, truth.root_m)
    assert np.linalg.norm(repose_points(stiff.joints(), LENS) - targets, axis=-1).mean() > 3 * off.mean()


def test_one_wild_frame_hardly_moves_a_shape() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(0, 0.8, 10).astype(np.float32)
    betas = (truth + rng.normal(0, 0.2, (200, 10))).astype(np.float32)
    betas[50], betas[51] = 8, -8
    score = np.full(200, 0.9, np.float32)
    score[120:], betas[120:] = 0.0, 5.0  # a stretch in which they were not seen
    running = RunningShape()
    assert np.abs(running.betas).max() == 0
    for row in range(200):
        running.add(betas[row], float(score[row]))
    assert np.abs(running.betas - truth).max() < 0.1
    assert np.abs(clip_shape(betas, score) - truth).max() < 0.2


@pytest.mark.parametrize("height_m", [1.55, 1.95])
def test_a_given_height_is_met_and_the_picture_stays(height_m: float) -> None:
    body = embedded_body()
    betas = np.linspace(-1, 1, 10, dtype=np.float32)
    other = with_height(body, betas, height_m)
    assert body_height_m(body, other) == pytest.approx(height_m, abs=0.002)
    rest, new_rest = body.joints(betas[None]), body.joints(other[None])
    root = np.array([[0.5, 0.2, 5.0]], np.float32)
    moved = resized_root(root, rest, new_rest)
    ratio = float(bone_length_m(new_rest)[0] / bone_length_m(rest)[0])
    np.testing.assert_allclose(moved, root * ratio, rtol=1e-5)


def test_world_columns_are_smplx_parameters_of_the_world() -> None:
    result = result_of(3, people=[1, 2])
    floor = Floor.of_angles(0.3, -0.1, 1.4)
    estimates, matrix = result.estimates, floor.camera_to_world()
    world = world_rows(matrix, result.bodies.joints, estimates.pose[:, 0], estimates.transl_m)
    pose = estimates.pose.copy()
    pose[:, 0] = axis_angle_to_matrix(world.root_orient_world)
    again = embedded_body()(pose, estimates.betas, world.trans_world).joints
    expected = result.bodies.joints @ matrix[:3, :3].T + matrix[:3, 3]
    np.testing.assert_allclose(world.joints_world, expected, atol=1e-5)
    np.testing.assert_allclose(again, world.joints_world, atol=1e-4)
    back = (world.joints_world - matrix[:3, 3]) @ matrix[:3, :3]
    np.testing.assert_allclose(back, result.bodies.joints, atol=1e-5)
