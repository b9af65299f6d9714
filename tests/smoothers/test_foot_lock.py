"""Feet that stand stay where they stand, and legs reach without being stretched."""

from __future__ import annotations

import numpy as np
import pytest

from bodycast.app.smoothers.diffusion.foot_lock import FootLock
from bodycast.app.smoothers.diffusion.leg_ik import ANKLES, HIPS, KNEES, legs_of, reach
from bodycast.app.smoothers.rays import off_ray, on_ray
from bodycast.hmr.body.body_model import BodyModel
from bodycast.hmr.geometry.rotations import axis_angle_to_matrix

BODY = BodyModel.load()
BETAS = np.zeros((1, 10), np.float32)
REST = BODY.joints(BETAS)
UPRIGHT = np.diag([1.0, -1.0, -1.0]).astype(np.float32)
"""Facing a camera whose y points down."""


def standing(knees_rad: float = 0.2, lift_rad: float = 0.0) -> np.ndarray:
    """(1,24,3,3): bent knees; `lift_rad`: the right thigh is raised and its knee bent by so much more."""
    turns = np.zeros((1, 24, 3))
    turns[:, HIPS, 0], turns[:, KNEES, 0] = -knees_rad / 2, knees_rad
    turns[:, HIPS[1], 0] -= lift_rad
    turns[:, KNEES[1], 0] += lift_rad
    pose = axis_angle_to_matrix(turns).astype(np.float32)
    pose[:, 0] = UPRIGHT
    return pose


def feet_of(pose: np.ndarray, transl: np.ndarray) -> np.ndarray:
    return legs_of(pose, REST, transl).foot_m[0]


def at(x: float, z: float) -> np.ndarray:
    return np.array([[x, 0, z]], np.float32)


@pytest.mark.parametrize("knees_rad", [0.0, 0.05, 0.4, 1.5])
def test_ankles_get_where_they_should_and_feet_keep_their_orientation(knees_rad: float) -> None:
    pose, transl = standing(knees_rad), at(0.1, 3.0)
    legs = legs_of(pose, REST, transl)
    # Up, and a little to the side: always within reach.
    move = np.array([[[0.03, -0.06, 0.02], [-0.02, -0.03, -0.04]]], np.float32)
    found = legs_of(reach(pose, legs, move), REST, transl)
    np.testing.assert_allclose(found.ankle_m, legs.ankle_m + move, atol=2e-3)
    np.testing.assert_allclose(found.ankle, legs.ankle, atol=1e-5)
    np.testing.assert_allclose(found.foot_m - found.ankle_m, legs.foot_m - legs.ankle_m, atol=1e-5)


def test_a_leg_is_not_stretched_and_knees_bend_forwards() -> None:
    pose, transl = standing(0.3), at(0.0, 3.0)
    legs = legs_of(pose, REST, transl)
    down = np.array([[[0, 0.5, 0], [0, 0.5, 0]]], np.float32)
    far = legs_of(reach(pose, legs, down), REST, transl)
    length = np.linalg.norm(far.knee_m - far.hip_m, axis=-1) + np.linalg.norm(far.ankle_m - far.knee_m, axis=-1)
    np.testing.assert_allclose(np.linalg.norm(far.ankle_m - far.hip_m, axis=-1), 0.998 * length, rtol=1e-3)
    up = legs_of(reach(standing(0.0), legs_of(standing(0.0), REST, transl), -0.3 * down), REST, transl)
    # He faces the camera: forwards is towards it.
    assert (up.knee_m[..., 2] < up.hip_m[..., 2] - 0.1).all()


def test_nothing_is_moved_by_nothing() -> None:
    pose = standing(0.4)
    found = reach(pose, legs_of(pose, REST, at(0, 3)), np.zeros((1, 2, 3), np.float32))
    np.testing.assert_allclose(found, pose, atol=2e-3)
    others = [joint for joint in range(24) if joint not in (*HIPS, *KNEES, *ANKLES)]
    np.testing.assert_array_equal(found[:, others], pose[:, others])


def run(lock: FootLock, poses: list[np.ndarray], places: list[np.ndarray], step_s: float = 1 / 30) -> np.ndarray:
    """(F,2,3) feet, as held."""
    feet = []
    for frame, (pose, transl) in enumerate(zip(poses, places, strict=True)):
        held = lock.update(np.array([7], np.int32), pose, BETAS, transl, frame * step_s)
        feet.append(feet_of(held, transl))
    return np.stack(feet)


