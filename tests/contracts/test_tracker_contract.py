"""What every tracker must do (app/tracking/base.py), on all of them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np
import pytest

from bodycast.app.errors import UsageError
from bodycast.app.records import Detections, Tracks
from bodycast.app.tracking import open_tracker
from bodycast.app.tracking.base import Tracker


@pytest.fixture
def tracker() -> Iterator[Tracker]:
    """A new tracker for ten people; a warning from the package below is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield open_tracker(10)


def boxes(centres: list[tuple[float, float]], score: float = 0.8, size: tuple[float, float] = (80, 200)) -> Detections:
    """Boxes of one size around the centres."""
    centre = np.array(centres, np.float32).reshape(-1, 2)
    half = np.array(size, np.float32) / 2
    xyxy = np.concatenate([centre - half, centre + half], axis=1)
    return Detections(xyxy.astype(np.float32), np.full(len(centre), score, np.float32))


def id_at(tracks: Tracks, x: float) -> int:
    """Who is nearest to this column."""
    return int(tracks.id[np.abs(tracks.xyxy[:, [0, 2]].mean(axis=1) - x).argmin()])


def settle(tracker: Tracker, detections: Detections, start_s: float = 0.0, frames: int = 3) -> Tracks:
    """The same boxes for a few frames."""
    for frame in range(frames):
        tracks = tracker.update(detections, start_s + frame / 30)
    return tracks


def test_nobody(tracker: Tracker) -> None:
    for frame in range(3):
        assert len(tracker.update(Detections.empty(), frame / 30)) == 0


def test_ids_start_at_one_and_boxes_are_those_that_came_in(tracker: Tracker) -> None:
    given = boxes([(100, 300), (500, 300)])
    tracks = settle(tracker, given)
    assert sorted(tracks.id) == [1, 2]
    for row in range(2):
        assert np.abs(given.xyxy - tracks.xyxy[row]).max(axis=1).min() == 0


def test_age_is_in_seconds(tracker: Tracker) -> None:
    first = settle(tracker, boxes([(100, 300)]), 5.0, frames=2)
    later = settle(tracker, boxes([(100, 300)]), 5.0 + 2 / 30, frames=30)
    assert later.age_s[0] - first.age_s[0] == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("fps", [10.0, 30.0, 60.0])
def test_ids_stay_while_people_cross(tracker: Tracker, fps: float) -> None:
    """Two people walk through each other, 300 px/s; for a while their boxes nearly coincide."""
    frames = int(2.5 * fps)
    left = right = 0
    for frame in range(frames):
        at = 300 * frame / fps
        tracks = tracker.update(boxes([(100 + at, 300), (800 - at, 310)]), frame / fps)
        if frame == int(0.5 * fps):
            left, right = id_at(tracks, 100 + at), id_at(tracks, 800 - at)
    assert left != right
    assert id_at(tracks, 800) == left and id_at(tracks, 100) == right


def test_somebody_unseen_for_a_moment_keeps_his_id(tracker: Tracker) -> None:
    tracks = settle(tracker, boxes([(100, 300), (500, 300)]), frames=10)
    gone, stays = id_at(tracks, 100), id_at(tracks, 500)
    for frame in range(10, 28):
        tracks = tracker.update(boxes([(500, 300)]), frame / 30)
        assert list(tracks.id) == [stays]
    tracks = tracker.update(boxes([(500, 300), (104, 300)]), 28 / 30)
    assert id_at(tracks, 104) == gone


@pytest.mark.parametrize("fps", [10.0, 60.0])
def test_somebody_unseen_for_long_is_new_and_ids_are_not_used_twice(tracker: Tracker, fps: float) -> None:
    old = settle(tracker, boxes([(100, 300)]), frames=3).id[0]
    for frame in range(int(3 * fps)):
        tracker.update(Detections.empty(), 0.2 + frame / fps)
    new = settle(tracker, boxes([(100, 300)]), 4.0)
    assert new.id[0] > old


def test_ten_people_for_ten_seconds(tracker: Tracker) -> None:
    """They wander and are each missed in a tenth of the frames; rows arrive shuffled."""
    generator = np.random.default_rng(0)
    start = np.stack([100 + 180 * np.arange(10), np.full(10, 400)], axis=1)
    phase = generator.uniform(0, 2 * np.pi, 10)
    who: dict[int, set[int]] = {person: set() for person in range(10)}
    for frame in range(300):
        sway = 60 * np.sin(2 * np.pi * 0.4 * frame / 30 + phase)
        centre = start + np.stack([sway, 0.3 * sway], axis=1) + generator.normal(0, 2, (10, 2))
        order = generator.permutation(10)
        order = order[generator.uniform(size=10) > 0.1]
        tracks = tracker.update(boxes([tuple(centre[person]) for person in order]), frame / 30)
        for row, box in enumerate(tracks.xyxy):
            person = int(np.abs(centre - [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2]).sum(axis=1).argmin())
            who[person].add(int(tracks.id[row]))
    assert all(len(ids) == 1 for ids in who.values())
    assert len(set.union(*who.values())) == 10


def test_the_best_of_a_crowd_are_followed() -> None:
    few = open_tracker(2)
    crowd = boxes([(100, 300), (300, 300), (500, 300)])
    crowd = Detections(crowd.xyxy, np.array([0.9, 0.5, 0.8], np.float32))
    tracks = settle(few, crowd)
    assert sorted(tracks.xyxy[:, 0]) == [60, 460]


def test_after_a_reset_ids_go_on_counting(tracker: Tracker) -> None:
    before = settle(tracker, boxes([(100, 300), (500, 300)]))
    tracker.reset()
    after = settle(tracker, boxes([(100, 300)]), 0.2)
    assert after.id[0] > before.id.max()
    assert after.age_s[0] < 0.1


def test_two_trackers_do_not_share_their_ids() -> None:
    first, second = open_tracker(10), open_tracker(10)
    settle(first, boxes([(100, 300), (500, 300)]))
    assert list(settle(second, boxes([(100, 300)])).id) == [1]
    first.reset()
    assert list(settle(second, boxes([(100, 300)]), 0.1).id) == [1]


def test_the_same_instant_twice_and_time_that_runs_backwards(tracker: Tracker) -> None:
    tracker.update(boxes([(100, 300)]), 1.0)
    same = tracker.update(boxes([(101, 300)]), 1.0)
    assert list(same.id) == [1]
    earlier = settle(tracker, boxes([(100, 300)]), 0.0)
    assert earlier.id[0] == 2


def test_useless_numbers_are_refused() -> None:
    with pytest.raises(UsageError, match="max_people"):
        open_tracker(0)
    with pytest.raises(UsageError, match="memory_s"):
        open_tracker(3, memory_s=0.0)
