"""Ids that stay, tracks that end, people who pass each other, walk out or become one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bodycast.app.records import Tracks
from bodycast.app.tracking.options import FollowOptions
from tests.app.walkthrough import (
    CAMERA,
    MAN,
    STEP_S,
    WH,
    WOMAN,
    Box,
    Walkthrough,
    bodies_in,
    estimates_for,
    frame_at,
    moved,
    padded,
)


def test_a_mesh_that_stays_unbelievable_ends_its_track() -> None:
    walk = Walkthrough()
    walk.detect(MAN)
    for _ in range(5):
        walk.see(MAN)
    for _ in range(17):
        walk.see(*([moved(MAN, 300)] * len(walk.follower)))
    assert len(walk.follower) == 0
    assert walk.follower.last_loss_s is not None


def test_a_low_score_ends_a_track_after_a_while_and_not_at_once() -> None:
    walk = Walkthrough(FollowOptions(min_score=0.3, low_score_s=0.5))
    walk.detect(MAN)
    walk.see(MAN)
    shown = 0
    while len(walk.follower):
        shown += len(walk.see(MAN, score=0.1).id)
    assert 14 <= shown <= 16  # half a second of frames


def test_one_good_score_forgives_the_low_ones_before_it() -> None:
    walk = Walkthrough()
    walk.detect(MAN)
    walk.see(MAN)
    for frame in range(40):
        assert walk.see(MAN, score=0.9 if frame % 10 == 9 else 0.1).id.tolist() == [1]


def test_a_second_person_gets_the_next_id_and_the_first_keeps_his() -> None:
    walk = Walkthrough()
    walk.detect(MAN)
    walk.see(MAN)
    walk.detect(WOMAN, MAN)
    assert walk.see(MAN, WOMAN).id.tolist() == [1, 2]


def test_ids_stay_while_two_people_pass_each_other() -> None:
    walk = Walkthrough()
    other: Box = (440, 100, 520, 340)
    walk.detect(MAN, other)
    for frame in range(60):
        here, there = moved(MAN, 5.0 * frame), moved(other, -5.0 * frame)
        if frame % 15 == 0 and frame:
            walk.detect(here, there)
        confirmed = walk.see(here, there)
        assert confirmed.id.tolist() == [1, 2]
        np.testing.assert_allclose(confirmed.xyxy[0], padded(here), atol=0.1)


def test_somebody_who_comes_back_soon_gets_his_id_back_and_a_stranger_does_not() -> None:
    walk = Walkthrough()
    walk.detect(MAN)
    walk.see(MAN)
    while len(walk.follower):
        walk.see(MAN, score=0.0)
    walk.detect(moved(MAN, 5), WOMAN)
    newcomers = walk.see(moved(MAN, 5), WOMAN)
    assert sorted(newcomers.id.tolist()) == [1, 2]
    assert newcomers.id[int(newcomers.xyxy[:, 0].argmin())] == 1


def test_two_tracks_on_one_person_become_one_and_the_older_stays() -> None:
    walk = Walkthrough()
    walk.detect(MAN, WOMAN)
    assert walk.see(MAN, WOMAN).id.tolist() == [1, 2]
    box = WOMAN
    while len(walk.follower) == 2:  # the second mesh wanders over to the first person
        box = tuple(0.8 * b + 0.2 * m for b, m in zip(box, MAN, strict=True))  # type: ignore[assignment]
        confirmed = walk.see(MAN, box)
        assert walk.time_s < 3.0
    assert walk.see(MAN).id.tolist() == [1]
    assert confirmed.id.tolist() == [1]


def test_two_people_close_together_stay_two() -> None:
    walk = Walkthrough()
    neighbour = moved(MAN, 40)
    walk.detect(MAN, neighbour)
    for _ in range(30):
        assert len(walk.see(MAN, neighbour).id) == 2


def test_somebody_who_walks_out_of_the_picture_is_ended() -> None:
    walk = Walkthrough()
    box: Box = (560, 100, 640, 340)
    walk.detect(box)
    walk.see(box)
    for frame in range(40):
        if not len(walk.follower):
            break
        seen = moved(box, 4.0 * frame)
        walk.see(*([seen] * len(walk.follower)))
    assert len(walk.follower) == 0


def test_someone_the_detector_keeps_missing_and_the_network_doubts_is_ended() -> None:
    walk = Walkthrough(FollowOptions(max_missed=4))
    walk.detect(MAN)
    walk.see(MAN, score=0.4)
    for _ in range(4):
        walk.detect()
        if len(walk.follower):
            walk.see(MAN, score=0.4)
    assert len(walk.follower) == 0


def test_someone_the_detector_keeps_missing_and_the_network_is_sure_of_stays() -> None:
    walk = Walkthrough(FollowOptions(max_missed=4))
    walk.detect(MAN)
    for _ in range(20):
        walk.see(MAN, score=0.9)
        walk.detect()
    assert len(walk.follower) == 1


def test_a_person_without_an_estimate_is_kept_for_a_moment_only() -> None:
    walk = Walkthrough()
    walk.detect(MAN)
    walk.see(MAN)
    for _ in range(20):
        tracks = walk.follower.boxes_for(frame_at(walk.time_s))
        walk.follower.confirm(estimates_for(Tracks.empty()), bodies_in([]), CAMERA)
        walk.time_s += STEP_S
    assert len(tracks) == 0


def test_reset_forgets_everybody_and_ids_go_on() -> None:
    walk = Walkthrough()
    walk.detect(MAN)
    walk.see(MAN)
    walk.follower.reset()
    assert len(walk.follower) == 0
    assert walk.tracker.resets == 1
    walk.detect(MAN)
    assert walk.see(MAN).id.tolist() == [2]


def test_confirm_refuses_bodies_that_are_not_those_of_the_estimates() -> None:
    walk = Walkthrough()
    walk.detect(MAN)
    tracks = walk.follower.boxes_for(frame_at(0.0))
    with pytest.raises(ValueError, match="1 estimates but 2"):
        walk.follower.confirm(estimates_for(tracks), bodies_in([MAN, WOMAN]), CAMERA)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_whatever_comes_ids_are_unique_boxes_are_sane_and_people_bounded(data: st.DataObject) -> None:
    coordinate = st.floats(-500, 1200, width=32)
    walk = Walkthrough(FollowOptions(max_people=3))
    seen: dict[int, int] = {}
    for _ in range(data.draw(st.integers(1, 12))):
        if data.draw(st.booleans()):
            corners = data.draw(st.lists(st.tuples(coordinate, coordinate, coordinate, coordinate), max_size=4))
            walk.detect(*[(min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in corners])
        tracks = walk.follower.boxes_for(frame_at(walk.time_s))
        assert len(tracks) <= 2 * 3  # each of three people may have a rival for one frame
        assert np.isfinite(tracks.xyxy).all()
        assert ((tracks.xyxy[:, 2:] - tracks.xyxy[:, :2]) > 0).all()
        people = [data.draw(st.tuples(coordinate, coordinate, coordinate, coordinate)) for _ in range(len(tracks))]
        meshes: list[Box] = [(min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in people]
        score = data.draw(st.lists(st.floats(0, 1), min_size=len(tracks), max_size=len(tracks)))
        confirmed = walk.follower.confirm(estimates_for(tracks, score or 0.0), bodies_in(meshes), CAMERA)
        shown = confirmed.id[confirmed.shown].tolist()
        assert len(set(shown)) == len(shown)
        assert len(set(confirmed.key.tolist())) == len(confirmed.key) <= 3
        assert (confirmed.id >= 0).all()
        assert (confirmed.xyxy >= 0).all() and (confirmed.xyxy[:, 2:] <= WH).all()
        for row, person in zip(confirmed.rows, confirmed.id.tolist(), strict=True):
            key = int(tracks.id[row])
            if person:
                assert seen.setdefault(key, person) == person, "a followed person changed his id"
            assert person or key not in seen, "somebody shown became a newcomer again"
        walk.time_s += data.draw(st.floats(0.001, 2.0))


def fade(walk: Walkthrough, seen: bool) -> float:
    """A man is seen well for a second, then his score is 0.7 for a second, then 0; gives when he was still believed."""
    ended: dict[int, float] = {}
    for frame in range(120):
        if frame % 6 == 0 and frame < 30:
            walk.detect(MAN)
        elif frame % 6 == 0:
            walk.detect(*([MAN] if seen and frame < 58 else []))
        walk.tracks = walk.follower.boxes_for(frame_at(walk.time_s))
        score = 0.95 if frame < 30 else 0.7 if frame < 60 else 0.0
        count = len(walk.tracks)
        ended |= walk.follower.confirm(estimates_for(walk.tracks, score), bodies_in([MAN] * count), CAMERA).ended
        walk.time_s += STEP_S
    (since_s,) = set(ended.values())
    return since_s


def test_somebody_whose_score_fades_while_the_detector_misses_him_is_believed_up_to_then() -> None:
    assert 30 * STEP_S < fade(Walkthrough(), seen=False) < 45 * STEP_S
    assert 53 * STEP_S < fade(Walkthrough(), seen=True) <= 60 * STEP_S


def test_the_detector_is_asked_soon_about_somebody_whom_it_missed_while_his_score_fell() -> None:
    walk = Walkthrough()
    walk.detect(MAN)
    for score in (0.9, *[0.7] * 20):
        walk.see(MAN, score=score)
    assert not walk.follower.uncertain
    walk.detect()
    walk.see(MAN, score=0.7)
    assert walk.follower.uncertain


def lost_and_seen_again(where: Box, at: Box, gap_frames: int = 12) -> list[int]:
    """Ids of a newcomer at `at` after somebody at `where` was lost (half a second of low scores) and not seen since."""
    walk = Walkthrough()
    walk.detect(where)
    walk.see(where)
    while len(walk.follower):
        walk.see(where, score=0.05)
    for _ in range(gap_frames):
        walk.see()
    for _ in range(3):
        walk.detect(at)
        confirmed = walk.see(at)
    return confirmed.id.tolist()


def test_somebody_lost_in_the_middle_of_the_picture_comes_back_under_their_id() -> None:
    """A somersault: out of the networks' sight for a second, then one body height further on."""
    assert lost_and_seen_again(MAN, moved(MAN, 150, 90)) == [1]


def test_somebody_too_small_or_too_late_is_somebody_else() -> None:
    assert lost_and_seen_again(MAN, (240, 200, 270, 290)) == [2]
    assert lost_and_seen_again(MAN, moved(MAN, 20), gap_frames=90) == [2]


def test_who_left_over_the_border_does_not_come_back_as_somebody_in_the_middle() -> None:
    at_the_border = (0.0, 100.0, 80.0, 340.0)
    assert lost_and_seen_again(at_the_border, moved(MAN, 60)) == [2]
