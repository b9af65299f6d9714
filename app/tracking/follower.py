"""Following people from mesh to mesh, so that the detector may run rarely.

The next crop of a person comes from the mesh just recovered: its box, padded, predicted to the next frame with a
constant velocity in pixels per second. The detector's boxes, whenever they come, find new people, confirm the
followed ones and pull back those whose mesh has drifted away. Pure logic: no engine, no thread, no picture is read.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bodycast.app.estimation.projection import mesh_boxes
from bodycast.app.records import F32, F64, I32, BodyEstimates, Detections, Frame, PosedBodies, Tracks
from bodycast.app.tracking.base import Tracker
from bodycast.app.tracking.followed_person import (
    FollowedPerson,
    FollowOptions,
    Lost,
    covered_fraction,
    in_picture,
    touches_border,
)
from bodycast.hmr.geometry import boxes
from bodycast.hmr.geometry.camera import Intrinsics


@dataclass(frozen=True, slots=True)
class NewBox:
    """A detection that may become a person. `rival_of`: key of the person it may show instead of where his mesh is."""

    box: F64
    score: float
    rival_of: int = 0


@dataclass(frozen=True, slots=True)
class Followed:
    """What `confirm` keeps: `rows` (K,) of the estimates it was given, the people's keys and boxes (K,4), and their
    `id` (K,), 0 for newcomers who are followed and must not be shown yet.

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
        self._tracker = tracker
        self._options = options or FollowOptions()
        self._people: list[FollowedPerson] = []
        self._new: list[NewBox] = []
        self._id_of_track: dict[int, int] = {}
        self._twins: dict[tuple[int, int], float] = {}
        self._next_key = 1
        self._next_id = 1
        self._time_s = 0.0
        self._image_wh = (1, 1)
        self._last_loss_s: float | None = None
        self._ended: dict[int, float] = {}
        self._lost: list[Lost] = []
        self._looks = 0

    def __len__(self) -> int:
        """How many people are followed now, newcomers included."""
        return len(self._people)

    @property
    def shown(self) -> int:
        """How many of them have an id."""
        return sum(person.id > 0 for person in self._people)

    @property
    def uncertain(self) -> bool:
        """Whether anybody is a newcomer or has become doubtful: a reason to detect soon."""
        return any(person.uncertain for person in self._people)

    @property
    def last_loss_s(self) -> float | None:
        """When a track last ended: a reason to detect soon."""
        return self._last_loss_s

    def reset(self) -> None:
        """Forget everybody (a cut in the film). Ids go on counting."""
        self._people, self._new, self._ended = [], [], {}
        self._id_of_track, self._twins = {}, {}
        self._lost = []
        self._last_loss_s = None
        self._looks = 0
        self._tracker.reset()

    def settle(self) -> dict[int, int]:
        """The shot ends: newcomers whom it was too short to confirm get their ids now; key -> id.

        A still picture allows the detector one look, a shot of half a second three. As many are asked to have seen
        somebody there, each as surely as the weakest of those that confirm a newcomer in a long shot.
        """
        share = self._looks * self._options.evidence_per_look / self._options.confirm_evidence
        if share >= 1:
            return {}
        late: dict[int, int] = {}
        for person in self._people:
            if person.id == 0 and self._convincing(person, share):
                late[person.key] = self._give_id(person)
        return late

    def observe(self, detections: Detections, time_s: float) -> None:
        """Take the detector's boxes of the frame at `time_s`, which may be a little in the past."""
        self._looks += 1
        found = detections.xyxy.astype(np.float64)
        owner = self._match(found, time_s)
        rivals: list[NewBox] = []
        for person_index, person in enumerate(list(self._people)):
            if person.born_s > time_s:
                continue
            matched = np.flatnonzero(owner == person_index)
            if not len(matched):
                self._miss(person, found, time_s)
                continue
            box, score = found[matched[0]], float(detections.score[matched[0]])
            if person.confirm_by_detector(box, time_s, self._options):
                person.evidence += score**2
            else:
                rivals.append(NewBox(person.moved_since(box, time_s), score, rival_of=person.key))
        self._new = rivals + [
            NewBox(found[row], float(detections.score[row]))
            for row in np.flatnonzero(owner < 0)
            if not self._covered(found[row], time_s)
        ]

    def boxes_for(self, frame: Frame) -> Tracks:
        """Where to crop in this frame: every followed person, then new ones, largest first, up to max_people.

        `Tracks.id` are internal keys; `confirm` turns them into the ids that users see.
        """
        self._time_s, self._image_wh = frame.time_s, frame.image_wh
        for person in list(self._people):
            person_box = person.predicted(frame.time_s, self._options)
            if not in_picture(person_box, self._image_wh, self._options.min_size_px):
                self._end(person)
                continue
            person.remember(frame.time_s, person_box, self._options.memory_s)
        newcomers = self._admit()
        self._update_tracker(newcomers)
        return Tracks(
            id=np.array([person.key for person in self._people], np.int32),
            xyxy=np.array([person.box for person in self._people], np.float32).reshape(-1, 4),
            age_s=np.array([frame.time_s - person.born_s for person in self._people], np.float64),
        )

    def confirm(self, estimates: BodyEstimates, bodies: PosedBodies, intrinsics: Intrinsics) -> Followed:
        """Take the meshes recovered from the crops of `boxes_for`: moves the boxes, ends lost and double tracks.

        Rows of `estimates` and `bodies` agree; `estimates.id` are the keys that `boxes_for` gave.
        """
        if len(bodies.vertices) != len(estimates):
            raise ValueError(f"confirm: {len(estimates)} estimates but {len(bodies.vertices)} posed bodies")
        by_key = {person.key: person for person in self._people}
        mesh_xyxy = mesh_boxes(bodies.vertices, intrinsics)
        for row, key in enumerate(estimates.id.tolist()):
            if key in by_key:
                person = by_key.pop(key)
                person.joints_px = bodies.joints_px[row]
                person.move_to_mesh(mesh_xyxy[row].astype(np.float64), self._time_s, self._image_wh, self._options)
                self._judge(person, float(estimates.score[row]))
        for person in by_key.values():  # the engine had no usable answer for these
            person.doubt(self._time_s)
            self._judge(person, person.score)
        self._settle_rivals()
        self._end_twins()
        return self._confirmed(estimates)

    def _confirmed(self, estimates: BodyEstimates) -> Followed:
        row_of = {key: row for row, key in enumerate(estimates.id.tolist())}
        kept = [person for person in self._people if person.key in row_of]
        for person in kept:
            if person.id == 0 and self._convincing(person):
                self._give_id(person)
            if person.id and person.tracker_id:
                self._id_of_track[person.tracker_id] = person.id
        while len(self._id_of_track) > 256:
            del self._id_of_track[next(iter(self._id_of_track))]
        kept.sort(key=lambda person: row_of[person.key])
        ended, self._ended = self._ended, {}
        return Followed(
            rows=np.array([row_of[person.key] for person in kept], np.intp),
            key=np.array([person.key for person in kept], np.int32),
            id=np.array([person.id for person in kept], np.int32),
            xyxy=boxes.clip(
                np.array([person.box for person in kept], np.float32).reshape(-1, 4), self._image_wh
            ).astype(np.float32),
            ended=ended,
        )

    def _give_id(self, person: FollowedPerson) -> int:
        """Their own from before, where they are who was lost in the middle of the picture; else a new one."""
        followed = {other.id for other in self._people}
        known = [lost for lost in self._lost if lost.id not in followed]
        off = [lost.strangeness(person, self._options) for lost in known]
        if off and min(off) < np.inf:
            back = known[int(np.argmin(off))]
            self._lost.remove(back)
            person.id = back.id
            return person.id
        person.id = self._next_id
        self._next_id += 1
        return person.id

    def _convincing(self, person: FollowedPerson, share: float = 1.0) -> bool:
        """Whether a newcomer may be shown: the detector has seen him often enough (`share` of the evidence that is
        usually asked for), and the network likes him."""
        options = self._options
        if any(other.id and other.replaced and self._replaces(person, other) for other in self._people):
            return False  # soon one of the two is gone
        shown = np.array([other.box for other in self._people if other.id]).reshape(-1, 4)
        hidden = bool((covered_fraction(person.box[None], shown) > options.hidden_fraction).any())
        needed = options.hidden_evidence if hidden else options.confirm_evidence
        return person.evidence >= share * needed and (person.mean_score or 0.0) >= options.sure_score

    def _miss(self, person: FollowedPerson, found: F64, time_s: float) -> None:
        """A detection did not see somebody: an early end for a newcomer, a mark against anybody else."""
        person.missed += 1
        covered = covered_fraction(person.box_at(time_s)[None], found).max(initial=0.0)
        person.replaced = person.replaced + 1 if covered >= self._options.replaced_fraction else 0
        if person.replaced:
            person.replaced_since_s = min(person.replaced_since_s, time_s)
        else:
            person.replaced_since_s = np.inf
        person.evidence -= self._options.miss_cost
        if person.id == 0 and person.evidence <= 0:
            self._end(person)

    def _match(self, found: F64, time_s: float) -> NDArray[np.intp]:
        """Row of the followed person that each detection shows, -1 where none: greedy by overlap, one to one."""
        owner = np.full(len(found), -1, np.intp)
        if not len(found) or not self._people:
            return owner
        followed = np.array([person.box_at(time_s) for person in self._people])
        overlap = boxes.iou_matrix(found, followed)
        # A detector often boxes only part of a person: a box that lies inside a followed one belongs to it too.
        inside = covered_fraction(found, followed)
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
        if not self._people:
            return False
        followed = np.array([person.box_at(time_s) for person in self._people])
        return bool(boxes.iou_matrix(box[None], followed).max() > self._options.twin_iou)

    def _admit(self) -> list[FollowedPerson]:
        """Make people of the new boxes: largest first, while there is room. A rival needs no room: he or the person
        whom he questions is gone after this frame."""
        largest_first = sorted(self._new, key=lambda new: -float(boxes.area(new.box)))
        self._new = []
        newcomers: list[FollowedPerson] = []
        keys = {person.key for person in self._people}
        for new in largest_first:
            room = new.rival_of in keys or len(self._people) < self._options.max_people
            if not room or not in_picture(new.box, self._image_wh, self._options.min_size_px):
                continue
            person = FollowedPerson(
                key=self._next_key,
                id=0,
                born_s=self._time_s,
                time_s=self._time_s,
                box=new.box,
                detected_s=self._time_s,
                detected_box=new.box,
                score=new.score,
                evidence=new.score**2,
                rival_of=new.rival_of if new.rival_of in keys else 0,
            )
            person.remember(self._time_s, new.box, self._options.memory_s)
            self._next_key += 1
            self._people.append(person)
            newcomers.append(person)
        return newcomers

    def _update_tracker(self, newcomers: list[FollowedPerson]) -> None:
        """Feed the tracker; a newcomer whom it knows as somebody lost a moment ago gets his old id back."""
        fed = [person for person in self._people if not person.rival_of]
        xyxy = np.array([person.box for person in fed], np.float32).reshape(-1, 4)
        score = np.array([person.score if person in newcomers else 1.0 for person in fed], np.float32)
        tracks = self._tracker.update(Detections(xyxy, score), self._time_s)
        for row in range(len(tracks)):
            difference = np.abs(xyxy - tracks.xyxy[row]).max(axis=1)
            if len(difference) and float(difference.min()) < 0.5:
                fed[int(difference.argmin())].tracker_id = int(tracks.id[row])
        followed_ids = {person.id for person in self._people if person.id}
        for person in newcomers:
            known = self._id_of_track.get(person.tracker_id, 0)
            if known and known not in followed_ids:
                person.id = known
                followed_ids.add(known)

    def _settle_rivals(self) -> None:
        """The detector saw a followed person elsewhere than his mesh is; the network has now looked at both places.

        Whoever looks clearly more like a person goes on under the person's id. Otherwise the rival is somebody else if
        his mesh lies apart, and was no good detection if it does not.
        """
        by_key = {person.key: person for person in self._people}
        for rival in [person for person in self._people if person.rival_of]:
            person = by_key.get(rival.rival_of)
            rival.rival_of = 0
            if person is None or person not in self._people:
                continue
            if rival.score > person.score + self._options.rival_margin:
                rival.take_over(person)
                self._people.remove(rival)
                self._people[self._people.index(person)] = rival
            elif len(self._people) > self._options.max_people or not rival.is_apart_from(person, self._options):
                self._people.remove(rival)

    def _judge(self, person: FollowedPerson, score: float) -> None:
        """End a track whose score stays low, whose mesh cannot be believed, or that the detector keeps missing."""
        options, now = self._options, self._time_s
        person.take_score(score, now, options)
        # Somebody never shown gets no time of grace: a wrong detection must not flash up.
        grace_s = options.low_score_s if person.id else 0.0
        low = person.low_since_s is not None and now - person.low_since_s >= grace_s
        doubted = person.doubt_since_s is not None and now - person.doubt_since_s >= options.low_score_s
        missed = person.missed >= options.max_missed and person.unsure_since_s is not None
        if low or doubted or missed:
            self._end(person)
        elif person.id and person.replaced:
            self._replace(person)

    def _replaces(self, other: FollowedPerson, person: FollowedPerson) -> bool:
        """Whether `other` covers so much of `person` that the detector may have seen him instead."""
        covered = float(covered_fraction(person.box[None], other.box[None])[0, 0])
        return other is not person and covered >= 0.5 * self._options.replaced_fraction

    def _replace(self, person: FollowedPerson) -> None:
        """Where the detector sees somebody else in his place: his mesh has slid to a part of a body, and the network
        likes it there, so that a newcomer on that body goes on for him; or he has been hidden for long."""
        newcomers = [other for other in self._people if other.id == 0 and self._replaces(other, person)]
        if person.replaced < (self._options.max_replaced if newcomers else self._options.max_hidden):
            return
        if not newcomers:
            self._end(person)
            return
        best = max(newcomers, key=lambda other: other.evidence)
        self._ended[person.key] = min(person.weak_since_s, person.replaced_since_s, best.born_s)
        best.take_over(person)
        self._people.remove(best)
        self._people[self._people.index(person)] = best

    def _end_twins(self) -> None:
        """Two tracks on one person: their meshes agree joint by joint. The younger ends."""
        twins: dict[tuple[int, int], float] = {}
        for older_index, older in enumerate(self._people):
            for younger in self._people[older_index + 1 :]:
                if older.is_twin_of(younger, self._options):
                    pair = (older.key, younger.key)
                    twins[pair] = self._twins.get(pair, self._time_s)
        self._twins = twins
        by_key = {person.key: person for person in self._people}
        for (older_key, younger_key), since_s in twins.items():
            older, younger = by_key[older_key], by_key[younger_key]
            if older not in self._people or younger not in self._people:
                continue
            # A newcomer gives way to somebody who is shown, even if that one came later.
            person = older if older.id == 0 and younger.id else younger
            if person.id == 0 or self._time_s - since_s >= self._options.twin_s:
                self._end(person)

    def _end(self, person: FollowedPerson) -> None:
        self._people.remove(person)
        self._ended[person.key] = person.weak_since_s
        if person.id:
            self._last_loss_s = self._time_s
            since_s = min(person.weak_since_s, self._time_s)
            box = person.box_at(since_s)
            self._lost = [lost for lost in self._lost if self._time_s - lost.time_s < 2 * self._options.return_s]
            if not touches_border(box, self._image_wh, self._options.border):
                self._lost.append(Lost(person.id, since_s, box))
