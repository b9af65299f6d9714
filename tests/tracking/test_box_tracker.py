"""What is particular to the box tracker."""

from __future__ import annotations

import numpy as np

from bodycast.app.records import Detections
from bodycast.app.tracking.box_tracker import BoxTracker


def one(x: float, score: float) -> Detections:
    return Detections(np.array([[x, 100, x + 80, 300]], np.float32), np.array([score], np.float32))


def test_a_weak_detection_begins_no_track_but_continues_one() -> None:
    tracker = BoxTracker(10, min_score=0.5)
    for frame in range(4):
        assert len(tracker.update(one(100, 0.3), frame / 30)) == 0
    for frame in range(4, 7):
        strong = tracker.update(one(100, 0.9), frame / 30)
    weak = tracker.update(one(102, 0.3), 7 / 30)
    assert list(weak.id) == list(strong.id) == [1]


def test_memory_does_not_grow_with_the_people_who_came_and_went() -> None:
    tracker = BoxTracker(10, memory_s=0.1)
    for visit in range(60):
        for frame in range(3):
            tracks = tracker.update(one(100, 0.9), visit + frame / 30)
    assert tracks.id[0] == 60
    assert len(tracker._tracks) == 1
