"""Ids for boxes: overlap with where a constant velocity leads to, and a short memory of who is out of sight.

The follower (`follower.py`) does the following; this gives somebody who comes back within a second their old id.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bodycast.app.records import F64, Detections, Tracks
from bodycast.hmr.geometry import boxes

_VELOCITY_GAIN = 0.5
"""Share of a new measured velocity in the kept one: boxes shake."""


@dataclass(slots=True)
class _Track:
    """`box` (4,) px at `seen_s`; `velocity` (4,) px/s; `id` 0 until the second sighting."""

    box: F64
    velocity: F64
    seen_s: float
    since_s: float
    sightings: int = 1
    id: int = 0

    def predicted(self, time_s: float) -> F64:
        return self.box + self.velocity * (time_s - self.seen_s)

    def see(self, box: F64, time_s: float) -> None:
        step_s = time_s - self.seen_s
        if step_s > 0:
            measured = (box - self.box) / step_s
            gain = 1.0 if self.sightings == 1 else _VELOCITY_GAIN
            self.velocity = self.velocity + gain * (measured - self.velocity)
        self.box, self.seen_s, self.sightings = box, time_s, self.sightings + 1


class BoxTracker:
    """`Tracker` by overlap and constant-velocity prediction. A box gets an id at its second sighting."""

    def __init__(self, max_people: int, memory_s: float = 1.0, min_score: float = 0.2, min_iou: float = 0.1) -> None:
        """`memory_s`: how long somebody unseen is remembered; longer survives occlusion, but gives a newcomer on the
        same spot the old id. `min_score`: weaker detections continue a track but begin none. `min_iou`: overlap with
        the predicted box that a match needs; lower follows faster motion and mixes up neighbours more easily.

        Raises: ValueError.
        """
        if max_people < 1:
            raise ValueError(f"max_people must be at least 1, got {max_people}")
        if memory_s <= 0:
            raise ValueError(f"memory_s must be positive, got {memory_s}")
        self._max_people = max_people
        self._memory_s = memory_s
        self._min_score = min_score
        self._min_iou = min_iou
        self._tracks: list[_Track] = []
        self._next_id = 1
        self._time_s: float | None = None

    def update(self, detections: Detections, time_s: float) -> Tracks:
        """See `Tracker.update`. The `max_people` best-scored detections count; time that runs backwards is a cut."""
        if self._time_s is not None and time_s < self._time_s:
            self.reset()
        self._time_s = time_s
        best = np.argsort(-detections.score, kind="stable")[: self._max_people]
        xyxy, score = detections.xyxy[best].astype(np.float64), detections.score[best]
        self._tracks = [track for track in self._tracks if time_s - track.seen_s <= self._memory_s]
        seen: list[_Track] = []
        for row, track in self._matches(xyxy, time_s):
            if track is None:
                if score[row] < self._min_score:
                    continue
                track = _Track(xyxy[row], np.zeros(4), time_s, time_s)
                self._tracks.append(track)
                continue
            track.see(xyxy[row], time_s)
            if track.id == 0:
                track.id, self._next_id = self._next_id, self._next_id + 1
            seen.append(track)
        return Tracks(
            id=np.array([track.id for track in seen], np.int32),
            xyxy=np.array([track.box for track in seen], np.float32).reshape(-1, 4),
            age_s=np.array([time_s - track.since_s for track in seen], np.float64),
        )

    def reset(self) -> None:
        """See `Tracker.reset`."""
        self._tracks = []
        self._time_s = None

    def _matches(self, xyxy: F64, time_s: float) -> list[tuple[int, _Track | None]]:
        """Every box with its track, the greatest overlap first, or with None where it has none."""
        left = dict(enumerate(self._tracks))
        found: dict[int, _Track | None] = dict.fromkeys(range(len(xyxy)))
        if left and len(xyxy):
            predicted = np.array([track.predicted(time_s) for track in self._tracks])
            overlap = boxes.iou_matrix(xyxy, predicted)
            for flat in np.argsort(-overlap, axis=None, kind="stable"):
                row, column = divmod(int(flat), len(self._tracks))
                if overlap[row, column] < self._min_iou:
                    break
                if found[row] is None and column in left:
                    found[row] = left.pop(column)
        return list(found.items())
