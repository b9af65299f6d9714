"""One frame through detector, follower, crops, engine, smoother and body: everything before the drawing."""

from __future__ import annotations

import math
from contextlib import ExitStack
from time import perf_counter

import numpy as np

from bodycast.app.estimation.projection import joint_pixels
from bodycast.app.governor.ladder import looked_at
from bodycast.app.pipeline.crop_turns import CropTurns
from bodycast.app.pipeline.smoothing import SmoothingStage
from bodycast.app.pipeline.stages import FrameSettings, PipelineOptions, PosesBodies, Stages
from bodycast.app.pipeline.timing import StageTimes, timed
from bodycast.app.records import F32, BodyEstimates, Frame, FrameResult, PosedBodies, Tracks
from bodycast.app.tracking.backfill import Backfill
from bodycast.app.tracking.detection_schedule import (
    DetectAtOnce,
    DetectInBackground,
    DetectionRunner,
    DetectionSchedule,
)
from bodycast.app.tracking.follower import Follower
from bodycast.app.tracking.scene_cut import SceneCutDetector
from bodycast.app.world.lens import usual_lens
from bodycast.hmr.geometry.camera import Intrinsics


class Inference:
    """Frame in, people out. Used by one thread; keeps the state of the run (who is followed, where, since when)."""

    def __init__(self, stages: Stages, options: PipelineOptions, times: StageTimes) -> None:
        self._stages = stages
        self._options = options
        self._times = times
        self._follower = Follower(stages.tracker, options.follow)
        self._schedule = DetectionSchedule(options.detect_every_s)
        self._turns = CropTurns(looked_at)
        self._settings: FrameSettings | None = None
        self._cuts = SceneCutDetector()
        live = stages.source.info.live
        self._backfill = Backfill(self._look_at, options.follow, 0.0 if live else options.backfill_s)
        self._smoothing = SmoothingStage(stages.smoother, self._pose, stages.world)
        self._shot_began_s = -math.inf
        # Last, because it may start a thread.
        self._detection: DetectionRunner = (
            DetectInBackground(stages.detector) if live else DetectAtOnce(stages.detector)
        )

    def process(self, frame: Frame) -> list[FrameResult]:
        """The frames whose people are final: `frame`, or earlier ones, since files are held for backfill and a
        smoother may have a lag. At a cut, all frames that still waited come first."""
        began_s = perf_counter()
        self._settle()
        stage_s: dict[str, float] = {}
        if self._options.undistort is not None:
            with timed("undistort", stage_s):
                frame = self._options.undistort(frame)
        intrinsics = camera_of(frame, self._options)
        with timed("detect", stage_s):
            before_cut = self._look_for_cut(frame)
            self._detect(frame)
        with timed("follow", stage_s):
            tracks = self._follower.boxes_for(frame)
        share = 1.0 if self._settings is None else self._settings.crop_share
        estimates = self._turns.estimate(
            tracks, share, intrinsics, lambda some: self._estimate(frame, some, intrinsics, stage_s)
        )
        with timed("body", stage_s):
            bodies = self._pose(estimates, intrinsics)
        with timed("crop", stage_s):
            self._stages.remember(estimates.id, bodies.vertices, intrinsics)
        with timed("follow", stage_s):
            followed = self._follower.confirm(estimates, bodies, intrinsics)
        rows = followed.rows
        people = estimates.select(rows), bodies.select(rows), followed.xyxy
        result = FrameResult(frame, *people, intrinsics, overlay=frame.image, stage_s=stage_s)
        with timed("backfill", stage_s):
            released = self._backfill.push(result, followed)
        finished = before_cut + self._smooth(released)
        if self._stages.governor is not None:
            self._stages.governor.after_frame(perf_counter() - began_s, stage_s, len(tracks), self._turns.looked)
        return finished

    def _settle(self) -> None:
        """What the governor wants from this frame on."""
        governor = self._stages.governor
        if governor is None:
            return
        before, now = self._settings, governor.before_frame()
        if now is before:
            return
        self._settings = now
        self._schedule.slow_down(now.detect_every_s, now.detect_least_s)
        if before is not None and before.networks != now.networks:
            self._follower.networks_changed()

    def finish(self) -> list[FrameResult]:
        """The frames that still wait for backfill or for their smoother, at the end of the source."""
        late = self._follower.settle() if self._backfill.holds else {}
        return self._smooth(self._backfill.finish(late)) + self._timed(self._smoothing.finish())

    def reset(self) -> None:
        """Forget everybody; ids go on counting. Call `finish` first: frames that still wait are lost."""
        self._follower.reset()
        self._smoothing.reset()
        self._schedule.reset()
        self._turns.reset()

    def close(self) -> None:
        """End the detector, the engine and the smoother. May be called twice."""
        with ExitStack() as closing:
            for stage in (self._stages.governor, self._stages.smoother, self._stages.estimator, self._detection):
                if stage is not None:
                    closing.callback(stage.close)

    def _look_for_cut(self, frame: Frame) -> list[FrameResult]:
        """At a cut, forget everybody; gives the frames of the shot that has ended."""
        if not self._cuts.is_cut(frame.image) and not self._stages.source.info.stills:
            return []
        finished = self.finish()
        self.reset()
        self._shot_began_s = frame.time_s
        return finished

    def _detect(self, frame: Frame) -> None:
        """Start a detection when one is due, take the result of one that has finished."""
        follower = self._follower
        due = self._schedule.due(frame.time_s, follower.shown, follower.last_loss_s, follower.uncertain)
        if due and self._detection.submit(frame):
            self._schedule.started(frame.time_s)
        detected = self._detection.poll()
        # Detections in the shot before the cut say nothing about this one.
        if detected is not None and detected.time_s >= self._shot_began_s:
            self._times.add("detector", detected.seconds)
            if self._stages.governor is not None:
                self._stages.governor.detected(detected.seconds)
            self._follower.observe(detected.detections, detected.time_s)

    def _estimate(
        self, frame: Frame, tracks: Tracks, intrinsics: Intrinsics, stage_s: dict[str, float]
    ) -> BodyEstimates:
        """All people of the frame through the engine in one batch."""
        with timed("crop", stage_s):
            crops = self._stages.crop(frame, tracks, self._stages.estimator.input_hw)
        with timed("estimate", stage_s):
            return self._stages.estimator.estimate(crops, intrinsics, frame.image_wh)

    def _look_at(self, frame: Frame, xyxy: F32, intrinsics: Intrinsics) -> tuple[BodyEstimates, PosedBodies]:
        """The network's estimates for boxes (N,4) px of one frame, outside its turn; timed as backfill."""
        # Ids that no track has: nothing is known of them, as of the frame before of those that are followed.
        tracks = Tracks(-np.arange(1, len(xyxy) + 1, dtype=np.int32), xyxy, np.zeros(len(xyxy)))
        estimates = self._estimate(frame, tracks, intrinsics, {})
        return estimates, self._pose(estimates, intrinsics)

    def _pose(self, estimates: BodyEstimates, intrinsics: Intrinsics) -> PosedBodies:
        return pose_bodies(self._stages.body, estimates, intrinsics)

    def _smooth(self, released: list[FrameResult]) -> list[FrameResult]:
        return self._timed([smoothed for result in released for smoothed in self._smoothing.push(result)])

    def _timed(self, finished: list[FrameResult]) -> list[FrameResult]:
        for result in finished:
            self._times.add_all(result.stage_s)
        return finished


def camera_of(frame: Frame, options: PipelineOptions) -> Intrinsics:
    """What the user says of the camera, else what the source says, else the usual lens."""
    if options.focal_px is not None:
        return Intrinsics.from_focal(options.focal_px, frame.image_wh)
    if options.fov_deg is not None:
        return Intrinsics.default(frame.image_wh, fov_rad=math.radians(options.fov_deg))
    return frame.intrinsics or usual_lens(frame.image_wh)


def pose_bodies(body: PosesBodies, estimates: BodyEstimates, intrinsics: Intrinsics) -> PosedBodies:
    """Skin all people; joints also in pixels."""
    posed = body(estimates.pose, estimates.betas, estimates.transl_m)
    return PosedBodies(posed.vertices, posed.joints, joint_pixels(posed.joints, intrinsics))
