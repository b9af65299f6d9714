"""The smoother's place in the pipeline: its output is paired with the frames that it belongs to.

The output of a smoother with a lag at time t is the bodies at t - lag. Frames wait for it, so that meshes and picture
agree. Where several frames have waited long enough, as after a gap in a live source, the output belongs to the newest
and the others are interpolated from it and the output before. At a cut and at the end the waiting frames are finished
with the last bodies held still. People who have left the picture are held, with score 0, until the frames that show
them have their output. Pictures that wait take MAX_HELD_BYTES at most; beyond that they wait as JPEG.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from bodycast.app.pipeline.timing import timed
from bodycast.app.records import U8, BodyEstimates, FrameResult, PosedBodies
from bodycast.app.smoothers.base import Smoother
from bodycast.app.smoothers.interpolation import interpolate_bodies
from bodycast.app.world.frame_world import PlacesPeople
from bodycast.hmr.geometry.camera import Intrinsics

_ROUNDING_S = 1e-3
_USUAL_STEP_S = 1 / 30

MAX_HELD_BYTES = 256 * 2**20
_JPEG_QUALITY = 97

PosesEstimates = Callable[[BodyEstimates, Intrinsics], PosedBodies]
"""Skins estimates."""


class SmoothingStage:
    """Frames in, the same frames out in order with smoothed people, `lag_s` later."""

    def __init__(self, smoother: Smoother, pose: PosesEstimates, world: PlacesPeople | None = None) -> None:
        """pose: skins the smoothed people; where the smoother changed nothing, they are skinned already. world: puts
        the smoothed people where they stand."""
        self._smoother = smoother
        self._world = world
        self._pose = pose
        self._waiting: deque[FrameResult] = deque()
        self._packed: dict[int, NDArray[np.uint8]] = {}
        self._bytes = 0
        self._step_s = _USUAL_STEP_S
        self._seen: dict[int, tuple[BodyEstimates, float]] = {}
        self._last: tuple[BodyEstimates, float] | None = None

    def push(self, result: FrameResult) -> list[FrameResult]:
        """Take one frame; gives those whose output has come: this one, for a smoother without a lag."""
        if self._waiting:
            self._step_s = max(result.frame.time_s - self._waiting[-1].frame.time_s, _ROUNDING_S)
        self._waiting.append(self._held(result))
        with timed("smooth", result.stage_s):
            output = self._smooth(result.estimates, result.frame.time_s)
        return self._due(output, result.frame.time_s)

    def finish(self) -> list[FrameResult]:
        """The frames that still wait. The last people are held still until all output is there."""
        finished: list[FrameResult] = []
        if not self._waiting:
            return finished
        last = self._waiting[-1]
        time_s = last.frame.time_s
        while self._waiting:
            time_s += self._step_s
            with timed("smooth", last.stage_s):
                output = self._smooth(last.estimates, time_s)
            finished += self._due(output, time_s)
        return finished

    def reset(self) -> None:
        """A cut in the film: call `finish` first."""
        self._waiting.clear()
        self._packed.clear()
        self._bytes = 0
        self._seen.clear()
        self._last = None
        self._smoother.reset()
        if self._world is not None:
            self._world.reset()

    def _held(self, result: FrameResult) -> FrameResult:
        """The frame as it waits: where too many bytes wait already, its picture apart, as JPEG."""
        import cv2

        image = result.frame.image
        if self._smoother.lag_s <= 0 or self._bytes + image.nbytes <= MAX_HELD_BYTES:
            self._bytes += image.nbytes
            return result
        with timed("smooth", result.stage_s):
            packed = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1]
        self._packed[result.frame.index] = np.asarray(packed, np.uint8)
        nothing: U8 = np.broadcast_to(np.zeros((1, 1, 3), np.uint8), image.shape)
        return replace(result, frame=replace(result.frame, image=nothing), overlay=nothing)

    def _restored(self, result: FrameResult) -> FrameResult:
        import cv2

        packed = self._packed.pop(result.frame.index, None)
        if packed is None:
            self._bytes -= result.frame.image.nbytes
            return result
        image = np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), np.uint8)
        return replace(result, frame=replace(result.frame, image=image), overlay=image)

    def _smooth(self, estimates: BodyEstimates, time_s: float) -> BodyEstimates:
        """The smoother's output for these people, and for those who left less than its lag ago."""
        ids: list[int] = estimates.id.tolist()
        oldest_s = time_s - self._smoother.lag_s - _ROUNDING_S
        self._seen = {p: seen for p, seen in self._seen.items() if seen[1] >= oldest_s and p not in ids}
        left = [body for body, _ in self._seen.values()]
        if self._smoother.lag_s > 0:
            for row, person in enumerate(ids):
                body = estimates.select(np.array([row]))
                self._seen[person] = replace(body, score=np.zeros_like(body.score)), time_s
        return self._smoother.update(BodyEstimates.joined([estimates, *left]) if left else estimates, time_s)

    def _due(self, output: BodyEstimates, time_s: float) -> list[FrameResult]:
        """The waiting frames up to the time that the output belongs to."""
        output_s = time_s - self._smoother.lag_s + _ROUNDING_S
        due: list[FrameResult] = []
        while self._waiting and self._waiting[0].frame.time_s <= output_s:
            due.append(self._restored(self._waiting.popleft()))
        if not due:
            return []
        newest_s = due[-1].frame.time_s
        before = (output, newest_s) if self._last is None else self._last
        self._last = output, newest_s
        return [self._smoothed(result, _at(result.frame.time_s, before, self._last)) for result in due]

    def _smoothed(self, result: FrameResult, output: BodyEstimates) -> FrameResult:
        estimates = _for_people_of(result.estimates, output)
        smoothed = estimates
        if self._world is not None:
            with timed("place", result.stage_s):
                estimates, world = self._world.place(result.frame, estimates, result.xyxy, result.intrinsics)
            lens = result.intrinsics
            if world.focal_ratio != 1.0:
                lens = lens.with_focal_times(world.focal_ratio)
            result = replace(result, smoothed=smoothed, world=world, intrinsics=lens)
        if estimates is result.estimates:
            return result
        with timed("body", result.stage_s):
            bodies = self._pose(estimates, result.intrinsics)
        return replace(result, estimates=estimates, bodies=bodies)


def _at(time_s: float, before: tuple[BodyEstimates, float], after: tuple[BodyEstimates, float]) -> BodyEstimates:
    """The bodies at a time, from two outputs and the times that they belong to."""
    (earlier, earlier_s), (later, later_s) = before, after
    if not earlier_s <= time_s < later_s:
        return later
    return interpolate_bodies(earlier, later, (time_s - earlier_s) / (later_s - earlier_s))


def _for_people_of(raw: BodyEstimates, output: BodyEstimates) -> BodyEstimates:
    """The output's rows for the people of an earlier frame; who has left since keeps what the network gave."""
    if np.array_equal(raw.id, output.id):
        return output if output.keypoints is raw.keypoints else replace(output, keypoints=raw.keypoints)
    row_of = {person: row for row, person in enumerate(output.id.tolist())}
    pose, betas, transl_m = raw.pose.copy(), raw.betas.copy(), raw.transl_m.copy()
    for row, person in enumerate(raw.id.tolist()):
        if person in row_of:
            source = row_of[person]
            pose[row], betas[row], transl_m[row] = output.pose[source], output.betas[source], output.transl_m[source]
    return replace(raw, pose=pose, betas=betas, transl_m=transl_m)
