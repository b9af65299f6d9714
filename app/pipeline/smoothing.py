"""The smoother's place in the pipeline: its late answers are paired with the frames that they are about.

A smoother with a lag answers at time t about the bodies at t - lag. The pictures wait for those answers, so that
meshes and picture agree. Where more than one frame has waited long enough, behind a hurried camera, the answer is about
the newest, and the others lie between it and the answer before. At a cut and at the end the waiting frames are finished
with the last bodies held still. Who leaves the picture is held, unseen, until the frames that show him have their
answers.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bodycast.app.pipeline.timing import timed
from bodycast.app.records import F32, BodyEstimates, Frame, PosedBodies
from bodycast.app.smoothers.base import Smoother
from bodycast.app.smoothers.interpolation import interpolate_bodies
from bodycast.hmr.geometry.camera import Intrinsics

_ROUNDING_S = 1e-3
_USUAL_STEP_S = 1 / 30


@dataclass(frozen=True, slots=True)
class Unsteady:
    """A frame and its people as the network gave them; rows of `estimates`, `bodies` and `xyxy` agree."""

    frame: Frame
    estimates: BodyEstimates
    bodies: PosedBodies
    xyxy: F32
    intrinsics: Intrinsics
    stage_s: dict[str, float]

    def select(self, rows: NDArray[np.bool_]) -> Unsteady:
        """The same frame with the given rows (N,) of its people."""
        return replace(
            self,
            estimates=self.estimates.select(rows),
            bodies=self.bodies.select(rows),
            xyxy=self.xyxy[rows],
        )


@dataclass(frozen=True, slots=True)
class Steady:
    """`estimates` are those of `of`, smoothed, in the same rows."""

    of: Unsteady
    estimates: BodyEstimates


class SmoothingStage:
    """Frames in, the same frames out in order with steadied people, `lag_s` later."""

    def __init__(self, smoother: Smoother) -> None:
        self._smoother = smoother
        self._waiting: deque[Unsteady] = deque()
        self._step_s = _USUAL_STEP_S
        self._seen: dict[int, tuple[BodyEstimates, float]] = {}
        self._last: tuple[BodyEstimates, float] | None = None

    def push(self, unsteady: Unsteady) -> list[Steady]:
        """Take one frame; gives those whose answers have come: this one, for a smoother without a lag."""
        if self._waiting:
            self._step_s = max(unsteady.frame.time_s - self._waiting[-1].frame.time_s, _ROUNDING_S)
        self._waiting.append(unsteady)
        with timed("smooth", unsteady.stage_s):
            answer = self._ask(unsteady.estimates, unsteady.frame.time_s)
        return self._due(answer, unsteady.frame.time_s)

    def finish(self) -> list[Steady]:
        """The frames that still wait. The last people are held still until all answers are there."""
        steady: list[Steady] = []
        if not self._waiting:
            return steady
        last = self._waiting[-1]
        time_s = last.frame.time_s
        while self._waiting:
            time_s += self._step_s
            steady += self._due(self._ask(last.estimates, time_s), time_s)
        return steady

    def reset(self) -> None:
        """A cut in the film: call `finish` first."""
        self._waiting.clear()
        self._seen.clear()
        self._last = None
        self._smoother.reset()

    def _ask(self, estimates: BodyEstimates, time_s: float) -> BodyEstimates:
        """The smoother's answer for these people, and for those who left less than its lag ago."""
        ids: list[int] = estimates.id.tolist()
        oldest_s = time_s - self._smoother.lag_s - _ROUNDING_S
        self._seen = {p: seen for p, seen in self._seen.items() if seen[1] >= oldest_s and p not in ids}
        left = [body for body, _ in self._seen.values()]
        if self._smoother.lag_s > 0:
            for row, person in enumerate(ids):
                body = estimates.select(np.array([row]))
                self._seen[person] = replace(body, score=np.zeros_like(body.score)), time_s
        return self._smoother.update(BodyEstimates.joined([estimates, *left]) if left else estimates, time_s)

    def _due(self, answer: BodyEstimates, time_s: float) -> list[Steady]:
        about_s = time_s - self._smoother.lag_s + _ROUNDING_S
        due: list[Unsteady] = []
        while self._waiting and self._waiting[0].frame.time_s <= about_s:
            due.append(self._waiting.popleft())
        if not due:
            return []
        newest_s = due[-1].frame.time_s
        before = (answer, newest_s) if self._last is None else self._last
        self._last = answer, newest_s
        return [Steady(u, _for_people_of(u.estimates, _at(u.frame.time_s, before, self._last))) for u in due]


def _at(time_s: float, before: tuple[BodyEstimates, float], after: tuple[BodyEstimates, float]) -> BodyEstimates:
    """What is known at a time between two answers and the times that they are about."""
    (earlier, earlier_s), (later, later_s) = before, after
    if not earlier_s <= time_s < later_s:
        return later
    return interpolate_bodies(earlier, later, (time_s - earlier_s) / (later_s - earlier_s))


def _for_people_of(unsteady: BodyEstimates, answer: BodyEstimates) -> BodyEstimates:
    """The answer's rows for the people of an earlier frame; who has left since keeps what the network gave."""
    if np.array_equal(unsteady.id, answer.id):
        return answer
    row_of = {person: row for row, person in enumerate(answer.id.tolist())}
    pose, betas, transl_m = unsteady.pose.copy(), unsteady.betas.copy(), unsteady.transl_m.copy()
    for row, person in enumerate(unsteady.id.tolist()):
        if person in row_of:
            source = row_of[person]
            pose[row], betas[row], transl_m[row] = answer.pose[source], answer.betas[source], answer.transl_m[source]
    return BodyEstimates(unsteady.id, pose, betas, transl_m, unsteady.score, unsteady.token)
