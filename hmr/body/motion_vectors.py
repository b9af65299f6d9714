"""A frame of FastHMR's motion vector (Mehraban et al. 2025, arXiv 2510.10868): 29 joints, 23 bone twists, 133 numbers.

The layout is that of hmr/networks/temporal/motion_vae.py. The skeleton is the embedded body's mean one, whoever moves.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from bodycast.hmr.body.body_model import BodyModel
from bodycast.hmr.body.inverse_kinematics import bone_twists, forward_kinematics, inverse_kinematics
from bodycast.hmr.body.joints import Joint
from bodycast.hmr.geometry.arrays import F32

POINTS, TWISTS = 29, 23
WIDTH = 3 * POINTS + 2 * TWISTS

# Where SMPL's five further points lie from the joints that carry them, on the embedded body's own proportions: towards
# the crown, along the hands, to the toes. The embedded body has no SMPL vertex to read them from.
_LEAF_OFFSETS_M = np.array(
    [[0, 0.18, 0.02], [0.08, 0, 0], [-0.08, 0, 0], [0.02, -0.02, 0.07], [-0.02, -0.02, 0.07]], np.float32
)
_LEAF_PARENTS = (Joint.HEAD, Joint.LEFT_HAND, Joint.RIGHT_HAND, Joint.LEFT_FOOT, Joint.RIGHT_FOOT)


@cache
def rest_joints_29() -> F32:
    """(29,3) m: the embedded body's mean skeleton with the five points that fix the leaf joints' orientation."""
    joints = BodyModel.load().joints(np.zeros((1, 10)))[0]
    return np.concatenate([joints, joints[list(_LEAF_PARENTS)] + _LEAF_OFFSETS_M]).astype(np.float32)


def motion_vectors(pose: F32) -> F32:
    """Poses (..., 24, 3, 3) -> frames (..., 133): 29 joints in metres relative to the pelvis, then 23 twists."""
    rest = _rest(pose.shape[:-3])
    joints = forward_kinematics(rest, pose)
    joints = joints - joints[..., :1, :]
    twists = bone_twists(rest, pose)
    lead = pose.shape[:-3]
    return np.concatenate([joints.reshape(*lead, 3 * POINTS), twists.reshape(*lead, 2 * TWISTS)], -1).astype(np.float32)


def poses_of_vectors(vectors: F32) -> F32:
    """Inverse of `motion_vectors`: frames (..., 133) -> poses (..., 24, 3, 3). Of longer bones the direction counts."""
    lead = vectors.shape[:-1]
    joints = vectors[..., : 3 * POINTS].reshape(*lead, POINTS, 3)
    twists = vectors[..., 3 * POINTS :].reshape(*lead, TWISTS, 2)
    return inverse_kinematics(_rest(lead), joints, twists).astype(np.float32)


def _rest(lead: tuple[int, ...]) -> F32:
    return np.broadcast_to(rest_joints_29(), (*lead, POINTS, 3)).astype(np.float32)
