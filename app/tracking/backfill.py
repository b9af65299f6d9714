"""Backfill: frames of a file are held for a moment, so that what becomes known late is written where it belongs.

A tentative track is confirmed (app/tracking/follower.py) by two detections or more. In the held frames the person is
written from the track's first mesh on, and before that as far as the network, run backwards from frame to frame, still
finds them. When a track ends, the frames from which on it was no longer to be believed lose it. A person who comes or
goes over the picture's border is extrapolated through the frames in which the network sees too little of them
(app/tracking/border.py). A live source holds nothing: there, a person is shown from their confirmation on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from bodycast.app.estimation.projection import mesh_boxes
from bodycast.app.records import F32, F64, BodyEstimates, Frame, FrameResult, PosedBodies
from bodycast.app.tracking.border import ExtrapolatedTrack
from bodycast.app.tracking.box_motion import BoxMotion, in_picture, same_body
from bodycast.app.tracking.follower import Followed
from bodycast.app.tracking.options import FollowOptions
from bodycast.hmr.geometry import boxes
from bodycast.hmr.geometry.camera import Intrinsics

MAX_HELD_BYTES = 256 * 2**20
"""Pictures of held frames: beyond this, frames go out earlier than `hold_s` asks."""

_RUN_UP = 5  # frames from which the velocity of somebody who is followed backwards is taken

Look = Callable[[Frame, F32, Intrinsics], tuple[BodyEstimates, PosedBodies]]
"""The network's estimate for one box (1,4) px of a frame: one row, or none where it is not finite."""


