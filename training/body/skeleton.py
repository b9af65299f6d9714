"""Anny's (MakeHuman's default) bones as SMPL's 24 joints, and the T-pose.

Each SMPL joint sits at the head of one bone or between two, and owns the bones listed for it; so the place where
the weights change over is the place where the joint turns. Twist bones go to their limb, fingers and toes to the
hand and the foot.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bodycast.hmr.body.joints import NUM_JOINTS, PARENTS, Joint

Floats = NDArray[np.float64]

# Joint -> (bones whose heads are averaged for its place, bones that it owns besides their unlisted descendants).
_MIDLINE: dict[Joint, tuple[tuple[str, ...], tuple[str, ...]]] = {
    Joint.PELVIS: (("spine04",), ("root", "pelvis.L", "pelvis.R", "spine05", "spine04")),
    Joint.SPINE1: (("spine03",), ("spine03",)),
    Joint.SPINE2: (("spine02",), ("spine02",)),
    Joint.SPINE3: (("spine01",), ("spine01",)),
    Joint.NECK: (("neck01",), ("neck01", "neck02")),
    Joint.HEAD: (("neck03", "head"), ("neck03", "head")),
}
_TOES = tuple(f"toe{toe}-1" for toe in range(1, 6))
_FINGERS = tuple(f"finger{finger}-1" for finger in range(2, 6))
_LEFT: dict[Joint, tuple[tuple[str, ...], tuple[str, ...]]] = {
    Joint.LEFT_HIP: (("upperleg01",), ("upperleg01",)),
    Joint.LEFT_KNEE: (("lowerleg01",), ("lowerleg01",)),
    Joint.LEFT_ANKLE: (("foot",), ("foot",)),
    Joint.LEFT_FOOT: (_TOES, _TOES),
    Joint.LEFT_COLLAR: (("clavicle", "shoulder01"), ("clavicle",)),
    Joint.LEFT_SHOULDER: (("upperarm01",), ("upperarm01",)),
    Joint.LEFT_ELBOW: (("lowerarm01",), ("lowerarm01",)),
    Joint.LEFT_WRIST: (("wrist",), ("wrist",)),
    Joint.LEFT_HAND: (_FINGERS, _FINGERS),
}

# Directions of the T-pose's left side, y up, facing +z. Legs a little apart and knees not locked, as people stand.
_ARM = np.array([1.0, 0.0, 0.0])
_PALM_DOWN = np.array([0.0, 0.0, 1.0])  # from the little finger to the index finger
_ELBOW_HINGE = np.array([0.0, -1.0, 0.0])
_THIGH = np.array([0.02, -1.0, 0.015])
_SHIN = np.array([0.0, -1.0, -0.06])


def _definitions() -> dict[Joint, tuple[tuple[str, ...], tuple[str, ...]]]:
    table = dict(_MIDLINE)
    for left, (place, owned) in _LEFT.items():
        table[left] = (tuple(f"{bone}.L" for bone in place), tuple(f"{bone}.L" for bone in owned))
        right = Joint[left.name.replace("LEFT", "RIGHT")]
        table[right] = (tuple(f"{bone}.R" for bone in place), tuple(f"{bone}.R" for bone in owned))
    return table


def joint_of_bones(bones: list[str], bone_parents: list[int]) -> NDArray[np.int64]:
    """(B,) SMPL joint of each bone: the one that lists it, else that of its parent."""
    owner = {bone: joint for joint, (_, owned) in _definitions().items() for bone in owned}
    joints = np.empty(len(bones), dtype=np.int64)
    for index, bone in enumerate(bones):
        joints[index] = owner[bone] if bone in owner else joints[bone_parents[index]]
    return joints


def joints_from_bones(bones: list[str], heads: Floats) -> Floats:
    """(N,24,3) places of the joints, from (N,B,3) heads of the bones."""
    joints = np.empty((len(heads), NUM_JOINTS, 3))
    for joint, (place, _) in _definitions().items():
        joints[:, joint] = heads[:, [bones.index(bone) for bone in place]].mean(axis=1)
    return joints


def t_pose_rotations(bones: list[str], heads: Floats) -> Floats:
    """(N,24,3,3) global rotation of each joint that brings the bodies from anny's rest pose to the T-pose.

    The spine, the collars and the feet stay as they are; thighs and shins swing by the shortest way; an arm turns
    so that it is straight along x, the elbow bends forwards and the palm looks down.
    """
    joints = joints_from_bones(bones, heads)
    rotations = np.broadcast_to(np.eye(3), (len(heads), NUM_JOINTS, 3, 3)).copy()
    for side, sign in (("L", 1.0), ("R", -1.0)):
        named = {
            name: Joint[f"{'LEFT' if side == 'L' else 'RIGHT'}_{name}"]
            for name in ("HIP", "KNEE", "ANKLE", "SHOULDER", "ELBOW", "WRIST", "HAND")
        }
        mirror = np.array([sign, 1.0, 1.0])
        thigh = joints[:, named["KNEE"]] - joints[:, named["HIP"]]
        shin = joints[:, named["ANKLE"]] - joints[:, named["KNEE"]]
        rotations[:, named["HIP"]] = swing(thigh, _THIGH * mirror)
        rotations[:, named["KNEE"]] = swing(shin, _SHIN * mirror)
        upper_arm = joints[:, named["ELBOW"]] - joints[:, named["SHOULDER"]]
        forearm = joints[:, named["WRIST"]] - joints[:, named["ELBOW"]]
        # A hinge is an axial vector: it changes sign in the mirror where a direction does not.
        hinge = np.cross(upper_arm, forearm)
        straight = frame(_ARM * mirror, _ELBOW_HINGE * sign)
        rotations[:, named["SHOULDER"]] = straight @ frame(upper_arm, hinge).swapaxes(-1, -2)
        rotations[:, named["ELBOW"]] = straight @ frame(forearm, hinge).swapaxes(-1, -2)
        index, little = (heads[:, bones.index(f"finger{i}-1.{side}")] for i in (2, 5))
        hand = joints[:, named["HAND"]] - joints[:, named["WRIST"]]
        flat = frame(_ARM * mirror, _PALM_DOWN)
        rotations[:, named["WRIST"]] = flat @ frame(hand, index - little).swapaxes(-1, -2)
        rotations[:, named["HAND"]] = rotations[:, named["WRIST"]]
    return rotations


def place_joints(joints: Floats, rotations: Floats) -> Floats:
    """(N,24,3) joints after the global `rotations`, chained from the pelvis, which goes to the origin."""
    placed = np.zeros_like(joints)
    for joint in range(1, NUM_JOINTS):
        parent = PARENTS[joint]
        offset = joints[:, joint] - joints[:, parent]
        placed[:, joint] = placed[:, parent] + np.einsum("nij,nj->ni", rotations[:, parent], offset)
    return placed


def frame(first: Floats, second: Floats) -> Floats:
    """(...,3,3) right-handed orthonormal frames: x along `first`, y the part of `second` that is normal to it."""
    x = first / np.linalg.norm(first, axis=-1, keepdims=True)
    y = second - (second * x).sum(axis=-1, keepdims=True) * x
    y = y / np.linalg.norm(y, axis=-1, keepdims=True)
    return np.stack([x, y, np.cross(x, y)], axis=-1)


def swing(source: Floats, target: Floats) -> Floats:
    """(...,3,3) smallest rotations that turn the directions `source` into `target` (not opposite ones)."""
    a = source / np.linalg.norm(source, axis=-1, keepdims=True)
    b = target / np.linalg.norm(target, axis=-1, keepdims=True)
    a, b = np.broadcast_arrays(a, b)
    axis = np.cross(a, b)
    skew = np.zeros((*axis.shape[:-1], 3, 3))
    skew[..., 0, 1], skew[..., 0, 2], skew[..., 1, 2] = -axis[..., 2], axis[..., 1], -axis[..., 0]
    skew = skew - skew.swapaxes(-1, -2)
    cosine = (a * b).sum(axis=-1)[..., None, None]
    return np.eye(3) + skew + skew @ skew / (1.0 + cosine)
