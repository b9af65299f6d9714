"""One followed person: where his box is, how it moves, which meshes and detections it believes."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Self

import numpy as np

from bodycast.app.records import F32, F64
from bodycast.hmr.geometry import boxes


@dataclass(frozen=True, slots=True)
class FollowOptions:
    """When to believe a mesh. Times in seconds, sizes in pixels, the rest are ratios."""

    max_people: int = 10
    padding: float = 0.05  # of the mesh box on every side: clothes and hair lie outside the naked mesh
    max_edge_speed: float = 1.0  # box sizes per second by which a mesh may move an edge away from its prediction
    min_score: float = 0.3
    low_score_s: float = 0.5  # a score below min_score, or a mesh not to be believed, ends a track after this time
    sure_score: float = 0.5  # mean score below which nobody is shown anew, and the detector is asked about the others
    fading: float = 0.85  # share of his best mean score below which somebody fades: a reason to look soon
    mean_score_s: float = 0.3  # time constant of the mean score
    max_missed: int = 4  # detections in a row that miss a person whose mean score is below sure_score
    max_replaced: int = 2  # detections in a row that see a newcomer where he is: his mesh has slid off that body
    max_hidden: int = 10  # the same where it is somebody known: he may be behind him
    replaced_fraction: float = 0.3  # of his box that such a detection covers
    confirm_evidence: float = 1.0  # summed squares of the scores of the detections that saw a newcomer, to show him
    hidden_evidence: float = 6.0  # the same for one who stands half within somebody shown: more likely a part of him
    hidden_fraction: float = 0.5
    evidence_per_look: float = 0.25  # a shot that ends after fewer looks than evidence takes asks for this much of each
    miss_cost: float = 0.2  # what a detection that misses a newcomer takes off that sum
    match_iou: float = 0.2
    drift_iou: float = 0.35  # matched, yet overlapping less than this: the network looks at the detector's box too
    rival_margin: float = 0.1  # and believes that one if it scores so much better
    twin_iou: float = 0.6
    twin_joints: float = 0.06  # mean joint distance over the box diagonal
    twin_s: float = 0.15
    newcomer_twin_iou: float = 0.4  # twin_iou and twin_joints for somebody who has not been shown yet
    newcomer_twin_joints: float = 0.15
    max_predict_s: float = 0.25
    velocity_s: float = 0.08  # time constant of the velocity average
    min_size_px: float = 12.0
    return_s: float = 2.5  # somebody lost away from the picture's border is expected again for so long
    return_speed: float = 3.0  # and no further away than so many of their sizes a second
    return_reach: float = 3.0  # nor than so many sizes in all
    return_ratio: float = 1.8  # and at most so much larger or smaller
    border: float = 0.02  # share of the picture's sides within which a box touches its border
    memory_s: float = 1.0  # how long old boxes are kept, for detections that arrive late

    def __post_init__(self) -> None:
        if self.max_people < 1:
            raise ValueError(f"max_people must be at least 1, got {self.max_people}")


@dataclass(slots=True, eq=False)
class FollowedPerson:
    """The state of one track. `key` is internal; `id` is what users see, 0 for a newcomer: he is followed, not shown.
    `evidence`: of the detector, for a newcomer. `mean_score`: mean network score over the last `mean_score_s`, and
    `best_score` the highest that it has been. `rival_of`: key of the person whom this one may turn out to be, for its
    first frame only.

    `box` (4,) xyxy px is where the person is at `time_s`; `history` holds the boxes of the last `memory_s`.
    """

    key: int
    id: int
    born_s: float
    time_s: float
    box: F64
    detected_s: float
    detected_box: F64
    velocity: F64 = field(default_factory=lambda: np.zeros(4))  # of centre and size, px/s
    tracker_id: int = 0
    score: float = 1.0
    evidence: float = 0.0
    mean_score: float | None = None
    best_score: float = 0.0
    low_since_s: float | None = None
    unsure_since_s: float | None = None
    fading_since_s: float | None = None
    doubt_since_s: float | None = None
    missed: int = 0
    replaced: int = 0
    replaced_since_s: float = np.inf
    rival_of: int = 0
    believed_s: float = -np.inf  # when a mesh was last believed
    joints_px: F32 | None = None
    history: deque[tuple[float, F64]] = field(default_factory=lambda: deque[tuple[float, F64]](maxlen=120))

    @classmethod
    def at_box(cls, key: int, box: F64, time_s: float) -> Self:
        """A track that begins at `box` (4,)."""
        return cls(key=key, id=0, born_s=time_s, time_s=time_s, box=box, detected_s=-np.inf, detected_box=box)

    def remember(self, time_s: float, box: F64, memory_s: float) -> None:
        """The person is at `box` at `time_s`."""
        self.time_s, self.box = time_s, box
        self.history.append((time_s, box))
        while len(self.history) > 1 and time_s - self.history[0][0] > memory_s:
            self.history.popleft()

    def move_to(self, box: F64, time_s: float, options: FollowOptions) -> None:
        """The person was at `box` (4,) at `time_s`: known, not to be judged."""
        self.remember(time_s, box, options.memory_s)
        if len(self.history) > 1:
            self._update_velocity(box, time_s, options)

    def box_at(self, time_s: float) -> F64:
        """The remembered box nearest in time."""
        if not self.history:
            return self.box
        return min(self.history, key=lambda entry: abs(entry[0] - time_s))[1]

    def predicted(self, time_s: float, options: FollowOptions) -> F64:
        """The box at `time_s`, at most a quarter of its size away and a tenth larger or smaller."""
        ahead_s = min(max(time_s - self.time_s, 0.0), options.max_predict_s)
        centre, size = box_centre(self.box), box_size(self.box)
        step = np.clip(self.velocity[:2] * ahead_s, -0.25 * size, 0.25 * size)
        grown = size + np.clip(self.velocity[2:] * ahead_s, -0.1 * size, 0.1 * size)
        return np.concatenate([centre + step - 0.5 * grown, centre + step + 0.5 * grown])

    def move_to_mesh(self, mesh: F64, time_s: float, image_wh: tuple[int, int], options: FollowOptions) -> None:
        """Take the mesh's box (4,), padded and clipped, if it can be believed."""
        seen = boxes.clip(boxes.pad(mesh, options.padding), image_wh).astype(np.float64)
        first = len(self.history) <= 1
        if not self._believable(seen, first, options.min_size_px):
            self.doubt(time_s)
            return
        self.doubt_since_s, self.believed_s = None, time_s
        if not first:
            # A wrong mesh makes a wrong crop, and that the next wrong mesh: the box follows no faster than people move.
            reach = options.max_edge_speed * (time_s - self.history[-2][0]) * float(box_size(self.box).max())
            seen = np.clip(seen, self.box - reach, self.box + reach)
            self._update_velocity(seen, time_s, options)
        self.box = seen
        self.history[-1] = (time_s, seen)

    def doubt(self, time_s: float) -> None:
        """No mesh to believe in: stay, or take the detector's box if it is newer than the last good mesh."""
        self.velocity = np.zeros(4)
        if self.doubt_since_s is None:
            self.doubt_since_s = time_s
        if self.detected_s > self.believed_s:
            self.box = self.detected_box

    def confirm_by_detector(self, found: F64, time_s: float, options: FollowOptions) -> bool:
        """The detector saw the person at `found` (4,) at `time_s`, perhaps a little ago: does the mesh agree?"""
        then = self.box_at(time_s)
        overlap = float(boxes.iou_matrix(found[None], then[None])[0, 0])
        inside = float(covered_fraction(found[None], then[None])[0, 0])
        # A box within the mesh's may be the part of a person that can be seen, unless it is a small part of the mesh.
        agrees = overlap >= options.drift_iou or (inside > 0.8 and overlap > options.match_iou)
        if agrees:
            self.missed = self.replaced = 0
            self.replaced_since_s = np.inf
            self.detected_s, self.detected_box = time_s, self.moved_since(found, time_s)
        return agrees

    def take_score(self, score: float, time_s: float, options: FollowOptions) -> None:
        """The network's score of the mesh at `time_s`."""
        before_s = self.history[-2][0] if len(self.history) > 1 else time_s
        weight = 1.0 - float(np.exp(-max(time_s - before_s, 0.0) / options.mean_score_s))
        self.score = score
        self.mean_score = score if self.mean_score is None else self.mean_score + weight * (score - self.mean_score)
        self.low_since_s = _since(self.low_since_s, score < options.min_score, time_s)
        self.unsure_since_s = _since(self.unsure_since_s, self.mean_score < options.sure_score, time_s)
        self.best_score = max(self.best_score, self.mean_score)
        self.fading_since_s = _since(self.fading_since_s, self.mean_score < options.fading * self.best_score, time_s)

    @property
    def uncertain(self) -> bool:
        """Whether the detector should look again soon: a newcomer, a poor score, a mesh not to be believed, somebody
        whom it has missed while his score fell."""
        fades_unseen = self.fading_since_s is not None and self.missed > 0
        doubtful = self.unsure_since_s is not None or self.doubt_since_s is not None
        return self.id == 0 or fades_unseen or doubtful or self.replaced > 0

    @property
    def weak_since_s(self) -> float:
        """Since when there has been a reason to end this track; infinity where there is none. Fading is one only after
        the detector's last word for the person."""
        faded_s = None if self.fading_since_s is None else max(self.fading_since_s, self.detected_s)
        reasons = (self.low_since_s, self.unsure_since_s, self.doubt_since_s, faded_s)
        return min((since_s for since_s in reasons if since_s is not None), default=self.replaced_since_s)

    def take_over(self, other: FollowedPerson) -> None:
        """Be `other`, seen better: his identity and what is known of him, not his box."""
        self.id, self.tracker_id, self.born_s = other.id, other.tracker_id, other.born_s
        self.evidence += other.evidence

    def moved_since(self, found: F64, time_s: float) -> F64:
        """A box (4,) of the frame at `time_s`, moved as the person has moved since."""
        return found + np.tile(box_centre(self.box) - box_centre(self.box_at(time_s)), 2)

    def is_apart_from(self, other: FollowedPerson, options: FollowOptions) -> bool:
        """Whether the two boxes are so far from each other that they must be two people."""
        overlap = float(boxes.iou_matrix(self.box[None], other.box[None])[0, 0])
        inside = float(covered_fraction(self.box[None], other.box[None])[0, 0])
        return overlap < options.match_iou and inside < 0.5

    def is_twin_of(self, other: FollowedPerson, options: FollowOptions) -> bool:
        """Whether both meshes lie on one person: the boxes overlap and the joints agree one by one."""
        if self.joints_px is None or other.joints_px is None:
            return False
        shown = self.id != 0 and other.id != 0
        min_iou = options.twin_iou if shown else options.newcomer_twin_iou
        max_apart = options.twin_joints if shown else options.newcomer_twin_joints
        return same_body((self.box, self.joints_px), (other.box, other.joints_px), min_iou, max_apart)

    def _believable(self, mesh: F64, first: bool, min_size_px: float) -> bool:
        """Neither jumped nor collapsed nor exploded since the last box; the first one follows a detector's box,
        which may be far looser than a mesh."""
        if not np.all(np.isfinite(mesh)) or not np.all(box_size(mesh) >= min_size_px):
            return False
        width, height = box_size(mesh)
        ratio = float(boxes.area(mesh)) / max(float(boxes.area(self.box)), 1.0)
        limit = 6.0 if first else 3.0
        jump = np.abs(box_centre(mesh) - box_centre(self.box)).max() / box_size(self.box).max()
        return 1 / 6 <= height / width <= 8 and 1 / limit <= ratio <= limit and bool(jump <= 0.5)

    def _update_velocity(self, seen: F64, time_s: float, options: FollowOptions) -> None:
        """Exponential average, in time, of the velocity of centre and size."""
        before_s, before = self.history[-2]
        elapsed_s = time_s - before_s
        if elapsed_s <= 0 or elapsed_s > options.max_predict_s:
            self.velocity = np.zeros(4)
            return
        change = np.concatenate([box_centre(seen) - box_centre(before), box_size(seen) - box_size(before)])
        weight = 1.0 - float(np.exp(-elapsed_s / options.velocity_s))
        self.velocity = self.velocity + weight * (change / elapsed_s - self.velocity)


