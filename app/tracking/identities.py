"""Which id a track gets: that of somebody lost a moment ago who is found again, or a new one.

Two memories give ids back: the tracker's, for a box where somebody was a second ago, and the lost tracks', for somebody
who vanished in the middle of the picture (upside down, blurred, hidden) and turns up not too far from there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from bodycast.app.records import F64, Detections
from bodycast.app.tracking.base import Tracker
from bodycast.app.tracking.box_motion import box_centre, box_size, touches_border
from bodycast.app.tracking.options import FollowOptions
from bodycast.app.tracking.track import Track
from bodycast.app.tracking.track_state import TrackEvent, TrackState

_REMEMBERED = 256
"""Ids by the tracker's own: it forgets people after a second."""


@dataclass(frozen=True, slots=True)
class LostTrack:
    """A track that is `TrackState.LOST` since `time_s`, with its last `box` (4,) xyxy px."""

    id: int
    time_s: float
    box: F64

    def distance(self, track: Track, options: FollowOptions) -> float:
        """How far off a new track is, 0 for the same place; infinite where it cannot be the person that was lost."""
        passed_s = track.born_s - self.time_s
        first = track.motion.history[0][1]
        size, other = float(box_size(self.box).max()), float(box_size(first).max())
        apart = float(np.linalg.norm(box_centre(first) - box_centre(self.box))) / size
        reach = min(options.return_speed * max(passed_s, 0.0) + 0.5, options.return_reach)
        ratio = max(size, other) / max(min(size, other), 1e-6)
        possible = -0.5 <= passed_s <= options.return_s and apart <= reach and ratio <= options.return_ratio
        return apart / reach if possible else np.inf


class Identities:
    """Gives ids, from 1, never re-used for somebody else."""

    def __init__(self, tracker: Tracker, options: FollowOptions) -> None:
        self._tracker = tracker
        self._options = options
        self._next_id = 1
        self._tracker_id: dict[int, int] = {}  # by track key
        self._id_of_tracker_id: dict[int, int] = {}
        self._lost: list[LostTrack] = []

    def reset(self) -> None:
        """Forget everybody (a cut in the film). Ids go on counting."""
        self._tracker.reset()
        self._tracker_id, self._id_of_tracker_id, self._lost = {}, {}, []

    def recognise(self, tracks: Sequence[Track], new: Sequence[Track], time_s: float) -> None:
        """Show the tracker all boxes of a frame; `new` ones that it knows as somebody lost a moment ago are confirmed
        under that id."""
        fed = [track for track in tracks if track.state is not TrackState.RIVAL]
        xyxy = np.array([track.box for track in fed], np.float32).reshape(-1, 4)
        score = np.array([track.score if track in new else 1.0 for track in fed], np.float32)
        found = self._tracker.update(Detections(xyxy, score), time_s)
        for row in range(len(found)):
            difference = np.abs(xyxy - found.xyxy[row]).max(axis=1)
            if len(difference) and float(difference.min()) < 0.5:
                self._tracker_id[fed[int(difference.argmin())].key] = int(found.id[row])
        keys = {track.key for track in tracks}
        self._tracker_id = {key: known for key, known in self._tracker_id.items() if key in keys}
        followed = {track.id for track in tracks if track.id}
        for track in new:
            known = self._id_of_tracker_id.get(self._tracker_id.get(track.key, 0), 0)
            if known and known not in followed:
                self._give(track, known)
                followed.add(known)

    def confirm(self, track: Track, tracks: Iterable[Track]) -> None:
        """Give a tentative track its id: that of a lost one where it is the same person, else a new one."""
        self._give(track, self.claim(track, tracks))

    def claim(self, track: Track, tracks: Iterable[Track]) -> int:
        """The id that a track of these `tracks` is to have; it is taken."""
        followed = {other.id for other in tracks}
        known = [lost for lost in self._lost if lost.id not in followed]
        off = [lost.distance(track, self._options) for lost in known]
        if off and min(off) < np.inf:
            back = known[int(np.argmin(off))]
            self._lost.remove(back)
            return back.id
        self._next_id += 1
        return self._next_id - 1

    def hand_over(self, old: Track, new: Track) -> None:
        """`new` goes on under the id of `old`, which was in the wrong place; a tentative one stays tentative."""
        event = TrackEvent.TAKES_OVER if old.state.shown else TrackEvent.STANDS
        if old.state.shown or new.state is TrackState.RIVAL:
            new.happen(event)
        new.id, new.born_s = old.id, old.born_s
        new.seen += old.seen
        if old.key in self._tracker_id:
            self._tracker_id[new.key] = self._tracker_id[old.key]
        else:
            self._tracker_id.pop(new.key, None)

    def note_shown(self, track: Track) -> None:
        """The track is shown: its box in the tracker's memory stands for its id from now on."""
        known = self._tracker_id.get(track.key, 0)
        if track.id and known:
            self._id_of_tracker_id[known] = track.id
        while len(self._id_of_tracker_id) > _REMEMBERED:
            del self._id_of_tracker_id[next(iter(self._id_of_tracker_id))]

    def lose(self, track: Track, time_s: float, image_wh: tuple[int, int]) -> None:
        """A track has become `TrackState.LOST`: keep its id for its return, unless it went over the border."""
        since_s = min(track.weak_since_s, time_s)
        box = track.motion.box_at(since_s)
        self._lost = [lost for lost in self._lost if time_s - lost.time_s < 2 * self._options.return_s]
        if touches_border(box, image_wh, self._options.border):
            track.happen(TrackEvent.AT_BORDER)
        else:
            self._lost.append(LostTrack(track.id, since_s, box))

    def _give(self, track: Track, person_id: int) -> None:
        track.happen(TrackEvent.CONVINCES)
        track.id = person_id
