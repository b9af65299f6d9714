"""A body's limbs and place moved onto the joints that are seen in the picture.

A network that regresses a body says well what kind of pose it is, and lays hands and feet some centimetres beside where
they are seen; its heat maps see them there. As in SMPLify (Bogo et al. 2016, arXiv 1607.08128) the joints' projections
are pulled to their keypoints, here by Gauss-Newton steps from the network's answer, which is the prior at the same time
(cf. SPIN, Kolotouros et al. 2019, arXiv 1909.12828). Trunk, head, hands, feet and shape stay as they are.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hmr.body.body_model import Floats, forward_kinematics
from hmr.body.joints import NUM_JOINTS, PARENTS, Joint
from hmr.geometry.camera import Intrinsics
from hmr.geometry.rotations import axis_angle_to_matrix, skew

STEPS = 2
KEYPOINT_SPREAD = 1 / 32
"""What a keypoint of full confidence may be off, in crop heights; at less confidence the weight falls with it."""
OUTLIER = 20 / 256
"""Crop heights from which a keypoint is believed ever less (weights of Cauchy)."""
TURN_SPREAD_RAD = 0.25
SHIFT_SPREAD_M = 0.02
DEPTH_SPREAD = 0.02
"""How far the network's answer may be off: turns of limbs, sideways shift, logarithm of the distance."""
HALF_CROP = np.array([0.375, 0.5], np.float32)
"""Half a crop's width and height, in crop heights."""
NEAREST_M = 0.1
"""Joints nearer to the camera than this have no place in the picture."""

LIMBS: tuple[int, ...] = (
    *(Joint.LEFT_HIP, Joint.RIGHT_HIP, Joint.LEFT_KNEE, Joint.RIGHT_KNEE),
    *(Joint.LEFT_SHOULDER, Joint.RIGHT_SHOULDER, Joint.LEFT_ELBOW, Joint.RIGHT_ELBOW),
)
_UNKNOWNS = 3 * len(LIMBS) + 3


def _moved_by() -> NDArray[np.float32]:
    """(24, limbs): 1 where turning that limb's joint moves the joint."""
    table = np.zeros((NUM_JOINTS, len(LIMBS)), np.float32)
    for joint in range(1, NUM_JOINTS):
        above = int(PARENTS[joint])
        while above > 0:
            if above in LIMBS:
                table[joint, LIMBS.index(above)] = 1
            above = int(PARENTS[above])
    return table


_MOVED_BY = _moved_by()
_PRIOR = np.diag(
    np.array(
        [TURN_SPREAD_RAD**-2] * 3 * len(LIMBS) + [SHIFT_SPREAD_M**-2] * 2 + [DEPTH_SPREAD**-2],
        np.float32,
    )
)


def fit_to_keypoints(
    pose: Floats,
    joints_rest: Floats,
    transl_m: Floats,
    keypoints_px: Floats,
    confidence: Floats,
    centre_px: Floats,
    crop_px: Floats,
    intrinsics: Intrinsics,
) -> tuple[Floats, Floats]:
    """Pose and translation of N bodies, moved towards their keypoints; what came in is left as it is.

    pose: (N,24,3,3), root relative to the camera. joints_rest: (N,24,3) of the rest pose, m. transl_m: (N,3), camera
    frame. keypoints_px: (N,24,2) px in the picture. confidence: (N,24), 0..1. centre_px, crop_px: (N,2), (N,) middle
    and height of each person's crop, px in the picture: of a joint that the network puts outside it, a heat map can
    say nothing.
    """
    pose, transl = pose.astype(np.float32), transl_m.astype(np.float32)
    scale = (1 / crop_px[:, None]).astype(np.float32)
    so_far = np.zeros((len(pose), _UNKNOWNS), np.float32)
    believed: Floats | None = None
    for _ in range(STEPS if len(pose) else 0):
        turns, places = forward_kinematics(pose, joints_rest)
        places = places + transl[:, None]
        off, by_place = _residuals(places, keypoints_px, intrinsics, scale)
        if believed is None:  # by the network's own answer
            from_centre = (keypoints_px - centre_px[:, None]) * scale[..., None] - off
            believed = confidence * (np.abs(from_centre) < HALF_CROP).all(axis=-1)
        usable = believed * (places[..., 2] > NEAREST_M)
        doubt = 1 + np.square(off / OUTLIER).sum(axis=-1)
        weight = (usable / KEYPOINT_SPREAD**2 / doubt).astype(np.float32)
        jacobian = by_place @ _place_jacobian(places, transl)
        weighted = jacobian * weight[..., None, None]
        step = _step(weighted, jacobian, off, so_far)
        so_far = so_far + step
        pose = _turned(pose, turns, step[:, :-3].reshape(-1, len(LIMBS), 3))
        transl = transl * np.exp(step[:, -1:])
        transl[:, :2] += step[:, -3:-1]
    return pose, transl