@dataclass(frozen=True, slots=True)
class Lost:
    """Somebody whose track ended at `time_s` in the middle of the picture, where nobody vanishes: they may be upside
    down, blurred or hidden. `box` (4,) xyxy px."""

    id: int
    time_s: float
    box: F64

    def strangeness(self, person: FollowedPerson, options: FollowOptions) -> float:
        """How far off a newcomer is, 0 for the same place; infinite where they cannot be the one that was lost."""
        passed_s = person.born_s - self.time_s
        size, other = float(box_size(self.box).max()), float(box_size(person.history[0][1]).max())
        apart = float(np.linalg.norm(box_centre(person.history[0][1]) - box_centre(self.box))) / size
        reach = min(options.return_speed * max(passed_s, 0.0) + 0.5, options.return_reach)
        ratio = max(size, other) / max(min(size, other), 1e-6)
        possible = -0.5 <= passed_s <= options.return_s and apart <= reach and ratio <= options.return_ratio
        return apart / reach if possible else np.inf


def touches_border(box: F64, image_wh: tuple[int, int], border: float) -> bool:
    """Whether a box (4,) reaches the picture's border, or nearly."""
    edge = border * np.array(image_wh)
    return bool((box[:2] <= edge).any() or (box[2:] >= np.array(image_wh) - edge).any())


