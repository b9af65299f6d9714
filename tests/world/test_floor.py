"""The floor, from feet of made-up people who stand on it."""

from __future__ import annotations

import numpy as np
import pytest

from bodycast.app.world.clip import judge_clip, samples_of
from bodycast.app.world.contacts import contacts_of
from bodycast.app.world.floor_fit import FloorFit, FloorKnown, fit_floor
from bodycast.app.world.person_series import PersonSeries
from bodycast.hmr.geometry.ground import Floor, camera_to_world
from tests.world.scenes import Seen, on_floor, see, upright, walking

FLOOR = Floor.of_angles(0.25, 0.03, 1.9)


def stands(x: float, z: float, level_m: float = 0.0, frames: int = 60) -> Seen:
    pose = upright(frames, 0.3)
    return see(pose, on_floor(pose, (x, z), level_m), FLOOR)


def joined(parts: list[Seen]) -> PersonSeries:
    """One person who stands at one place after the other."""
    return Seen(np.concatenate([part.pose for part in parts]), np.concatenate([part.root_m for part in parts])).series()


def fitted(people: list[PersonSeries], known: FloorKnown | None = None) -> FloorFit:
    """All feet stand."""
    contacts = [np.ones((len(person), 4), np.float32) for person in people]
    return fit_floor(samples_of(people, contacts, range(len(people)), [0.05] * len(people)), known or FloorKnown())


def test_feet_of_people_who_stand_give_pitch_roll_and_height() -> None:
    people = [stands(-1, -4).series(), stands(1, -6).series(), stands(0, -8).series()]
    placed = judge_clip(people, [0, 1, 2], [0.05] * 3, FloorKnown())
    assert placed.fit.floor is not None
    assert placed.fit.floor.pitch_rad == pytest.approx(FLOOR.pitch_rad, abs=0.02)
    assert placed.fit.floor.roll_rad == pytest.approx(FLOOR.roll_rad, abs=0.02)
    assert placed.fit.floor.height_m == pytest.approx(FLOOR.height_m, rel=0.05)
    assert np.abs(placed.fit.level_m).max() < 0.05
    # What it says of its own error is about as large as the error that it has.
    assert abs(placed.fit.floor.pitch_rad - FLOOR.pitch_rad) < 2 * placed.fit.pitch_spread < 0.1


def test_a_level_camera_and_a_known_height_are_kept() -> None:
    people = [stands(-1, -4).series(), stands(1, -6).series()]
    fit = fitted(people, FloorKnown(camera_height_m=1.3, level=True))
    assert fit.floor is not None
    assert fit.floor.height_m == pytest.approx(1.3, abs=1e-3)
    assert abs(fit.floor.pitch_rad) < 1e-3
    assert abs(fit.floor.roll_rad) < 1e-3


def test_two_levels_are_told_apart_and_stay_parallel() -> None:
    people = [stands(-1, -5).series(), stands(1, -7).series(), stands(0.5, -8, 0.9).series()]
    placed = judge_clip(people, [0, 1, 2], [0.05] * 3, FloorKnown())
    level = placed.fit.level_m
    assert np.abs(level[:2]).max() < 0.1
    assert level[2] == pytest.approx(0.9, abs=0.15)
    ground, roof = placed.planes_of(0), placed.planes_of(2)
    higher = min(roof, key=lambda plane: plane.height_m)
    np.testing.assert_allclose(higher.up, ground[0].up, atol=1e-12)
    assert ground[0].height_m - higher.height_m == pytest.approx(level[2])


def test_a_newcomer_elsewhere_has_no_level_yet_and_does_not_tilt_the_floor() -> None:
    settled = [stands(-1, -5, 1.2).series(), stands(1, -7, 1.2).series()]
    alone = fitted(settled)
    fit = fitted([*settled, stands(0.5, -6, 0.0, frames=10).series()])
    assert alone.floor is not None and fit.floor is not None
    np.testing.assert_allclose(fit.floor.plane, alone.floor.plane, atol=0.02)  # how upright they are counts
    assert np.isnan(fit.level_m[2])
    later = fitted([*settled, stands(0.5, -6, 0.0).series()])
    assert later.level_m[2] == 0 and later.level_m[:2] == pytest.approx(1.2, abs=0.2)


def test_who_stands_higher_than_the_camera_is_on_no_floor_and_leaves_it_alone() -> None:
    people = [stands(-1, -5).series(), stands(1, -7).series(), stands(0.5, -8, 2.5).series()]
    fit = fitted(people)
    assert fit.floor is not None
    assert np.isnan(fit.level_m[2])
    assert np.abs(fit.level_m[:2]).max() < 0.1
    assert fit.floor.pitch_rad == pytest.approx(FLOOR.pitch_rad, abs=0.03)


def test_stairs_are_no_floor() -> None:
    climbs = joined([stands(0.2 * step - 0.6, -5 - 0.2 * step, 0.6 * (step % 3), 20) for step in range(6)])
    alone = fitted([climbs])
    assert alone.floor is None
    assert np.isnan(alone.level_m).all()
    fit = fitted([climbs, stands(-1, -5).series(), stands(1, -6).series()])
    assert fit.floor is not None
    assert np.isnan(fit.level_m[0])
    assert fit.level_m[1:] == pytest.approx(0, abs=0.05)
    assert fit.floor.pitch_rad == pytest.approx(FLOOR.pitch_rad, abs=0.03)
    assert fit.floor.height_m == pytest.approx(FLOOR.height_m, rel=0.05)


def test_nobody_who_stands_is_no_floor() -> None:
    person = stands(0, -5).series()
    fit = fit_floor(samples_of([person], [np.zeros((len(person), 4), np.float32)], [0], [0.05]))
    assert fit.floor is None


def test_a_floor_and_its_world_say_the_same_height() -> None:
    points = np.random.default_rng(0).normal(size=(20, 3)) + np.array([0, 0, 4])
    matrix = FLOOR.camera_to_world()
    world = points @ matrix[:3, :3].T + matrix[:3, 3]
    np.testing.assert_allclose(world[:, 1], FLOOR.heights_m(points), atol=1e-12)
    np.testing.assert_allclose(world[:, 1], points @ FLOOR.plane[:3] + FLOOR.plane[3], atol=1e-12)
    np.testing.assert_allclose(matrix[:3, :3] @ matrix[:3, :3].T, np.eye(3), atol=1e-12)
    assert np.linalg.det(matrix[:3, :3]) == pytest.approx(1)
    ahead = matrix[:3, :3] @ np.array([0, 0, 1.0])
    assert ahead[0] == pytest.approx(0)
    assert ahead[2] < 0  # the camera looks along -z
    straight_down = camera_to_world(np.array([0.0, 0.0, -1.0]), 2.0)
    assert np.isfinite(straight_down).all()


def test_the_contact_network_knows_stance_from_swing() -> None:
    pose, root, phase = walking(120, 110, 0.35)
    floor = Floor.of_angles(0.1, 0.0, 1.5)
    person = see(pose, root + np.array([0, 0, -7], np.float32), floor).series()
    swings, stands_still = np.cos(phase) > 0.5, np.cos(phase) < -0.5
    for ahead in (True, False):
        contact = contacts_of(person, floor.up, ahead=ahead)
        for left, right in ((slice(0, 2), slice(2, 4)), (slice(2, 4), slice(0, 2))):
            assert contact[swings][:, left].mean() < 0.2
            assert contact[stands_still][:, left].mean() > 0.5
            swings, stands_still, left, right = stands_still, swings, right, left
