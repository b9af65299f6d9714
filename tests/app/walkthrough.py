"""A follower, a clock and synthetic boxes: what the tests about followed people walk through."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bodycast.app.records import F32, BodyEstimates, Detections, Frame, PosedBodies, Tracks
from bodycast.app.tracking.follower import Followed, Follower
from bodycast.app.tracking.options import FollowOptions
from bodycast.hmr.geometry.camera import Intrinsics
from tests.live.fakes import FakeTracker

WH = (640, 480)
CAMERA = Intrinsics.from_focal(500.0, WH)
DEPTH_M = 4.0
STEP_S = 1 / 30
Box = tuple[float, float, float, float]


def frame_at(time_s: float) -> Frame:
    return Frame(np.zeros((WH[1], WH[0], 3), np.uint8), round(time_s / STEP_S), time_s)


def detections(*people: Box) -> Detections:
    return Detections(np.array(people, np.float32).reshape(-1, 4), np.ones(len(people), np.float32))


def bodies_in(people: Sequence[Box]) -> PosedBodies:
    """Flat bodies whose projection is exactly the given boxes; their joints lie on the diagonal."""
    boxes_px = np.array(people, np.float64).reshape(-1, 4)
    corners = boxes_px[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)
    weight = np.linspace(0, 1, 24)[None, :, None]
    joints_px = boxes_px[:, None, :2] * (1 - weight) + boxes_px[:, None, 2:] * weight
    centre = np.array([CAMERA.cx, CAMERA.cy])

    def lifted(points_px: np.ndarray) -> F32:
        xy = (points_px - centre) * DEPTH_M / CAMERA.focal_px
        return np.concatenate([xy, np.full((*xy.shape[:-1], 1), DEPTH_M)], axis=-1).astype(np.float32)

    return PosedBodies(lifted(corners), lifted(joints_px), joints_px.astype(np.float32))


def estimates_for(tracks: Tracks, score: float | Sequence[float] = 0.9) -> BodyEstimates:
    count = len(tracks)
    return BodyEstimates(
        id=tracks.id,
        pose=np.broadcast_to(np.eye(3, dtype=np.float32), (count, 24, 3, 3)).copy(),
        betas=np.zeros((count, 10), np.float32),
        transl_m=np.zeros((count, 3), np.float32),
        score=np.broadcast_to(np.float32(score), (count,)).astype(np.float32),
        token=np.zeros((count, 0), np.float32),
    )


class Walkthrough:
    """A follower and a clock. `see` takes one frame whose meshes land where `meshes` says, in row order."""

    def __init__(self, options: FollowOptions | None = None) -> None:
        self.tracker = FakeTracker()
        self.follower = Follower(self.tracker, options)
        self.time_s = 0.0
        self.tracks = Tracks.empty()

    def detect(self, *people: Box, late_s: float = 0.0) -> None:
        self.follower.observe(detections(*people), self.time_s - late_s)

    def see(self, *meshes: Box, score: float | Sequence[float] = 0.9, step_s: float = STEP_S) -> Followed:
        self.tracks = self.follower.boxes_for(frame_at(self.time_s))
        assert len(self.tracks) == len(meshes), "the test gives one mesh per followed person"
        confirmed = self.follower.confirm(estimates_for(self.tracks, score), bodies_in(meshes), CAMERA)
        self.time_s += step_s
        return confirmed


MAN: Box = (100, 100, 180, 340)
WOMAN: Box = (400, 120, 470, 330)


def moved(box: Box, dx: float, dy: float = 0.0) -> Box:
    return box[0] + dx, box[1] + dy, box[2] + dx, box[3] + dy


def padded(box: Box, fraction: float = 0.05) -> list[float]:
    width, height = (box[2] - box[0]) * fraction, (box[3] - box[1]) * fraction
    return [box[0] - width, box[1] - height, box[2] + width, box[3] + height]
