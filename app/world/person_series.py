"""One person over time, with one body: what contacts, floor and trajectory are worked out from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bodycast.app.records import F32, F64
from bodycast.hmr.body.body_model import BodyModel, forward_kinematics
from bodycast.hmr.body.joints import PARENTS
from bodycast.hmr.body.soles import sole_offsets, sole_points
from bodycast.hmr.geometry.camera import Intrinsics

NEAREST_M = 0.2


def bone_length_m(rest: F32) -> F32:
    """(N,) sum of the lengths of all bones of rest joints (N,24,3), m: what stands for a body's size."""
    return np.linalg.norm(rest[:, 1:] - rest[:, PARENTS[1:]], axis=-1).sum(axis=-1).astype(np.float32)


def straight_leg_m(rest: F32) -> F32:
    """(N,) from the root to a sole of straight legs, of rest joints (N,24,3), m."""
    return np.linalg.norm(rest[:, [10, 11]] - rest[:, :1], axis=-1).mean(axis=1).astype(np.float32)


def resized_root(root_m: F32, rest: F32, new_rest: F32) -> F32:
    """Places (N,3) of root joints for another body that looks as large in the picture: distances grow with the size."""
    return (root_m * (bone_length_m(new_rest) / bone_length_m(rest))[:, None]).astype(np.float32)


@dataclass(frozen=True)
class Skeleton:
    """A body's skeleton and the points under its feet."""

    body: BodyModel
    offsets: F32

    @staticmethod
    def of(body: BodyModel) -> Skeleton:
        """The skeleton of a body."""
        return Skeleton(body, sole_offsets(body))

    def rest(self, betas: F32) -> F32:
        """(N,24,3) joints of the rest pose, m."""
        return self.body.joints(betas)

    def place(self, pose: F32, rest: F32, root_m: F32) -> tuple[F32, F32]:
        """Joints (N,24,3) and soles (N,4,3), m, of bodies whose root joints are at `root_m` (N,3)."""
        turns, places = forward_kinematics(pose, rest)
        places = (places + (root_m - rest[:, 0])[:, None]).astype(np.float32)
        return places, sole_points(turns, places, self.offsets)


@dataclass(frozen=True)
class PersonSeries:
    """F frames of one person, in the camera frame of the clip's first frame (a still camera has no other).

    `time_s` (F,) ascending; `pose` (F,24,3,3) root relative to that camera; `betas` (10,); `root_m` (F,3) root joint,
    from the body's size in the picture; `joints_m` (F,24,3); `soles_m` (F,4,3); `seen` (F,2) confidence 0..1 that the
    picture shows left and right ankle; `sure` (F,) 0..1 how well the whole person is seen, so that their size says how
    far away they are.
    """

    time_s: F64
    pose: F32
    betas: F32
    root_m: F32
    joints_m: F32
    soles_m: F32
    seen: F32
    sure: F32

    def __len__(self) -> int:
        return len(self.time_s)

    @staticmethod
    def of(
        skeleton: Skeleton, time_s: F64, pose: F32, betas: F32, root_m: F32, seen: F32, sure: F32 | None = None
    ) -> PersonSeries:
        """With joints and soles worked out. sure: None for 1."""
        rest = np.repeat(skeleton.rest(betas[None]), len(pose), axis=0)
        joints, soles = skeleton.place(pose, rest, root_m)
        sure = np.ones(len(pose), np.float32) if sure is None else sure
        return PersonSeries(time_s, pose, betas, root_m, joints, soles, seen, sure)


COCO_ANKLES = (15, 16)
SMPL_ANKLES = (7, 8)
OUTSIDE_M = (0.05, 0.15)
"""A sole point so far outside the picture, at its distance, counts less, and not at all."""


SURE = 0.6
"""Mean confidence of the keypoints of somebody who is seen whole and well."""


def well_seen(keypoints: F32, score: F32) -> F32:
    """(N,) 0..1 how well people are seen, from keypoints (N,K,3); from their score (N,) where there are none."""
    if not keypoints.shape[1]:
        return np.clip(score, 0, 1).astype(np.float32)
    return np.clip(keypoints[..., 2].mean(axis=1) / SURE, 0, 1).astype(np.float32)


def ankles_seen(keypoints: F32, soles_m: F32, score: F32, intrinsics: Intrinsics, image_wh: tuple[int, int]) -> F32:
    """(N,2) confidence 0..1 that the picture shows the left and the right foot.

    keypoints (N,K,3): COCO's 17 or SMPL's 24, whose ankles' confidence counts; without them the score (N,) above 0. A
    foot whose sole points are projected outside the picture counts less, since the pose has to guess them.
    """
    at = soles_m.copy()
    at[..., 2] = np.maximum(at[..., 2], NEAREST_M)
    px = at[..., :2] / at[..., 2:] * np.array([intrinsics.fx, intrinsics.fy]) + np.array([intrinsics.cx, intrinsics.cy])
    out_px = np.maximum(np.maximum(-px, px - np.array(image_wh)), 0).max(axis=-1)
    out_m = (out_px * at[..., 2] / intrinsics.focal_px).reshape(-1, 2, 2).max(axis=-1)
    little, much = OUTSIDE_M
    seen = np.clip((much - out_m) / (much - little), 0, 1) * (score > 0)[:, None]
    count = keypoints.shape[1]
    if count in (17, 24):
        ankles = keypoints[:, list(COCO_ANKLES if count == 17 else SMPL_ANKLES)]
        seen *= np.clip(2 * ankles[..., 2], 0, 1)
    return seen.astype(np.float32)
