"""Who is shown: nobody before the detector has seen him often enough and the network likes him."""

from __future__ import annotations

import numpy as np

from bodycast.app.records import Detections
from bodycast.app.tracking.options import FollowOptions
from tests.app.walkthrough import (
    MAN,
    WOMAN,
    Box,
    Walkthrough,
    moved,
    padded,
)


def test_nobody_is_followed_until_the_detector_has_seen_somebody() -> None:
    walk = Walkthrough()
    assert len(walk.see().id) == 0
    walk.detect(MAN)
    assert walk.see(MAN).id.tolist() == [1]


def test_a_detection_that_the_network_does_not_believe_is_never_shown_and_uses_up_no_id() -> None:
    walk = Walkthrough()
    walk.detect(WOMAN)
    assert len(walk.see(WOMAN, score=0.05).id) == 0
    assert len(walk.follower) == 0
    walk.detect(MAN)
    assert walk.see(MAN).id.tolist() == [1]


def test_one_strong_or_several_weak_detections_do_not_show_a_newcomer_at_once() -> None:
    walk = Walkthrough()
    seen_at: list[int] = []
    for score in (0.9, 0.5):
        walk.follower.reset()
        for look in range(1, 9):
            walk.follower.observe(Detections(np.array([MAN], np.float32), np.array([score], np.float32)), walk.time_s)
            confirmed = walk.see(MAN)
            if confirmed.shown.any():
                seen_at.append(look)
                break
        walk.time_s += 10.0  # nobody is remembered
    assert seen_at == [2, 4]


def test_a_newcomer_whom_the_detector_does_not_see_again_goes_unseen() -> None:
    walk = Walkthrough()
    walk.follower.observe(Detections(np.array([MAN], np.float32), np.array([0.6], np.float32)), 0.0)
    for _ in range(2):
        assert not walk.see(MAN).shown.any()
        walk.detect()
    assert len(walk.follower) == 0
    assert walk.follower.last_loss_s is None


def test_no_more_people_than_asked_for_the_largest_first() -> None:
    walk = Walkthrough(FollowOptions(max_people=2))
    child: Box = (300, 300, 330, 380)
    walk.detect(child, WOMAN, MAN)
    confirmed = walk.see(MAN, WOMAN)
    np.testing.assert_allclose(confirmed.xyxy[:, 0], [padded(MAN)[0], padded(WOMAN)[0]], atol=0.1)


def look(walk: Walkthrough, score: float) -> None:
    walk.follower.observe(Detections(np.array([MAN], np.float32), np.array([score], np.float32)), walk.time_s)


def test_at_the_end_of_a_still_picture_one_look_is_enough() -> None:
    walk = Walkthrough()
    look(walk, 0.6)
    confirmed = walk.see(MAN)
    assert not confirmed.shown.any()
    assert walk.follower.settle() == {int(confirmed.key[0]): 1}
    assert walk.follower.settle() == {}


def test_at_the_end_of_a_short_shot_every_look_must_have_seen_him() -> None:
    for missed, proven in ((0, 1), (1, 0)):
        walk = Walkthrough()
        look(walk, 0.6)
        walk.see(MAN)
        for turn in range(2):
            if turn < missed:
                walk.detect()
            else:
                look(walk, 0.5)
            walk.see(MAN)
        assert len(walk.follower.settle()) == proven


def test_the_end_of_a_long_shot_proves_nobody() -> None:
    walk = Walkthrough()
    for _ in range(4):
        walk.detect()
        walk.see()
    look(walk, 0.7)
    walk.see(MAN)
    assert walk.follower.settle() == {}


def test_a_still_picture_of_what_the_network_doubts_shows_nobody() -> None:
    walk = Walkthrough()
    look(walk, 0.9)
    walk.see(MAN, score=0.45)
    assert walk.follower.settle() == {}


def test_a_mesh_that_slid_to_somebodys_legs_gives_way_to_the_whole_body() -> None:
    """The network likes the mesh on the legs; the detector sees the body, which that mesh is a small part of."""
    walk = Walkthrough()
    walk.detect(MAN)
    walk.see(MAN)
    x0, y0, x1, y1 = MAN
    legs = (x0, y1 - 0.15 * (y1 - y0), x1, y1 + 0.3 * (y1 - y0))
    box = MAN
    for step in range(60):  # as far as a mesh may move its box in a frame
        box = tuple(a + (b - a) * min(1.0, step / 50) for a, b in zip(MAN, legs, strict=True))
        walk.see(box)
    ids: list[list[int]] = []
    for _ in range(3):
        walk.detect(MAN)
        seen = walk.see(box, MAN) if not ids or ids[-1] == [1, 0] else walk.see(MAN)
        ids.append(seen.id.tolist())
        if seen.id.tolist() == [1]:
            break
    assert ids[0] == [1, 0], "not shown while one of the two is wrong"
    assert ids[-1] == [1]
    np.testing.assert_allclose(walk.see(MAN).xyxy[0], padded(MAN), atol=2)


def test_somebody_hidden_by_somebody_known_has_longer() -> None:
    walk = Walkthrough()
    walk.detect(MAN, moved(MAN, 120))
    walk.see(MAN, moved(MAN, 120))
    box = MAN
    for step in range(40):
        box = moved(MAN, 120 - 2.2 * step)
        walk.see(MAN, box)
    behind = box
    looks = 0
    while len(walk.follower) == 2 and looks < 20:
        walk.detect(MAN)
        looks += 1
        walk.see(MAN, behind)
    assert looks > 5
