"""Following people from mesh to mesh, so that the detector may run rarely.

The next crop of a person comes from the mesh just recovered: its box, padded, predicted to the next frame with a
constant velocity in pixels per second. The detector's boxes, whenever they come, begin tracks, confirm them and pull
back those whose mesh has drifted away. Here evidence is collected; what it leads to is in track_state.py, which id a
track gets in identities.py. Pure logic: no engine, no thread, no picture is read.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bodycast.app.estimation.projection import mesh_boxes
from bodycast.app.records import F32, F64, I32, BodyEstimates, Detections, Frame, PosedBodies, Tracks
from bodycast.app.tracking.base import Tracker
from bodycast.app.tracking.box_motion import BoxMotion, in_picture
from bodycast.app.tracking.identities import Identities
from bodycast.app.tracking.options import FollowOptions
from bodycast.app.tracking.track import Track
from bodycast.app.tracking.track_state import Evidence, TrackEvent, TrackState, event_of
from bodycast.hmr.geometry import boxes
from bodycast.hmr.geometry.camera import Intrinsics
from bodycast.hmr.geometry.suppression import covered_share


@dataclass(frozen=True, slots=True)
class NewBox:
    """A detection that may begin a track: box (4,) px. `rival_of`: key of the track that it may show instead of where
    its mesh is."""

    box: F64
    score: float
    rival_of: int = 0


@dataclass(frozen=True, slots=True)
class Followed:
    """What `confirm` keeps: `rows` (K,) of the estimates it was given, the tracks' keys (K,) and boxes (K,4) px, and
    their `id` (K,), 0 for tentative tracks, which must not be shown yet.

    `ended`: keys of the tracks that ended since the last frame, with the time from which on they were not to be
    believed (infinity: believed to the last).
    """

    rows: NDArray[np.intp]
    key: I32
    id: I32
    xyxy: F32
    ended: dict[int, float]

    @property
    def shown(self) -> NDArray[np.bool_]:
        """(K,) who has an id."""
        return self.id > 0


class Follower:
    """Per frame: `observe` (whenever the detector has finished), `boxes_for`, then `confirm` with the meshes."""

    def __init__(self, tracker: Tracker, options: FollowOptions | None = None) -> None:
        self._options = options or FollowOptions()
        self._identities = Identities(tracker, self._options)
        self._tracks: list[Track] = []
        self._new: list[NewBox] = []
        self._twins: dict[tuple[int, int], float] = {}
        self._next_key = 1
        self._time_s = 0.0
        self._image_wh = (1, 1)
        self._last_loss_s: float | None = None
        self._ended: dict[int, float] = {}
        self._looks = 0

    def __len__(self) -> int:
        """How many people are followed now, tentative tracks included."""
        return len(self._tracks)

    @property
    def shown(self) -> int:
        """How many of them have an id."""
        return sum(track.state.shown for track in self._tracks)

    @property
    def uncertain(self) -> bool:
        """Whether any track is tentative or poorly seen: a reason to detect soon."""
        return any(track.state is not TrackState.CONFIRMED for track in self._tracks)

    @property
    def last_loss_s(self) -> float | None:
        """When a shown track last ended: a reason to detect soon."""
        return self._last_loss_s

    def reset(self) -> None:
        """Forget everybody (a cut in the film). Ids go on counting."""
        self._tracks, self._new, self._ended, self._twins = [], [], {}, {}
        self._last_loss_s = None
        self._looks = 0
        self._identities.reset()

    def networks_changed(self) -> None:
        """Another network scores from here on: nobody fades for scoring less than under the one before."""
        for track in self._tracks:
            track.best_score = 0.0

    def settle(self) -> dict[int, int]:
        """The shot ends: tentative tracks that it was too short to confirm get their ids now; key -> id.

        A still picture allows the detector one look, a shot of half a second three. As many are asked to have seen
        somebody there, each as surely as the weakest of those that confirm a track in a long shot.
        """
        share = self._looks * self._options.evidence_per_look / self._options.confirm_evidence
        if share >= 1:
            return {}
        return {track.key: track.id for track in self._tracks if self._confirm(track, share)}

    def observe(self, detections: Detections, time_s: float) -> None:
        """Take the detector's boxes of the frame at `time_s`, which may be a little in the past."""
        self._looks += 1
        found = detections.xyxy.astype(np.float64)
        owner = self._match(found, time_s)
        rivals: list[NewBox] = []
        for index, track in enumerate(list(self._tracks)):
            if track.born_s > time_s:
                continue
            matched = np.flatnonzero(owner == index)
            if not len(matched):
                track.miss(found, time_s, self._options)
                self._judge(track, Evidence(seen=track.seen, weak=track.weak))
                continue
            box, score = found[matched[0]], float(detections.score[matched[0]])
            if not track.detected(box, score, time_s, self._options):
                rivals.append(NewBox(track.motion.moved_since(box, time_s), score, rival_of=track.key))
            self._judge(track, Evidence(weak=track.weak))
        self._new = rivals + [
            NewBox(found[row], float(detections.score[row]))
            for row in np.flatnonzero(owner < 0)
            if not self._covered(found[row], time_s)
        ]

    def boxes_for(self, frame: Frame) -> Tracks:
        """Where to crop in this frame: every followed person, then new ones, largest first, up to max_people.

        `Tracks.id` are track keys; `confirm` turns them into the ids that users see.
        """
        self._time_s, self._image_wh = frame.time_s, frame.image_wh
        for track in list(self._tracks):
            box = track.motion.predicted(frame.time_s, self._options)
            inside = in_picture(box, self._image_wh, self._options.min_size_px)
            self._judge(track, Evidence(in_picture=inside))
            if inside:
                track.motion.remember(frame.time_s, box, self._options.memory_s)
        self._identities.recognise(self._tracks, self._admit(), self._time_s)
        return Tracks(
            id=np.array([track.key for track in self._tracks], np.int32),
            xyxy=np.array([track.box for track in self._tracks], np.float32).reshape(-1, 4),
            age_s=np.array([frame.time_s - track.born_s for track in self._tracks], np.float64),
        )

    def confirm(self, estimates: BodyEstimates, bodies: PosedBodies, intrinsics: Intrinsics) -> Followed:
        """Take the meshes recovered from the crops of `boxes_for`: moves the boxes, ends and confirms tracks.

        Rows of `estimates` and `bodies` agree; `estimates.id` are the keys that `boxes_for` gave.
        """
        if len(bodies.vertices) != len(estimates):
            raise ValueError(f"confirm: {len(estimates)} estimates but {len(bodies.vertices)} posed bodies")
        by_key = {track.key: track for track in self._tracks}
        mesh_xyxy = mesh_boxes(bodies.vertices, intrinsics).astype(np.float64)
        for row, key in enumerate(estimates.id.tolist()):
            if key in by_key:
                track = by_key.pop(key)
                track.joints_px = bodies.joints_px[row]
                self._take_mesh(track, mesh_xyxy[row], float(estimates.score[row]))
        for track in by_key.values():  # the engine had no usable output for these
            self._take_mesh(track, None, track.score)
        self._settle_rivals()
        self._end_twins()
        return self._followed(estimates)

    def _take_mesh(self, track: Track, mesh: F64 | None, score: float) -> None:
        track.take_mesh(mesh, score, self._time_s, self._image_wh, self._options)
        successor = track.replaced > 0 and any(self._replaces(other, track) for other in self._tracks)
        self._judge(track, track.evidence(self._time_s, successor))

    def _judge(self, track: Track, evidence: Evidence) -> None:
        """Let happen what the evidence leads to, other than a confirmation."""
        event = event_of(track.state, evidence, self._options)
        if event is TrackEvent.REPLACED:
            self._hand_over(track)
        elif event is not None:
            self._happen(track, event)

    def _happen(self, track: Track, event: TrackEvent, until_s: float | None = None) -> None:
        """The one place where a track goes on to another state, and where it ends. until_s: since when an ended one is
        not to be believed; None: since it was weak."""
        was_shown = track.state.shown
        track.happen(event)
        if not track.state.over:
            return
        self._tracks.remove(track)
        self._ended[track.key] = track.weak_since_s if until_s is None else until_s
        if was_shown and event is not TrackEvent.REPLACED:
            self._last_loss_s = self._time_s
        if track.state is TrackState.LOST:
            self._identities.lose(track, self._time_s, self._image_wh)

    def _followed(self, estimates: BodyEstimates) -> Followed:
        row_of = {key: row for row, key in enumerate(estimates.id.tolist())}
        kept = [track for track in self._tracks if track.key in row_of]
        for track in kept:
            self._confirm(track)
            self._identities.note_shown(track)
        for track in self._tracks:
            self._judge(track, Evidence(weak=track.weak))
        kept.sort(key=lambda track: row_of[track.key])
        ended, self._ended = self._ended, {}
        box = np.array([track.box for track in kept], np.float32).reshape(-1, 4)
        return Followed(
            rows=np.array([row_of[track.key] for track in kept], np.intp),
            key=np.array([track.key for track in kept], np.int32),
            id=np.array([track.id for track in kept], np.int32),
            xyxy=boxes.clip(box, self._image_wh).astype(np.float32),
            ended=ended,
        )

    def _confirm(self, track: Track, share: float = 1.0) -> bool:
        """Give a tentative track its id if it is convincing by `share` of the usual evidence; gives whether it is."""
        if track.state is not TrackState.TENTATIVE:
            return False
        event = event_of(track.state, Evidence(convincing=self._convincing(track, share)), self._options)
        if event is TrackEvent.CONVINCES:
            self._identities.confirm(track, self._tracks)
        return event is TrackEvent.CONVINCES

    def _convincing(self, track: Track, share: float) -> bool:
        """Whether a tentative track may be shown: the detector has seen it often enough, and the network is sure."""
        options = self._options
        if any(other.state.shown and other.replaced and self._replaces(track, other) for other in self._tracks):
            return False  # soon one of the two is gone
        shown = np.array([other.box for other in self._tracks if other.state.shown]).reshape(-1, 4)
        hidden = bool((covered_share(track.box[None], shown) > options.hidden_fraction).any())
        needed = options.hidden_evidence if hidden else options.confirm_evidence
        return track.seen >= share * needed and (track.mean_score or 0.0) >= options.sure_score

    def _match(self, found: F64, time_s: float) -> NDArray[np.intp]:
        """Row of the track that each detection shows, -1 where none: greedy by overlap, one to one."""
        owner = np.full(len(found), -1, np.intp)
        if not len(found) or not self._tracks:
            return owner
        followed = np.array([track.motion.box_at(time_s) for track in self._tracks])
        overlap = boxes.iou_matrix(found, followed)
        # A detector often boxes only part of a person: a box that lies inside a followed one belongs to it too.
        inside = covered_share(found, followed)
        likeness = np.where(inside > 0.8, np.maximum(overlap, 0.5 * inside * (overlap > 0.05)), overlap)
        likeness = np.where(likeness >= self._options.match_iou, likeness, 0.0)
        while likeness.max(initial=0.0) > 0:
            row, column = np.unravel_index(int(likeness.argmax()), likeness.shape)
            owner[row] = column
            likeness[row, :] = 0.0
            likeness[:, column] = 0.0
        return owner

    def _covered(self, box: F64, time_s: float) -> bool:
        """Whether an unmatched detection is a second box of somebody who is followed already."""
        if not self._tracks:
            return False
        followed = np.array([track.motion.box_at(time_s) for track in self._tracks])
        return bool(boxes.iou_matrix(box[None], followed).max() > self._options.twin_iou)

    def _admit(self) -> list[Track]:
        """Begin tracks at the new boxes: largest first, while there is room. A rival needs no room: it or the track
        that it questions is gone after this frame."""
        largest_first = sorted(self._new, key=lambda new: -float(boxes.area(new.box)))
        self._new = []
        begun: list[Track] = []
        keys = {track.key for track in self._tracks}
        for new in largest_first:
            is_rival = new.rival_of in keys
            room = is_rival or len(self._tracks) < self._options.max_people
            if not room or not in_picture(new.box, self._image_wh, self._options.min_size_px):
                continue
            track = Track(
                key=self._next_key,
                born_s=self._time_s,
                motion=BoxMotion(self._time_s, new.box, self._time_s, new.box),
                state=TrackState.RIVAL if is_rival else TrackState.TENTATIVE,
                rival_of=new.rival_of if is_rival else 0,
                seen=new.score**2,
                score=new.score,
            )
            track.motion.remember(self._time_s, new.box, self._options.memory_s)
            self._next_key += 1
            self._tracks.append(track)
            begun.append(track)
        return begun

    def _settle_rivals(self) -> None:
        """The detector saw a followed person elsewhere than their mesh is; the network has now looked at both places.

        Whichever scores clearly better goes on under the person's id. Otherwise the rival is somebody else if its mesh
        lies apart, and was a false positive if it does not.
        """
        by_key = {track.key: track for track in self._tracks}
        for rival in [track for track in self._tracks if track.state is TrackState.RIVAL]:
            track = by_key.get(rival.rival_of)
            rival.rival_of = 0
            if track is None or track.state.over:
                self._happen(rival, TrackEvent.STANDS)
            elif rival.score > track.score + self._options.rival_margin:
                self._take_over(track, rival, np.inf)
            elif len(self._tracks) > self._options.max_people or not rival.is_apart_from(track, self._options):
                self._happen(rival, TrackEvent.REFUSED)
            else:
                self._happen(rival, TrackEvent.STANDS)

    def _replaces(self, other: Track, track: Track) -> bool:
        """Whether `other` is a track not shown that covers so much of `track` that the detector may have seen it
        instead."""
        if other is track or other.state.shown:
            return False
        covered = float(covered_share(track.box[None], other.box[None])[0, 0])
        return covered >= 0.5 * self._options.replaced_fraction

    def _hand_over(self, track: Track) -> None:
        """The mesh has slid to a part of a body, and the network likes it there: the tentative track on that body goes
        on for it."""
        best = max((other for other in self._tracks if self._replaces(other, track)), key=lambda other: other.seen)
        self._take_over(track, best, min(track.weak_since_s, track.replaced_since_s, best.born_s))

    def _take_over(self, old: Track, new: Track, until_s: float) -> None:
        """`new` goes on for `old`, in its place in the order."""
        self._identities.hand_over(old, new)
        self._tracks.remove(new)
        self._tracks.insert(self._tracks.index(old), new)
        self._happen(old, TrackEvent.REPLACED, until_s)

    def _end_twins(self) -> None:
        """Two tracks on one person: their meshes agree joint by joint. The younger ends."""
        twins: dict[tuple[int, int], float] = {}
        for older_index, older in enumerate(self._tracks):
            for younger in self._tracks[older_index + 1 :]:
                if older.is_twin_of(younger, self._options):
                    pair = (older.key, younger.key)
                    twins[pair] = self._twins.get(pair, self._time_s)
        self._twins = twins
        by_key = {track.key: track for track in self._tracks}
        for (older_key, younger_key), since_s in twins.items():
            older, younger = by_key[older_key], by_key[younger_key]
            if older.state.over or younger.state.over:
                continue
            # A tentative track gives way to one that is shown, even if that one came later.
            track = older if younger.state.shown and not older.state.shown else younger
            self._judge(track, Evidence(twin_s=self._time_s - since_s))