class Backfill:
    """Frames with all tracks in, the same frames in order with the confirmed people out, under their ids."""

    def __init__(self, look: Look, options: FollowOptions, hold_s: float) -> None:
        """hold_s: how long a frame is held, 0 for a live source."""
        self._look = look
        self._options = options
        self._hold_s = hold_s
        self._waiting: deque[FrameResult] = deque()
        self._bytes = 0
        self._id_of: dict[int, int] = {}
        self._until_s: dict[int, float] = {}

    @property
    def known(self) -> int:
        """How many tracks are remembered: those of held frames and those that go on."""
        return len(self._id_of.keys() | self._until_s.keys())

    def push(self, result: FrameResult, followed: Followed) -> list[FrameResult]:
        """Take a frame; gives those that have been held long enough.

        result: rows of everybody in `followed`; `estimates.id` are track keys.
        """
        self._until_s.update(followed.ended)
        self._waiting.append(result)
        self._bytes += result.frame.image.nbytes
        known = zip(followed.key.tolist(), followed.id.tolist(), strict=True)
        newly = {key: person for key, person in known if person and key not in self._id_of}
        self._id_of.update(newly)
        for key in newly:
            self._fill_before(key)
        for key in followed.ended.keys() & self._id_of.keys():
            self._fill_after(key)
        released: list[FrameResult] = []
        now_s = result.frame.time_s
        while self._waiting and self._is_due(self._waiting[0], now_s):
            released.append(self._release())
        return released

    @property
    def holds(self) -> bool:
        """Whether any frame is held, in which somebody confirmed now could still be written."""
        return bool(self._waiting)

    def finish(self, late: Mapping[int, int] | None = None) -> list[FrameResult]:
        """All frames that are still held, at a cut or at the end of the source; forgets everybody.

        late: ids by key of those who are confirmed only now.
        """
        self._id_of.update(late or {})
        released = [self._release() for _ in range(len(self._waiting))]
        self._id_of, self._until_s = {}, {}
        return released

    def _is_due(self, first: FrameResult, now_s: float) -> bool:
        return now_s - first.frame.time_s >= self._hold_s or self._bytes > MAX_HELD_BYTES

    def _release(self) -> FrameResult:
        first = self._waiting.popleft()
        self._bytes -= first.frame.image.nbytes
        proven = self._proven(first)
        ids = np.array([self._id_of[key] for key in first.estimates.id[proven].tolist()], np.int32)
        self._forget()
        kept = first.select(proven)
        return replace(kept, estimates=replace(kept.estimates, id=ids))

    def _forget(self) -> None:
        """Drop what is known of tracks that have ended and are in no held frame: a camera runs for days."""
        if not self._until_s:
            return
        held = {key for waiting in self._waiting for key in waiting.estimates.id.tolist()}
        for key in self._until_s.keys() - held:
            self._id_of.pop(key, None)
            del self._until_s[key]

    def _proven(self, held: FrameResult) -> NDArray[np.bool_]:
        """(N,) which rows show somebody who was confirmed, before their track was no longer to be believed."""
        time_s = held.frame.time_s
        keys = held.estimates.id.tolist()
        return np.array([key in self._id_of and time_s < self._until_s.get(key, np.inf) for key in keys], np.bool_)

    def _fill_before(self, key: int) -> None:
        """Follow a person from the track's first mesh towards earlier held frames and add them there.

        Ends where the score is below `sure_score`, where the mesh cannot be believed or lies on somebody else, where
        the person leaves the picture, and where the frame has their id already: the track had been lost for a moment.
        If they came in over the border, the track is extrapolated to there.
        """
        frames = list(self._waiting)
        first = next((i for i, held in enumerate(frames) if key in held.estimates.id.tolist()), 0)
        if first == 0:
            return
        motion = self._backwards(key, frames[first : first + _RUN_UP])
        for index in range(first - 1, -1, -1):
            added = self._seen_before(key, motion, frames[index])
            if added is None:
                backwards = list(self._waiting)[:index:-1]
                path = [held for held in backwards if key in held.estimates.id.tolist()]
                self._extrapolate(key, path, range(index, -1, -1))
                return
            self._waiting[index] = added

    def _fill_after(self, key: int) -> None:
        """A track has ended: if the person left over the border, extrapolate it from where it was last believed."""
        with_key = [(i, held) for i, held in enumerate(self._waiting) if key in held.estimates.id.tolist()]
        believed = [held for _, held in with_key if held.frame.time_s < self._until_s[key]]
        doubted = [i for i, held in with_key if held.frame.time_s >= self._until_s[key]]
        count = self._extrapolate(key, believed, doubted)
        if count:
            rest = doubted[count:]
            self._until_s[key] = self._waiting[rest[0]].frame.time_s if rest else np.inf

    def _extrapolate(self, key: int, path: Sequence[FrameResult], indices: Iterable[int]) -> int:
        """Extrapolate a track from the end of `path` through the held frames with these indices, while the person is
        in the picture and nobody else is there; gives in how many they are."""
        track = ExtrapolatedTrack.over_the_border(key, path, self._options) if path else None
        if track is None:
            return 0
        count = 0
        for index in indices:
            held = self._waiting[index]
            others = held.select(held.estimates.id != key)
            seen = track.at(held.frame.time_s, held.intrinsics, self._options)
            if seen is None or self._is_there(key, others, seen[2].astype(np.float64), seen[1]):
                break
            self._waiting[index] = _with_row(others, *seen)
            count += 1
        return count

    def _backwards(self, key: int, run_up: list[FrameResult]) -> BoxMotion:
        """The motion, with time running backwards, in the frames in which the track began."""
        states: list[tuple[float, F64]] = []
        for held in run_up:
            row = np.flatnonzero(held.estimates.id == key)
            if len(row):
                states.append((-held.frame.time_s, held.xyxy[row[0]].astype(np.float64)))
        time_s, box = states[-1]
        motion = BoxMotion(time_s, box, detected_s=-np.inf, detected_box=box)
        for time_s, box in reversed(states):
            motion.move_to(box, time_s, self._options)
        return motion

    def _seen_before(self, key: int, motion: BoxMotion, held: FrameResult) -> FrameResult | None:
        """The frame with the person in it as well, None where the network does not find them."""
        frame, options = held.frame, self._options
        time_s = -frame.time_s
        box = motion.predicted(time_s, options)
        if not in_picture(box, frame.image_wh, options.min_size_px):
            return None
        motion.remember(time_s, box, options.memory_s)
        estimates, bodies = self._look(frame, box[None].astype(np.float32), held.intrinsics)
        if len(estimates) == 0 or float(estimates.score[0]) < options.sure_score:
            return None
        mesh = mesh_boxes(bodies.vertices, held.intrinsics)[0].astype(np.float64)
        if not motion.move_to_mesh(mesh, time_s, frame.image_wh, options):
            return None
        if self._is_there(key, held, motion.box, bodies):
            return None
        return _with_row(held, replace(estimates, id=np.array([key], np.int32)), bodies, motion.box)

    def _is_there(self, key: int, held: FrameResult, box: F64, bodies: PosedBodies) -> bool:
        """Whether the frame shows somebody under the id of `key` already, or whose mesh is the one of `bodies`, in
        the box (4,) px."""
        options = self._options
        proven = self._proven(held)
        if self._id_of[key] in {self._id_of[other] for other in held.estimates.id[proven].tolist()}:
            return True
        limits = options.newcomer_twin_iou, options.newcomer_twin_joints
        return any(
            same_body(
                (box, bodies.joints_px[0]), (held.xyxy[row].astype(np.float64), held.bodies.joints_px[row]), *limits
            )
            for row in np.flatnonzero(proven)
        )


def _with_row(held: FrameResult, estimates: BodyEstimates, bodies: PosedBodies, box: F64 | F32) -> FrameResult:
    """`held` and one more person, in the box (4,) px."""
    inside = boxes.clip(box[None].astype(np.float32), held.frame.image_wh).astype(np.float32)
    return held.with_people(estimates, bodies, inside)