def test_unsure_depth_does_not_make_standing_feet_slide() -> None:
    """The place shakes by 12 mm along the line of sight and drifts by 0.3 m in three seconds: that is followed."""
    generator = np.random.default_rng(0)
    depth = 3 * np.exp(generator.normal(0, 0.004, 90)) + np.linspace(0, 0.3, 90)
    places = [at(0.2 * z / 3, float(z)) for z in depth]
    poses = [standing(0.4) for _ in places]
    raw = np.stack([feet_of(pose, place) for pose, place in zip(poses, places, strict=True)])
    held = run(FootLock(BODY), poses, places)

    def slide(feet: np.ndarray) -> float:
        return float(np.linalg.norm(np.diff(feet[20:], axis=0), axis=-1).mean())

    assert slide(held) < 0.4 * slide(raw)
    assert np.abs(held - raw)[-10:].max() < 0.1


def test_legs_that_shake_are_stilled() -> None:
    generator = np.random.default_rng(1)
    poses = [standing(0.3 + 0.02 * generator.normal(), 0.02 * generator.normal()) for _ in range(60)]
    places = [at(0, 3) for _ in poses]
    raw = np.stack([feet_of(pose, place) for pose, place in zip(poses, places, strict=True)])
    held = run(FootLock(BODY), poses, places)
    assert np.abs(np.diff(held[20:], axis=0)).mean() < 0.35 * np.abs(np.diff(raw[20:], axis=0)).mean()


def test_who_walks_by_is_let_alone() -> None:
    places = [at(1.2 * frame / 30 - 1, 3) for frame in range(45)]
    poses = [standing() for _ in places]
    held = run(FootLock(BODY), poses, places)
    raw = np.stack([feet_of(pose, place) for pose, place in zip(poses, places, strict=True)])
    np.testing.assert_allclose(held, raw, atol=1e-4)


def test_a_foot_that_is_lifted_is_let_go_without_a_jump() -> None:
    lifts = np.concatenate([np.zeros(30), np.linspace(0, 1.2, 8), np.full(12, 1.2)])
    poses = [standing(0.2, float(lift)) for lift in lifts]
    places = [at(0, 3) for _ in poses]
    raw = np.stack([feet_of(pose, place) for pose, place in zip(poses, places, strict=True)])
    held = run(FootLock(BODY), poses, places)
    assert np.abs(held - raw)[-5:, 1].max() < 0.01
    assert np.abs(held - raw)[:, 0].max() < 0.01
    fastest = np.linalg.norm(np.diff(raw[:, 1], axis=0), axis=-1).max()
    assert np.linalg.norm(np.diff(held[:, 1], axis=0), axis=-1).max() < 2.5 * fastest


def test_people_are_held_each_for_himself_and_forgotten_after_a_while() -> None:
    lock = FootLock(BODY)
    for frame in range(30):
        pose, transl = np.repeat(standing(), 2, axis=0), np.concatenate([at(0, 3), at(1.2 * frame / 30, 4)])
        ids = np.array([3, 9], np.int32)
        pose[0, HIPS[0]] = pose[0, HIPS[0]] @ axis_angle_to_matrix(np.array([0.02 * (-1) ** frame, 0, 0]))
        held = lock.update(ids, pose, np.repeat(BETAS, 2, axis=0), transl, frame / 30)
        np.testing.assert_allclose(held[1], pose[1], atol=1e-4)
    # The first one's left leg shakes, and is held.
    assert np.abs(held[0] - pose[0]).max() > 0.01
    empty = np.zeros((0, 24, 3, 3), np.float32)
    assert len(lock.update(ids[:0], empty, BETAS[:0], transl[:0], 1.1)) == 0
    np.testing.assert_allclose(lock.update(ids[:1], pose[:1], BETAS, at(-1, 5), 3.0), pose[:1], atol=1e-6)


def test_places_on_rays_go_and_come_back() -> None:
    points = np.array([[0.3, -0.2, 2.5], [-1.0, 0.5, 8.0]], np.float32)
    np.testing.assert_allclose(off_ray(on_ray(points)), points, rtol=1e-5)
