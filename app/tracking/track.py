"""One track: a person followed from mesh to mesh, and the evidence for and against them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

import numpy as np

from bodycast.app.records import F32, F64
from bodycast.app.tracking.box_motion import BoxMotion, same_body
from bodycast.app.tracking.options import FollowOptions
from bodycast.app.tracking.track_state import Evidence, TrackEvent, TrackState, next_state
from bodycast.hmr.geometry import boxes
from bodycast.hmr.geometry.suppression import covered_share


class Doubt(Enum):
    """Reasons to end a track, each with the time since which it has held without a break."""

    LOW_SCORE = "score below min_score"
    UNSURE = "mean score below sure_score"
    FADING = "mean score below `fading` of its best"
    NO_MESH = "no believable mesh"
    REPLACED = "detections see somebody else there"


@dataclass(slots=True, eq=False)
class Track:
    """`key` names the track within a run, `id` the person to users: 0 until it is confirmed. `seen`: see
    `Evidence.seen`. `mean_score`: of the network over the last `mean_score_s`, and `best_score` the highest that it has
    been. `missed`, `replaced`: see `Evidence`. `since_s`: the doubts that hold now. `rival_of`: key of the track that a
    rival questions."""

    key: int
    born_s: float
    motion: BoxMotion
    state: TrackState = TrackState.TENTATIVE
    id: int = 0
    rival_of: int = 0
    seen: float = 0.0
    score: float = 1.0
    mean_score: float | None = None
    best_score: float = 0.0
    missed: int = 0
    replaced: int = 0
    since_s: dict[Doubt, float] = field(default_factory=dict[Doubt, float])
    joints_px: F32 | None = None

    @property
    def box(self) -> F64:
        """(4,) xyxy px, where the person is now."""
        return self.motion.box

    def happen(self, event: TrackEvent) -> None:
        """Go on to the state that follows. Raises: ValueError for an event that cannot happen now."""
        self.state = next_state(self.state, event)

    def detected(self, found: F64, score: float, time_s: float, options: FollowOptions) -> bool:
        """The detector saw somebody at `found` (4,) at `time_s`, perhaps a little ago: do the meshes agree?"""
        agrees = self.motion.agrees(found, time_s, options)
        if agrees:
            self.missed = self.replaced = 0
            self._hold(Doubt.REPLACED, False, time_s)
            self.motion.detected(found, time_s)
            self.seen += score**2
        return agrees

    def miss(self, found: F64, time_s: float, options: FollowOptions) -> None:
        """The detections (N,4) at `time_s` do not have this person."""
        self.missed += 1
        covered = covered_share(self.motion.box_at(time_s)[None], found).max(initial=0.0)
        self.replaced = self.replaced + 1 if covered >= options.replaced_fraction else 0
        self._hold(Doubt.REPLACED, self.replaced > 0, time_s)
        self.seen -= options.miss_cost

    def take_mesh(
        self, mesh: F64 | None, score: float, time_s: float, image_wh: tuple[int, int], options: FollowOptions
    ) -> None:
        """The mesh's box (4,) px and the network's score at `time_s`; None: its output was not finite."""
        believed = False
        if mesh is None:
            self.motion.stay()
        else:
            believed = self.motion.move_to_mesh(mesh, time_s, image_wh, options)
        self._hold(Doubt.NO_MESH, not believed, time_s)
        history = self.motion.history
        before_s = history[-2][0] if len(history) > 1 else time_s
        weight = 1.0 - float(np.exp(-max(time_s - before_s, 0.0) / options.mean_score_s))
        mean = score if self.mean_score is None else self.mean_score + weight * (score - self.mean_score)
        self.score, self.mean_score = score, mean
        self._hold(Doubt.LOW_SCORE, score < options.min_score, time_s)
        self._hold(Doubt.UNSURE, mean < options.sure_score, time_s)
        self.best_score = max(self.best_score, mean)
        self._hold(Doubt.FADING, mean < options.fading * self.best_score, time_s)

    def evidence(self, time_s: float, successor: bool) -> Evidence:
        """Of the mesh at `time_s` and the detections before it. successor: a tentative track lies in its place."""
        return Evidence(
            low_s=self._for_s(Doubt.LOW_SCORE, time_s),
            doubted_s=self._for_s(Doubt.NO_MESH, time_s),
            missed=self.missed,
            unsure=Doubt.UNSURE in self.since_s,
            replaced=self.replaced,
            successor=successor,
        )

    @property
    def weak(self) -> bool:
        """Whether the detector should look again soon: a poor mean score, no believable mesh, or missed by the
        detector while the score fell or somebody else was seen there."""
        fades_unseen = Doubt.FADING in self.since_s and self.missed > 0
        return fades_unseen or Doubt.UNSURE in self.since_s or Doubt.NO_MESH in self.since_s or self.replaced > 0

    @property
    def weak_since_s(self) -> float:
        """Since when there has been a reason to end this track; infinity where there is none. Fading is one only after
        the detector's last agreement."""
        since_s = {doubt: time_s for doubt, time_s in self.since_s.items() if doubt is not Doubt.REPLACED}
        if Doubt.FADING in since_s:
            since_s[Doubt.FADING] = max(since_s[Doubt.FADING], self.motion.detected_s)
        return min(since_s.values(), default=self.replaced_since_s)

    @property
    def replaced_since_s(self) -> float:
        """Since when detections have seen somebody else in this place; infinity where they do not."""
        return self.since_s.get(Doubt.REPLACED, np.inf)

    def is_apart_from(self, other: Track, options: FollowOptions) -> bool:
        """Whether the two boxes are so far from each other that they must be two people."""
        overlap = float(boxes.iou_matrix(self.box[None], other.box[None])[0, 0])
        inside = float(covered_share(self.box[None], other.box[None])[0, 0])
        return overlap < options.match_iou and inside < 0.5

    def is_twin_of(self, other: Track, options: FollowOptions) -> bool:
        """Whether both meshes lie on one person: the boxes overlap and the joints agree one by one."""
        if self.joints_px is None or other.joints_px is None:
            return False
        shown = self.state.shown and other.state.shown
        min_iou = options.twin_iou if shown else options.newcomer_twin_iou
        max_apart = options.twin_joints if shown else options.newcomer_twin_joints
        return same_body((self.box, self.joints_px), (other.box, other.joints_px), min_iou, max_apart)

    def _hold(self, doubt: Doubt, holds: bool, time_s: float) -> None:
        if holds:
            self.since_s[doubt] = min(self.since_s.get(doubt, time_s), time_s)  # detections may come late
        else:
            self.since_s.pop(doubt, None)

    def _for_s(self, doubt: Doubt, time_s: float) -> float | None:
        return time_s - self.since_s[doubt] if doubt in self.since_s else None