def same_body(one: tuple[F64, F32], other: tuple[F64, F32], min_iou: float, max_apart: float) -> bool:
    """Whether two meshes lie on one person. Each: box (4,) xyxy and joints (24,2), px. The boxes overlap by `min_iou`
    or more, and the joints are apart by less than `max_apart` of the first box's diagonal in the mean."""
    (box, joints_px), (other_box, other_joints_px) = one, other
    if float(boxes.iou_matrix(box[None], other_box[None])[0, 0]) < min_iou:
        return False
    apart = float(np.linalg.norm(joints_px - other_joints_px, axis=1).mean())
    return apart < max_apart * float(np.linalg.norm(box_size(box)))


def _since(since_s: float | None, holds: bool, now_s: float) -> float | None:
    """When something that may hold now began to hold; None where it does not."""
    if not holds:
        return None
    return now_s if since_s is None else since_s


def box_centre(box: F64) -> F64:
    """(4,) xyxy -> (2,)."""
    return 0.5 * (box[:2] + box[2:])


def box_size(box: F64) -> F64:
    """(4,) xyxy -> (2,) wh."""
    return box[2:] - box[:2]


def in_picture(box: F64, image_wh: tuple[int, int], min_size_px: float) -> bool:
    """Whether enough of the box (4,) is in the picture to look at."""
    seen = boxes.clip(box, image_wh).astype(np.float64)
    return bool(np.all(box_size(seen) >= min_size_px)) and float(boxes.area(seen)) > 0.05 * float(boxes.area(box))


def covered_fraction(inner: F64, outer: F64) -> F64:
    """Share of each inner box (N,4) that lies in each outer box (M,4): (N,M) in 0..1."""
    low = np.maximum(inner[:, None, :2], outer[None, :, :2])
    high = np.minimum(inner[:, None, 2:], outer[None, :, 2:])
    overlap = np.prod(np.maximum(high - low, 0.0), axis=-1)
    return overlap / np.maximum(boxes.area(inner)[:, None], 1e-9)
