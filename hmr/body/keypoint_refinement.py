"""Keypoint refinement: a body turned and moved until its points lie on the keypoints that are seen in the picture.

As in SMPLify (Bogo et al. 2016, arXiv 1607.08128) the points' projections are pulled to their keypoints, here by a few
Gauss-Newton steps from a network's answer, which is the prior at the same time (cf. SPIN, Kolotouros et al. 2019, arXiv
1909.12828). The points are COCO's own (hmr/body/coco_joints.py), or SMPL's joints for networks whose heat maps are of
those. Hands, feet and shape stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from bodycast.hmr.body.body_model import Floats, forward_kinematics
from bodycast.hmr.body.coco_joints import COCO_CARRIER, COCO_JOINT
from bodycast.hmr.body.joints import NUM_JOINTS, PARENTS, Joint
from bodycast.hmr.geometry.camera import Intrinsics
from bodycast.hmr.geometry.rotations import axis_angle_to_matrix, skew

NEAREST_M = 0.1
"""Points nearer to the camera than this have no place in the picture."""
LIMBS: tuple[Joint, ...] = (
    *(Joint.LEFT_HIP, Joint.RIGHT_HIP, Joint.LEFT_KNEE, Joint.RIGHT_KNEE),
    *(Joint.LEFT_SHOULDER, Joint.RIGHT_SHOULDER, Joint.LEFT_ELBOW, Joint.RIGHT_ELBOW),
)
TRUNK: tuple[Joint, ...] = (Joint.PELVIS, Joint.SPINE2, Joint.NECK)


@dataclass(frozen=True)
class Refinement:
    """What may move, and by how much (one standard deviation around the network's answer).

    turned: joints that turn; turn_rad: how far, one number a joint. shift_m: sideways; depth: logarithm of the
    distance. keypoint: what a keypoint of full confidence may be off, crop heights; at less confidence its weight falls
    with it. outlier: crop heights from which a keypoint is believed ever less (weights of Cauchy). half_crop: half the
    crop's width and height, in crop heights: of a point outside it a network can say nothing. joint, carrier (K,): see
    hmr/body/coco_joints.py. steps: of Gauss-Newton.
    """

    turned: tuple[Joint, ...]
    turn_rad: tuple[float, ...]
    shift_m: float
    depth: float
    keypoint: float
    outlier: float
    half_crop: tuple[float, float]
    joint: NDArray[np.intp]
    carrier: NDArray[np.intp]
    steps: int = 2

    @property
    def unknowns(self) -> int:
        """Numbers that are solved for, a person."""
        return 3 * len(self.turned) + 3

    def prior(self) -> Floats:
        """(unknowns, unknowns) the prior's precision."""
        return _prior(self.turn_rad, self.shift_m, self.depth)

    def reach(self) -> Floats:
        """(K, turned): 1 where turning that joint moves the point."""
        return self.reach_of(self.joint, self.carrier)

    def reach_of(self, joints: NDArray[np.intp], carriers: NDArray[np.intp]) -> Floats:
        """The same for points of one's own, (P,) each: their joints, and what turns their offsets."""
        return _reach(self.turned, tuple(joints.tolist()), tuple(carriers.tolist()))


@lru_cache(maxsize=16)
def _prior(turn_rad: tuple[float, ...], shift_m: float, depth: float) -> Floats:
    turns = np.repeat(np.array(turn_rad, np.float64) ** -2, 3)
    return np.diag([*turns, shift_m**-2, shift_m**-2, depth**-2]).astype(np.float32)


@lru_cache(maxsize=16)
def _reach(turned: tuple[Joint, ...], joints: tuple[int, ...], carriers: tuple[int, ...]) -> Floats:
    table = np.zeros((len(joints), len(turned)), np.float32)
    for row, (joint, carrier) in enumerate(zip(joints, carriers, strict=True)):
        for start in (int(PARENTS[joint]), carrier):
            above = start
            while above >= 0:
                if above in turned:
                    table[row, turned.index(Joint(above))] = 1
                above = int(PARENTS[above])
    return table


SMPL_REFINEMENT = Refinement(
    turned=LIMBS,
    turn_rad=(0.25,) * len(LIMBS),
    shift_m=0.02,
    depth=0.02,
    keypoint=1 / 32,
    outlier=20 / 256,
    half_crop=(0.375, 0.5),
    joint=np.arange(NUM_JOINTS),
    carrier=np.arange(NUM_JOINTS),
)
"""For networks that say where SMPL's 24 joints are seen in HMR2.0's crop."""

COCO_REFINEMENT = Refinement(
    turned=(*TRUNK, *LIMBS),
    turn_rad=(0.2, 0.2, 0.24, *(0.25,) * len(LIMBS)),
    shift_m=0.06,
    depth=0.04,
    keypoint=1 / 125,
    outlier=24 / 256,
    half_crop=(0.5, 0.5),
    joint=COCO_JOINT,
    carrier=COCO_CARRIER,
    steps=3,
)
"""For keypoints of COCO's 17 in a padded crop."""


@dataclass(frozen=True)
class Seen:
    """keypoints_px (N,K,2) in the picture, confidence (N,K) 0..1; centre_px (N,2), crop_px (N,) middle and height of
    each person's crop."""

    keypoints_px: Floats
    confidence: Floats
    centre_px: Floats
    crop_px: Floats


@dataclass(frozen=True)
class Held:
    """Points of bodies that have a place: joint (P,) that carries each, offsets (P,3) m of the rest pose from there to
    it, places_m (N,P,3) camera frame, precision (N,P) in 1/m^2, 0 for a point that is free."""

    joint: NDArray[np.intp]
    offsets: Floats
    places_m: Floats
    precision: Floats

    def residuals(self, turns: Floats, places: Floats) -> tuple[Floats, Floats]:
        """The points (N,P,3) of bodies with these joints, and what they are off their places (N,P,3), m."""
        points = places[:, self.joint] + (turns[:, self.joint] @ self.offsets[..., None])[..., 0]
        return points.astype(np.float32), (self.places_m - points).astype(np.float32)


def refine(
    pose: Floats,
    joints_rest: Floats,
    transl_m: Floats,
    offsets: Floats | None,
    seen: Seen,
    intrinsics: Intrinsics,
    how: Refinement,
    held: Held | None = None,
) -> tuple[Floats, Floats]:
    """Pose and translation of N bodies, moved towards their keypoints; what came in is left as it is.

    pose: (N,24,3,3), root relative to the camera. joints_rest: (N,24,3) of the rest pose, m. transl_m: (N,3), camera
    frame. offsets: (K,3) of the rest pose, from each point's joint to the point, m; None: the joints themselves.
    held: points that are pulled to places of their own at the same time, such as feet to the floor.
    """
    pose, transl = pose.astype(np.float32), transl_m.astype(np.float32)
    scale = (1 / seen.crop_px[:, None]).astype(np.float32)
    so_far = np.zeros((len(pose), how.unknowns), np.float32)
    prior, reach = how.prior(), how.reach()
    if held is not None:
        reach = np.concatenate([reach, how.reach_of(held.joint, held.joint)])
    believed: Floats | None = None
    for _ in range(how.steps if len(pose) else 0):
        turns, places = forward_kinematics(pose, joints_rest)
        places = places + transl[:, None]
        points = places[:, how.joint]
        if offsets is not None:
            points = points + (turns[:, how.carrier] @ offsets[..., None])[..., 0]
        off, by_place = _residuals(points, seen.keypoints_px, intrinsics, scale)
        if believed is None:  # by the network's own answer
            from_centre = (seen.keypoints_px - seen.centre_px[:, None]) * scale[..., None] - off
            inside = (np.abs(from_centre) < np.array(how.half_crop, np.float32)).all(axis=-1)
            believed = (seen.confidence * inside).astype(np.float32)
        usable = believed * (points[..., 2] > NEAREST_M)
        doubt = 1 + np.square(off / how.outlier).sum(axis=-1)
        weight = (usable / how.keypoint**2 / doubt).astype(np.float32)
        pivots, count = places[:, list(how.turned)], points.shape[1]
        placed, away = (points, off[:, :0]) if held is None else held.residuals(turns, places)
        # One table for both kinds of points: many small products cost more than one larger.
        everything = points if held is None else np.concatenate([points, placed], axis=1).astype(np.float32)
        moves = _place_jacobian(everything, pivots, transl, reach)
        jacobian = by_place @ moves[:, :count]
        rows = [(jacobian * weight[..., None, None], jacobian, off)]
        if held is not None:
            rows.append((moves[:, count:] * held.precision[..., None, None], moves[:, count:], away))
        step = _step(rows, so_far, prior)
        so_far = so_far + step
        pose = _turned(pose, turns, step[:, :-3].reshape(len(pose), -1, 3), how.turned)
        transl = transl * np.exp(step[:, -1:])
        transl[:, :2] += step[:, -3:-1]
    return pose, transl


def _step(terms: list[tuple[Floats, Floats, Floats]], so_far: Floats, prior: Floats) -> Floats:
    """The Gauss-Newton step (N,unknowns) for terms of (weighted Jacobian, Jacobian, residuals). The prior pulls back to
    where the network was, not to the last step."""
    rows, unknowns = so_far.shape
    product, wanted = prior, -(so_far @ prior)[..., None]
    for weighted, jacobian, off in terms:
        across = weighted.reshape(rows, -1, unknowns).swapaxes(1, 2)
        product = product + across @ jacobian.reshape(rows, -1, unknowns)
        wanted = wanted + across @ off.reshape(rows, -1, 1)
    return np.linalg.solve(product, wanted)[..., 0].astype(np.float32)


def _residuals(points: Floats, keypoints_px: Floats, intrinsics: Intrinsics, scale: Floats) -> tuple[Floats, Floats]:
    """From the points' projections to their keypoints (N,K,2), and how a projection moves with its point (N,K,2,3);
    both in crop heights."""
    z = np.maximum(points[..., 2], NEAREST_M)
    focal = np.array([intrinsics.fx, intrinsics.fy], np.float32)
    flat = points[..., :2] / z[..., None]
    centre = np.array([intrinsics.cx, intrinsics.cy], np.float32)
    off = (keypoints_px - (flat * focal + centre)) * scale[..., None]
    by_place = np.zeros((*z.shape, 2, 3), np.float32)
    per_m = focal / z[..., None] * scale[..., None]
    by_place[..., 0, 0], by_place[..., 1, 1] = per_m[..., 0], per_m[..., 1]
    by_place[..., 2] = -flat * per_m
    return off.astype(np.float32), by_place


def _place_jacobian(points: Floats, pivots: Floats, transl: Floats, reach: Floats) -> Floats:
    """(N,K,3,unknowns): how the points (N,K,3) move with turns about the camera's axes at the pivots (N,turned,3), with
    a sideways shift, and with the body's distance."""
    count, number = points.shape[:2]
    table = np.zeros((count, number, 3, 3 * pivots.shape[1] + 3), np.float32)
    arm = points[:, :, None] - pivots[:, None]
    turned = -skew(arm * reach[..., None])  # (N,K,turned,3,3): the turn's axis is the last
    table[..., :-3] = turned.transpose(0, 1, 3, 2, 4).reshape(count, number, 3, -1)
    table[..., 0, -3] = table[..., 1, -2] = 1
    table[..., -1] = transl[:, None]
    return table


def _turned(pose: Floats, turns: Floats, about_camera: Floats, joints: tuple[Joint, ...]) -> Floats:
    """The pose with its joints turned by (N,joints,3) rad about the camera's axes; turns: (N,24,3,3), of all joints."""
    above = [int(PARENTS[joint]) for joint in joints]
    parents = turns[:, above]
    parents[:, [row for row, parent in enumerate(above) if parent < 0]] = np.eye(3, dtype=np.float32)
    own = (parents.swapaxes(-1, -2) @ about_camera[..., None])[..., 0]
    pose = pose.copy()
    chosen = list(joints)
    pose[:, chosen] = axis_angle_to_matrix(own) @ pose[:, chosen]
    return pose