def _step(weighted: Floats, jacobian: Floats, off: Floats, so_far: Floats) -> Floats:
    """The Gauss-Newton step (N,unknowns). The prior pulls back to where the network was, not to the last step."""
    rows = len(so_far)
    across = weighted.reshape(rows, -1, _UNKNOWNS).swapaxes(1, 2)
    product = across @ jacobian.reshape(rows, -1, _UNKNOWNS) + _PRIOR
    wanted = across @ off.reshape(rows, -1, 1) - (so_far @ _PRIOR)[..., None]
    return np.linalg.solve(product, wanted)[..., 0].astype(np.float32)


def _residuals(places: Floats, keypoints_px: Floats, intrinsics: Intrinsics, scale: Floats) -> tuple[Floats, Floats]:
    """From the joints' projections to their keypoints (N,24,2), and how a projection moves with its joint (N,24,2,3);
    both in crop heights."""
    z = np.maximum(places[..., 2], NEAREST_M)
    focal = np.array([intrinsics.fx, intrinsics.fy], np.float32)
    flat = places[..., :2] / z[..., None]
    centre = np.array([intrinsics.cx, intrinsics.cy], np.float32)
    off = (keypoints_px - (flat * focal + centre)) * scale[..., None]
    by_place = np.zeros((*z.shape, 2, 3), np.float32)
    per_m = focal / z[..., None] * scale[..., None]
    by_place[..., 0, 0], by_place[..., 1, 1] = per_m[..., 0], per_m[..., 1]
    by_place[..., 2] = -flat * per_m
    return off.astype(np.float32), by_place


def _place_jacobian(places: Floats, transl: Floats) -> Floats:
    """(N,24,3,unknowns): how the joints move with turns of the limbs about the camera's axes (at right angles to the
    way from the limb's joint), with a sideways shift, and with the body's distance."""
    count = len(places)
    table = np.zeros((count, NUM_JOINTS, 3, _UNKNOWNS), np.float32)
    arm = places[:, :, None] - places[:, None, LIMBS]
    turned = -skew(arm * _MOVED_BY[..., None])  # (N,24,limbs,3,3): the turn's axis is the last
    table[..., :-3] = turned.transpose(0, 1, 3, 2, 4).reshape(count, NUM_JOINTS, 3, -1)
    table[..., 0, -3] = table[..., 1, -2] = 1
    table[..., -1] = transl[:, None]
    return table


def _turned(pose: Floats, turns: Floats, about_camera: Floats) -> Floats:
    """The pose with its limbs turned by (N,limbs,3) rad about the camera's axes; turns: (N,24,3,3), of all joints."""
    parents = turns[:, [int(PARENTS[joint]) for joint in LIMBS]]
    own = (parents.swapaxes(-1, -2) @ about_camera[..., None])[..., 0]
    pose = pose.copy()
    pose[:, LIMBS] = axis_angle_to_matrix(own) @ pose[:, LIMBS]
    return pose
