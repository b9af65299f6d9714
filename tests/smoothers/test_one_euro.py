"""The one-euro filter: noise, lag, frame rates, the wrap at 180 degrees, gaps."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from bodycast.app.records import BodyEstimates
from bodycast.app.smoothers.one_euro import Cutoff, OneEuroOptions, OneEuroSmoother
from bodycast.hmr.geometry.rotations import axis_angle_to_matrix, geodesic_distance

AXIS = np.array([0.6, 0.0, 0.8])
Angle = Callable[[np.ndarray], np.ndarray]


def body(pose: np.ndarray, transl_m: np.ndarray | None = None, betas: np.ndarray | None = None) -> BodyEstimates:
    """One person, id 1."""
    transl = np.array([0.0, 0.0, 3.0]) if transl_m is None else transl_m
    return BodyEstimates(
        id=np.array([1], np.int32),
        pose=np.asarray(pose, np.float32)[None],
        betas=np.asarray(np.zeros(10) if betas is None else betas, np.float32)[None],
        transl_m=np.asarray(transl, np.float32)[None],
        score=np.ones(1, np.float32),
        token=np.zeros((1, 0), np.float32),
    )


def turned(angle_rad: np.ndarray, noise_rad: float = 0.0, seed: int = 0) -> np.ndarray:
    """(F,24,3,3): every joint turned about the same axis by (F,) angles, with noise in the tangent space."""
    clean = axis_angle_to_matrix(angle_rad[:, None, None] * AXIS * np.ones((1, 24, 1)))
    noise = np.random.default_rng(seed).normal(0, noise_rad, (len(angle_rad), 24, 3))
    return clean @ axis_angle_to_matrix(noise)


def filtered(poses: np.ndarray, fps: float, options: OneEuroOptions | None = None) -> np.ndarray:
    """(F,24,3,3) through the filter."""
    smoother = OneEuroSmoother(options)
    return np.stack([smoother.update(body(pose), frame / fps).pose[0] for frame, pose in enumerate(poses)])


def jerkiness(poses: np.ndarray) -> float:
    """Mean change of the turn from frame to frame, radians."""
    steps = np.swapaxes(poses[:-1], -1, -2) @ poses[1:]
    turns = 0.5 * np.stack([steps[..., 2, 1] - steps[..., 1, 2], steps[..., 0, 2] - steps[..., 2, 0]], axis=-1)
    return float(np.abs(np.diff(turns, axis=0)).mean())


def test_noise_at_rest_is_halved_and_the_shaking_cut_to_a_third() -> None:
    noisy = turned(np.full(150, 0.4), noise_rad=0.03)
    calm = filtered(noisy, 30.0)
    truth = turned(np.full(150, 0.4))
    error = geodesic_distance(calm, truth)[30:].mean() / geodesic_distance(noisy, truth)[30:].mean()
    assert error < 0.55
    assert jerkiness(calm[30:]) < jerkiness(noisy[30:]) / 2.8


@pytest.mark.parametrize("fps", [15.0, 30.0, 60.0])
def test_constants_mean_the_same_at_any_frame_rate(fps: float) -> None:
    """A step of 0.5 rad: how far the filter has come after given times depends on seconds, not on frames."""
    frames = int(2 * fps)
    step = filtered(turned(np.where(np.arange(frames) / fps < 0.5, 0.0, 0.5)), fps)
    reference = filtered(turned(np.where(np.arange(480) / 240 < 0.5, 0.0, 0.5)), 240.0)
    for after_s in (0.2, 0.4, 0.8):
        # Sampled: the step is seen up to one frame late.
        late = geodesic_distance(step[round((0.5 + after_s) * fps)], np.eye(3))[1]
        wanted = [geodesic_distance(reference[round((0.5 + after_s - dt) * 240)], np.eye(3))[1] for dt in (1 / fps, 0)]
        assert min(wanted) - 0.03 <= late <= max(wanted) + 0.03


def test_noise_at_rest_does_not_depend_on_the_frame_rate() -> None:
    residual = [
        geodesic_distance(filtered(turned(np.zeros(int(8 * fps)), 0.02), fps), np.eye(3))[int(2 * fps) :].mean()
        for fps in (15.0, 30.0, 60.0)
    ]
    # More frames average more noise away, never less: what must not happen is that noise passes for speed.
    assert residual[0] > residual[1] > residual[2]


@pytest.mark.parametrize(("hertz", "most_lag_s"), [(0.3, 0.14), (1.0, 0.07), (2.0, 0.05)])
def test_motion_is_followed_with_a_bounded_lag(hertz: float, most_lag_s: float) -> None:
    """The faster the motion, the smaller the delay."""
    fps = 60.0
    time_s = np.arange(int(6 * fps)) / fps
    truth = 0.8 * np.sin(2 * np.pi * hertz * time_s)
    poses = filtered(turned(truth), fps)
    # The angle about the axis, from the antisymmetric part of the rotation.
    sine = 0.5 * np.stack([poses[..., 2, 1] - poses[..., 1, 2], poses[..., 1, 0] - poses[..., 0, 1]], axis=-1)
    angle = np.arcsin(np.clip(sine @ AXIS[[0, 2]], -1, 1))[:, 5]
    lags = np.arange(0, int(0.3 * fps))
    error = [np.abs(angle[120 + lag :] - truth[120 : len(truth) - lag]).mean() for lag in lags]
    assert lags[int(np.argmin(error))] / fps <= most_lag_s
    # And no overshoot: the filtered swing is no larger than the true one.
    assert np.abs(angle).max() <= 0.8 + 1e-3


def test_a_turn_through_180_degrees_does_not_flip() -> None:
    angle = np.linspace(np.pi - 0.6, np.pi + 0.6, 40)
    smooth = filtered(turned(angle, noise_rad=0.01), 30.0)
    step = geodesic_distance(smooth[:-1], smooth[1:])
    # The input turns 0.031 rad a frame, plus noise.
    assert step.max() < 0.08
    assert geodesic_distance(smooth, turned(angle)).max() < 0.25


def test_after_a_gap_a_person_starts_anew_and_after_a_shorter_one_he_does_not() -> None:
    first, second = turned(np.array([0.0]))[0], turned(np.array([1.0]))[0]
    for gap_s, anew in ((0.3, False), (0.6, True)):
        smoother = OneEuroSmoother(OneEuroOptions(joints=Cutoff(0.1, 0.0), root=Cutoff(0.1, 0.0)))
        smoother.update(body(first), 0.0)
        distance = geodesic_distance(smoother.update(body(second), gap_s).pose[0], second).max()
        assert bool(distance < 1e-3) == anew


def test_somebody_away_for_a_moment_is_remembered_while_others_go_on() -> None:
    smoother = OneEuroSmoother(OneEuroOptions(joints=Cutoff(0.1, 0.0), root=Cutoff(0.1, 0.0)))
    first, second = turned(np.array([0.0]))[0], turned(np.array([1.0]))[0]
    smoother.update(body(first), 0.0)
    smoother.update(BodyEstimates.empty(), 0.1)
    assert geodesic_distance(smoother.update(body(second), 0.2).pose[0], first).max() < 0.3


def test_time_that_runs_backwards_starts_anew() -> None:
    smoother = OneEuroSmoother()
    smoother.update(body(turned(np.array([0.0]))[0]), 5.0)
    second = turned(np.array([1.0]))[0]
    assert geodesic_distance(smoother.update(body(second), 0.0).pose[0], second).max() < 1e-3


def test_the_same_instant_twice_changes_nothing() -> None:
    smoother = OneEuroSmoother()
    smoother.update(body(turned(np.array([0.0]))[0]), 1.0)
    once = smoother.update(body(turned(np.array([0.5]))[0]), 1.1)
    twice = smoother.update(body(turned(np.array([0.9]))[0]), 1.1)
    assert np.isfinite(twice.pose).all()
    assert geodesic_distance(once.pose, twice.pose).max() < 1e-3


def test_depth_shakes_less_and_the_picture_position_stays_true() -> None:
    """A person who stands still, with a depth that jumps by 5 %: x/z and y/z are kept, z is calmed."""
    generator = np.random.default_rng(3)
    ray = np.array([0.2, -0.1, 1.0])
    pose = turned(np.zeros(1))[0]
    smoother = OneEuroSmoother()
    depths, rays = [], []
    for frame in range(120):
        z = 3.0 * np.exp(generator.normal(0, 0.05))
        transl = smoother.update(body(pose, ray * z), frame / 30).transl_m[0]
        depths.append(np.log(transl[2]))
        rays.append(transl / transl[2])
    assert np.std(depths[30:]) < 0.05 / 2
    # White noise of this size moves 0.056 between frames.
    assert np.abs(np.diff(depths[30:])).mean() < 0.056 / 4
    assert np.abs(np.array(rays) - ray).max() < 1e-4


def test_shape_hardly_moves() -> None:
    generator = np.random.default_rng(4)
    pose = turned(np.zeros(1))[0]
    smoother = OneEuroSmoother()
    betas = [smoother.update(body(pose, betas=generator.normal(0, 1, 10)), frame / 30).betas[0] for frame in range(150)]
    assert np.std(np.array(betas)[60:], axis=0).max() < 0.25


def test_useless_constants_are_refused() -> None:
    with pytest.raises(ValueError, match="min_hz > 0"):
        Cutoff(0.0, 1.0)
    with pytest.raises(ValueError, match="response >= 0"):
        Cutoff(1.0, -1.0)
