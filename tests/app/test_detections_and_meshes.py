"""Where the detector and a mesh do not agree: drift, rivals, parts of people, late answers."""

from __future__ import annotations

import numpy as np
import pytest

from tests.app.walkthrough import (
    MAN,
    STEP_S,
    Box,
    Walkthrough,
    moved,
    padded,
)


def drifted(walk: Walkthrough) -> Box:
    """A man is followed; then his mesh wanders off and he has not moved."""
    walk.detect(MAN)
    walk.see(MAN)
    box = MAN
    for _ in range(12):
        box = moved(box, 4.0)
        walk.see(box)
    return box


def test_a_mesh_that_has_drifted_off_loses_to_the_detection_if_the_network_says_so() -> None:
    walk = Walkthrough()
    box = drifted(walk)
    walk.detect(moved(MAN, -2))
    confirmed = walk.see(box, MAN, score=[0.5, 0.9])
    np.testing.assert_allclose(walk.tracks.xyxy[1], moved(MAN, -2), atol=0.1)
    assert confirmed.id.tolist() == [1]
    assert confirmed.rows.tolist() == [1]
    np.testing.assert_allclose(confirmed.xyxy[0], padded(MAN), atol=0.1)
    assert walk.see(MAN).id.tolist() == [1]


@pytest.mark.parametrize("rival_score", [0.05, 0.85, 0.95])
def test_a_wrong_detection_beside_a_good_mesh_changes_nothing(rival_score: float) -> None:
    walk = Walkthrough()
    box = drifted(walk)
    walk.detect(moved(MAN, -2))
    confirmed = walk.see(box, moved(MAN, 6), score=[0.9, rival_score])
    assert confirmed.id.tolist() == [1]
    np.testing.assert_allclose(confirmed.xyxy[0], padded(box), atol=0.1)
    walk.see(box)


def test_a_detection_between_two_people_may_turn_out_to_be_somebody_else() -> None:
    walk = Walkthrough()
    walk.detect(MAN)
    walk.see(MAN)
    between = moved(MAN, 45)
    walk.detect(between)
    confirmed = walk.see(MAN, moved(MAN, 80))
    assert confirmed.id.tolist() == [1, 2]


def test_a_detection_near_the_mesh_leaves_the_box_to_the_mesh() -> None:
    walk = Walkthrough()
    walk.detect(MAN)
    walk.see(MAN)
    walk.detect(moved(MAN, 12, 10))
    walk.see(MAN)
    np.testing.assert_allclose(walk.tracks.xyxy[0], padded(MAN), atol=0.1)


def test_a_detection_of_the_upper_body_is_the_same_person() -> None:
    walk = Walkthrough()
    walk.detect(MAN)
    walk.see(MAN)
    walk.detect((105, 105, 175, 180))
    assert walk.see(MAN).id.tolist() == [1]
    np.testing.assert_allclose(walk.tracks.xyxy[0], padded(MAN), atol=0.1)


def test_a_late_detection_is_compared_with_where_people_were_then() -> None:
    walk = Walkthrough()
    walk.detect(MAN)
    for frame in range(20):
        walk.see(moved(MAN, 8.0 * frame))
    # The frame that the detector was given is six frames (48 px) old: more than half the man's width.
    walk.detect(moved(MAN, 8.0 * 13), late_s=7 * STEP_S)
    confirmed = walk.see(moved(MAN, 8.0 * 20))
    assert confirmed.id.tolist() == [1]
    np.testing.assert_allclose(walk.tracks.xyxy[0], padded(moved(MAN, 8.0 * 20)), atol=1.0)


def test_a_mesh_that_has_grown_without_measure_is_pulled_back_by_a_detection_inside_it() -> None:
    walk = Walkthrough()
    walk.detect(MAN)
    box = MAN
    for _ in range(25):
        walk.see(box)
        width, height = box[2] - box[0], box[3] - box[1]
        box = (box[0] - 0.02 * width, box[1] - 0.02 * height, box[2] + 0.02 * width, box[3] + 0.02 * height)
    assert len(walk.follower) == 1
    walk.detect(MAN)
    confirmed = walk.see(box, MAN, score=[0.6, 0.9])
    assert confirmed.id.tolist() == [1]
    np.testing.assert_allclose(confirmed.xyxy[0], padded(MAN), atol=0.1)


def test_the_place_of_a_track_that_a_rival_took_over_is_told_as_ended() -> None:
    walk = Walkthrough()
    box = drifted(walk)
    key = int(walk.tracks.id[0])
    walk.detect(moved(MAN, -2))
    followed = walk.see(box, MAN, score=[0.5, 0.9])
    assert followed.ended == {key: np.inf}, "believed to the last: its id goes on"
    assert walk.follower.last_loss_s is None
