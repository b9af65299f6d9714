"""People who cross the picture's border: for some frames only a hand and a foot can be seen of them.

The network's score falls with the share of a body that it sees, and says nothing there. What is known is how the person
moved a moment before (or, backwards in time, a moment later): their track is extrapolated across the border with that
velocity, in the pose that was last recovered, until next to nothing of them is in the picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from bodycast.app.estimation.projection import NEAR_M, joint_pixels, mesh_boxes
from bodycast.app.records import F32, F64, BodyEstimates, FrameResult, PosedBodies
from bodycast.app.tracking.options import FollowOptions
from bodycast.hmr.geometry import boxes
from bodycast.hmr.geometry.camera import Intrinsics, project_intrinsics

RUN_UP_S = 0.25
"""How much of the believed path the velocity is taken from."""

LONGEST_EXTRAPOLATION_S = 0.5
"""A person who would not be out of the picture by then is not on their way out: nothing is extrapolated."""

MIN_SHARE_IN_PICTURE = 0.065
"""Share of the body's vertices below which an extrapolated person counts as out. Less than the 0.15 from which the
training clips' labels count somebody: a pose that is held does not stretch a hand or a foot into the picture."""

_MIN_RUN_UP = 3  # frames


@dataclass(frozen=True, slots=True)
class ExtrapolatedTrack:
    """A person as last believed (one row of `estimates`, `bodies`), and their velocity (2,) px/s across the border."""

    estimates: BodyEstimates
    bodies: PosedBodies
    time_s: float
    share: float
    velocity_px_s: F64

    @classmethod
    def over_the_border(cls, key: int, path: Sequence[FrameResult], options: FollowOptions) -> Self | None:
        """From the frames in which `key` was believed, in the order of going: forwards or backwards in time.

        None where the person is not on their way over the border: the path is too short to tell, they are wholly in
        the picture, or would still be in it after `LONGEST_EXTRAPOLATION_S`.
        """
        last = path[-1]
        near = [held for held in path if abs(held.frame.time_s - last.frame.time_s) <= RUN_UP_S]
        if len(near) < _MIN_RUN_UP:
            return None
        rows = [held.estimates.id.tolist().index(key) for held in near]
        places = np.array([held.bodies.joints_px[row].mean(axis=0) for held, row in zip(near, rows, strict=True)])
        times_s = np.array([held.frame.time_s for held in near])
        since_s = times_s - times_s.mean()
        velocity: F64 = since_s @ places / (since_s @ since_s)  # the slope of a line through them
        row = np.array(rows[-1:])
        estimates, bodies = last.estimates.select(row), last.bodies.select(row)
        direction = np.sign(times_s[-1] - times_s[0])
        outwards = _outwards(bodies.vertices, direction * velocity, last.intrinsics)
        if not outwards.any():
            return None
        share = _share_in_picture(bodies.vertices[0], last.intrinsics)
        track = cls(estimates, bodies, last.frame.time_s, share, np.where(outwards, velocity, 0.0))
        leaves = track.at(last.frame.time_s + direction * LONGEST_EXTRAPOLATION_S, last.intrinsics, options) is None
        return track if leaves else None

    def at(
        self, time_s: float, intrinsics: Intrinsics, options: FollowOptions
    ) -> tuple[BodyEstimates, PosedBodies, F32] | None:
        """Estimates and body of one row, and its box (4,) px; None where too little of the body is in the picture.

        The body is moved sideways at the pelvis's depth. The score falls with the share of it in the picture.
        """
        depth = float(self.bodies.joints[0, 0, 2])
        shift_px = self.velocity_px_s * (time_s - self.time_s)
        shift = np.array([*shift_px * depth / (intrinsics.fx, intrinsics.fy), 0.0], np.float32)
        vertices, joints = self.bodies.vertices + shift, self.bodies.joints + shift
        share = _share_in_picture(vertices[0], intrinsics)
        if share < MIN_SHARE_IN_PICTURE:
            return None
        score = self.estimates.score * np.float32(min(share / max(self.share, MIN_SHARE_IN_PICTURE), 1.0))
        unseen = np.zeros_like(self.estimates.keypoints)
        estimates = replace(self.estimates, transl_m=self.estimates.transl_m + shift, score=score, keypoints=unseen)
        bodies = PosedBodies(vertices, joints, joint_pixels(joints, intrinsics))
        box = boxes.clip(boxes.pad(mesh_boxes(vertices, intrinsics)[0], options.padding), intrinsics.image_wh)
        return estimates, bodies, box.astype(np.float32)


def _outwards(vertices: F32, velocity_px_s: F64, intrinsics: Intrinsics) -> NDArray[np.bool_]:
    """(2,) along which axes a body, vertices (1,V,3) m, moves over a border that it is across already."""
    low, high = np.split(mesh_boxes(vertices, intrinsics)[0], 2)
    over_low, over_high = low < 0, high > np.array(intrinsics.image_wh) - 1
    return (over_low & (velocity_px_s < 0)) | (over_high & (velocity_px_s > 0))


def _share_in_picture(vertices: F32, intrinsics: Intrinsics) -> float:
    """Share 0..1 of the vertices (V,3) m that lie before the camera and within the picture."""
    pixels = project_intrinsics(vertices[vertices[:, 2] > NEAR_M], intrinsics)
    return float(((pixels >= 0) & (pixels < np.array(intrinsics.image_wh))).all(axis=1).sum()) / len(vertices)
