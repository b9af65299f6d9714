"""SMPL's 24 joints and the 44 joints of HMR2.0, as tables.

SMPL: Loper et al., "SMPL: A Skinned Multi-Person Linear Model", SIGGRAPH Asia 2015. The 44-joint set is the one
that HMR2.0 (Goel et al., "Humans in 4D", ICCV 2023) is trained and scored on: OpenPose's BODY_25 followed by 19
joints of other data sets. Left and right are the person's own; in the rest pose the person faces +z and left is +x.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray


class Joint(IntEnum):
    """SMPL's joints, in SMPL's order."""

    PELVIS = 0
    LEFT_HIP = 1
    RIGHT_HIP = 2
    SPINE1 = 3
    LEFT_KNEE = 4
    RIGHT_KNEE = 5
    SPINE2 = 6
    LEFT_ANKLE = 7
    RIGHT_ANKLE = 8
    SPINE3 = 9
    LEFT_FOOT = 10
    RIGHT_FOOT = 11
    NECK = 12
    LEFT_COLLAR = 13
    RIGHT_COLLAR = 14
    HEAD = 15
    LEFT_SHOULDER = 16
    RIGHT_SHOULDER = 17
    LEFT_ELBOW = 18
    RIGHT_ELBOW = 19
    LEFT_WRIST = 20
    RIGHT_WRIST = 21
    LEFT_HAND = 22
    RIGHT_HAND = 23


NUM_JOINTS = len(Joint)
NUM_BETAS = 10

ARM_JOINTS: tuple[int, ...] = (
    *(Joint.LEFT_COLLAR, Joint.RIGHT_COLLAR),
    *range(Joint.LEFT_SHOULDER, Joint.RIGHT_HAND + 1),
)
"""Of both arms, from the collar bones to the hands."""

JOINT_NAMES: tuple[str, ...] = tuple(joint.name.lower() for joint in Joint)

_PARENT_OF: dict[Joint, Joint] = {
    Joint.LEFT_HIP: Joint.PELVIS,
    Joint.RIGHT_HIP: Joint.PELVIS,
    Joint.SPINE1: Joint.PELVIS,
    Joint.LEFT_KNEE: Joint.LEFT_HIP,
    Joint.RIGHT_KNEE: Joint.RIGHT_HIP,
    Joint.SPINE2: Joint.SPINE1,
    Joint.LEFT_ANKLE: Joint.LEFT_KNEE,
    Joint.RIGHT_ANKLE: Joint.RIGHT_KNEE,
    Joint.SPINE3: Joint.SPINE2,
    Joint.LEFT_FOOT: Joint.LEFT_ANKLE,
    Joint.RIGHT_FOOT: Joint.RIGHT_ANKLE,
    Joint.NECK: Joint.SPINE3,
    Joint.LEFT_COLLAR: Joint.SPINE3,
    Joint.RIGHT_COLLAR: Joint.SPINE3,
    Joint.HEAD: Joint.NECK,
    Joint.LEFT_SHOULDER: Joint.LEFT_COLLAR,
    Joint.RIGHT_SHOULDER: Joint.RIGHT_COLLAR,
    Joint.LEFT_ELBOW: Joint.LEFT_SHOULDER,
    Joint.RIGHT_ELBOW: Joint.RIGHT_SHOULDER,
    Joint.LEFT_WRIST: Joint.LEFT_ELBOW,
    Joint.RIGHT_WRIST: Joint.RIGHT_ELBOW,
    Joint.LEFT_HAND: Joint.LEFT_WRIST,
    Joint.RIGHT_HAND: Joint.RIGHT_WRIST,
}


def mirror_table(names: tuple[str, ...]) -> NDArray[np.int64]:
    """Index of the same joint on the other side (itself for joints of the midline), from the names."""
    swapped = [name.replace("left", "\0").replace("right", "left").replace("\0", "right") for name in names]
    return np.array([names.index(name) for name in swapped], dtype=np.int64)


PARENTS: NDArray[np.int64] = np.array([_PARENT_OF.get(joint, -1) for joint in Joint], dtype=np.int64)
"""(24,) parent of each joint, -1 for the pelvis. A parent always comes before its children."""

MIRROR: NDArray[np.int64] = mirror_table(JOINT_NAMES)
"""(24,) index of each joint's twin on the other side."""

HMR2_JOINT_NAMES: tuple[str, ...] = (
    # OpenPose BODY_25, indices 0..24
    "op_nose",
    "op_neck",
    "op_right_shoulder",
    "op_right_elbow",
    "op_right_wrist",
    "op_left_shoulder",
    "op_left_elbow",
    "op_left_wrist",
    "op_mid_hip",
    "op_right_hip",
    "op_right_knee",
    "op_right_ankle",
    "op_left_hip",
    "op_left_knee",
    "op_left_ankle",
    "op_right_eye",
    "op_left_eye",
    "op_right_ear",
    "op_left_ear",
    "op_left_big_toe",
    "op_left_small_toe",
    "op_left_heel",
    "op_right_big_toe",
    "op_right_small_toe",
    "op_right_heel",
    # the other data sets, indices 25..43
    "right_ankle",
    "right_knee",
    "right_hip",
    "left_hip",
    "left_knee",
    "left_ankle",
    "right_wrist",
    "right_elbow",
    "right_shoulder",
    "left_shoulder",
    "left_elbow",
    "left_wrist",
    "neck_lsp",
    "head_top_lsp",
    "pelvis_mpii",
    "thorax_mpii",
    "spine_h36m",
    "jaw_h36m",
    "head_h36m",
)

HMR2_MIRROR: NDArray[np.int64] = mirror_table(HMR2_JOINT_NAMES)
"""(44,) index of each joint's twin on the other side, in the 44-joint set."""

SMPL_VERTEX_JOINTS: dict[str, int] = {
    "op_nose": 332,
    "op_right_eye": 6260,
    "op_left_eye": 2800,
    "op_right_ear": 4071,
    "op_left_ear": 583,
    "op_left_big_toe": 3216,
    "op_left_small_toe": 3226,
    "op_left_heel": 3387,
    "op_right_big_toe": 6617,
    "op_right_small_toe": 6624,
    "op_right_heel": 6787,
}
"""Joints of the 44 that are single vertices of SMPL's mesh (of SMPL's 6,890 only, not of other bodies)."""

OPENPOSE_FROM_SMPL: dict[str, Joint] = {
    "op_neck": Joint.NECK,
    "op_right_shoulder": Joint.RIGHT_SHOULDER,
    "op_right_elbow": Joint.RIGHT_ELBOW,
    "op_right_wrist": Joint.RIGHT_WRIST,
    "op_left_shoulder": Joint.LEFT_SHOULDER,
    "op_left_elbow": Joint.LEFT_ELBOW,
    "op_left_wrist": Joint.LEFT_WRIST,
    "op_mid_hip": Joint.PELVIS,
    "op_right_hip": Joint.RIGHT_HIP,
    "op_right_knee": Joint.RIGHT_KNEE,
    "op_right_ankle": Joint.RIGHT_ANKLE,
    "op_left_hip": Joint.LEFT_HIP,
    "op_left_knee": Joint.LEFT_KNEE,
    "op_left_ankle": Joint.LEFT_ANKLE,
}
"""Joints of the 44 that HMR2.0 takes from SMPL's skeleton; the last 19 come from a separate (19,V) vertex regressor."""
