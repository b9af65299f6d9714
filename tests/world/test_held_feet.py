"""Feet that let go, land, and are lifted: nothing jumps."""

from __future__ import annotations

import numpy as np

from bodycast.app.world.held_feet import RELEASE_S, held_soles, released
from bodycast.app.world.person_series import well_seen
from bodycast.app.world.root_filter import RootState
from bodycast.app.world.standing import Plane, root_sight, unless_seen

TIME_S = np.arange(40) / 30
OFF = np.array([0.12, 0.0, 0.05])
NOTHING = np.zeros((1, 4, 3)), np.zeros((1, 4))
"""No correction."""


def _stands(hold: np.ndarray, soles: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    off = np.tile(OFF, (40, 4, 1))
    return released(TIME_S, np.zeros((40, 4, 3)) if soles is None else soles, off, hold)


def test_a_foot_that_stands_is_on_its_place_and_fades_to_both_sides() -> None:
    hold = np.zeros((40, 4))
    hold[15:25] = 1
    correction, left = _stands(hold)
    np.testing.assert_allclose(correction[15:25], np.tile(OFF, (10, 4, 1)), atol=1e-12)
    steps = np.linalg.norm(np.diff(correction[:, 0], axis=0), axis=1)
    assert steps.max() < 1.2 * np.linalg.norm(OFF) / (RELEASE_S * 30)
    assert not left[: 15 - round(RELEASE_S * 30)].any() and not left[25 + round(RELEASE_S * 30) :].any()


def test_one_frame_without_contact_is_hardly_a_step() -> None:
    hold = np.ones((40, 4))
    hold[20] = 0
    correction, _ = _stands(hold)
    assert np.linalg.norm(correction[20, 0] - OFF) < 0.25 * np.linalg.norm(OFF)


def test_a_foot_that_swings_away_is_free_at_once() -> None:
    hold = np.zeros((40, 4))
    hold[:20] = 1
    soles = np.zeros((40, 4, 3))
    soles[20:, :, 0] = 0.16 * np.arange(1, 21)[:, None]  # 4.8 m/s
    correction, _ = _stands(hold, soles)
    assert np.linalg.norm(correction[21], axis=1).max() < 1e-9


def test_what_was_under_the_plane_stays_lifted() -> None:
    plane = Plane(np.array([0.0, -1.0, 0.0]), 1.5)
    free = np.zeros((1, 4, 3), np.float32)
    free[..., 1], free[..., 2] = 1.6, 4.0  # 10 cm under it
    lifted = free.copy()
    lifted[..., 1] = 1.499
    for soles in (free, lifted):  # as it comes, and in the second pass, when it is there already
        places, precision = held_soles(soles, *NOTHING, plane.up, np.array(plane.height_m), free)
        assert (precision > 0).all()
        assert (plane.heights_m(places) > -1e-6).all()


def test_who_is_far_under_the_floor_stands_on_another_level_and_is_not_folded() -> None:
    plane = Plane(np.array([0.0, -1.0, 0.0]), 1.5)
    soles = np.zeros((1, 4, 3), np.float32)
    soles[..., 1], soles[..., 2] = 1.5 + 1.6, 4.0  # a roof is the floor that is known
    places, precision = held_soles(soles, *NOTHING, plane.up, np.array(plane.height_m), soles)
    assert not precision.any()
    np.testing.assert_allclose(places, soles)


def test_a_badly_seen_foot_goes_on_standing() -> None:
    against = np.zeros(3)
    np.testing.assert_allclose(unless_seen(np.array([0.1, 0.5, 0.9], np.float32), against), [1, 0.5, 0], atol=1e-6)


def test_who_is_seen_badly_is_not_carried_off() -> None:
    state = RootState.begin(np.array([0.0, 0.0, 5.0]), 0.0)
    state.mean[5] = 6.0
    assert state.predicted(0.5).mean[2] == 8.0
    assert state.predicted(0.5, sure=0.3).mean[5] < 0.3
    root = np.array([[0.0, 0.0, 5.0]])
    well, badly = (root_sight(root, np.array([sure]), 1.0)[0][0, 2, 2] for sure in (1.0, 0.4))
    assert badly < 0.05 * well


def test_confidence_says_how_well_somebody_is_seen() -> None:
    keypoints = np.zeros((2, 17, 3), np.float32)
    keypoints[0, :, 2], keypoints[1, :, 2] = 0.9, 0.3
    np.testing.assert_allclose(well_seen(keypoints, np.ones(2, np.float32)), [1, 0.5], atol=1e-6)
    np.testing.assert_allclose(well_seen(keypoints[:, :0], np.array([0.7, 0.2], np.float32)), [0.7, 0.2])
