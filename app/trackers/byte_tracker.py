"""ByteTrack (Zhang et al., ECCV 2022) through the `trackers` package (Apache-2.0).

The package wants frame counts and hands out ids per tracker, from 0 again after a reset, and -1 on the first
sighting. Here everything is in seconds and ids start at 1 and are never used twice.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from app.errors import require
from app.records import Detections, Tracks

# The package counts its memory in frames of this rate, whatever rate it is told.
_NOMINAL_FPS = 30.0
# Time must grow from call to call: the package warns about, and partly ignores, the same instant twice.
_LEAST_STEP_S = 1e-4


class ByteTracker:
    """`Tracker` by overlap and constant-velocity prediction. A box gets an id at its second sighting."""

    def __init__(self, max_people: int, memory_s: float = 1.0, min_score: float = 0.2, min_iou: float = 0.1) -> None:
        """`memory_s`: how long somebody unseen is remembered; longer survives occlusion, but gives a newcomer on the
        same spot the old id. `min_score`: weaker detections continue a track but begin none. `min_iou`: overlap with
        the predicted box that a match needs; lower follows faster motion and mixes up neighbours more easily."""
        if max_people < 1:
            raise ValueError(f"max_people must be at least 1, got {max_people}")
        if memory_s <= 0:
            raise ValueError(f"memory_s must be positive, got {memory_s}")
        self._max_people = max_people
        self._supervision: Any = require("supervision", "live.txt")
        self._tracker: Any = require("trackers", "live.txt").ByteTrackTracker(
            lost_track_buffer=max(1, round(memory_s * _NOMINAL_FPS)),
            frame_rate=_NOMINAL_FPS,
            track_activation_threshold=min_score,
            high_conf_det_threshold=min_score,
            minimum_consecutive_frames=1,
            minimum_iou_threshold=min_iou,
        )
        self._next_id = 1
        self._person_of: dict[int, int] = {}
        self._since_s: dict[int, float] = {}
        self._time_s: float | None = None

    def update(self, detections: Detections, time_s: float) -> Tracks:
        """See `Tracker.update`. The `max_people` best-scored detections count; time that runs backwards is a cut."""
        if self._time_s is not None and time_s < self._time_s:
            self.reset()
        self._time_s = time_s if self._time_s is None else max(time_s, self._time_s + _LEAST_STEP_S)
        best = np.argsort(-detections.score, kind="stable")[: self._max_people]
        given = self._supervision.Detections(
            xyxy=detections.xyxy[best].astype(np.float64), confidence=detections.score[best].astype(np.float64)
        )
        tracked = self._tracker.update(given, timestamp=self._time_s)
        ids = np.asarray(tracked.tracker_id if len(tracked) else [], np.int64)
        seen = np.flatnonzero(ids >= 0)
        people = [self._person(int(ids[row]), time_s) for row in seen]
        self._forget()
        return Tracks(
            id=np.array(people, np.int32),
            xyxy=np.asarray(tracked.xyxy[seen], np.float32).reshape(-1, 4),
            age_s=np.array([time_s - self._since_s[person] for person in people], np.float64),
        )

    def reset(self) -> None:
        """See `Tracker.reset`."""
        self._tracker.reset()
        self._person_of, self._since_s = {}, {}
        self._time_s = None

    def _person(self, track: int, time_s: float) -> int:
        """Our id of the package's track."""
        if track not in self._person_of:
            self._person_of[track] = self._next_id
            self._since_s[self._next_id] = time_s
            self._next_id += 1
        return self._person_of[track]

    def _forget(self) -> None:
        """Drop what the package has dropped, so that days of running do not grow the memory."""
        alive = {int(track.tracker_id) for track in self._tracker.tracks}
        for track in self._person_of.keys() - alive:
            del self._since_s[self._person_of.pop(track)]
