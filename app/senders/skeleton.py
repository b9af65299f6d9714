"""From SMPL's joints to the bones of a humanoid avatar: names, T-pose, Unity's left-handed frame.

Bones are Unity's `HumanBodyBones`, which VRM and the VMC protocol name too; the first 22 joints of SMPL are these bones
in SMPL's order. An avatar's bones are turned from its T-pose, SMPL's from the body's own rest pose, whose arms may hang
a little: `t_pose` gives the turns between the two. Frames: ours has y up, right-handed, metres, a person at rest looks
along +z and their left is +x. Unity's is that one seen in a mirror: x changes its sign.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from bodycast.hmr.body.joints import NUM_JOINTS, PARENTS
from bodycast.hmr.geometry.arrays import F64

Indices = NDArray[np.int64]

BONES: tuple[str, ...] = (
    *("Hips", "LeftUpperLeg", "RightUpperLeg", "Spine", "LeftLowerLeg", "RightLowerLeg", "Chest", "LeftFoot"),
    *("RightFoot", "UpperChest", "LeftToes", "RightToes", "Neck", "LeftShoulder", "RightShoulder", "Head"),
    *("LeftUpperArm", "RightUpperArm", "LeftLowerArm", "RightLowerArm", "LeftHand", "RightHand"),
)
"""Unity's names of SMPL's joints 0..21."""

BONE_COUNT = len(BONES)
BONE_PARENTS = PARENTS[:BONE_COUNT]

SOLE_BELOW_TOES_M = 0.02
"""SMPL's foot joints lie inside the foot, so much above its sole."""

_DOWN, _LEFT, _RIGHT = (0.0, -1.0, 0.0), (1.0, 0.0, 0.0), (-1.0, 0.0, 0.0)
_STRAIGHT = {
    **{joint: (child, _DOWN) for joint, child in ((1, 4), (2, 5), (4, 7), (5, 8))},
    **{joint: (child, _LEFT) for joint, child in ((16, 18), (18, 20), (20, 22))},
    **{joint: (child, _RIGHT) for joint, child in ((17, 19), (19, 21), (21, 23))},
}
"""Joints whose bone has a direction in every avatar's T-pose: the child at its end, and the direction. Spines, collar
bones and feet differ from avatar to avatar; theirs are taken to be like the body's."""
_BENT = np.array(list(_STRAIGHT), np.intp)
_ENDS = np.array([child for child, _ in _STRAIGHT.values()], np.intp)
_DIRECTIONS = np.array([direction for _, direction in _STRAIGHT.values()])


def _levels() -> tuple[tuple[Indices, Indices], ...]:
    depth = np.zeros(NUM_JOINTS, np.int64)
    for joint in range(1, NUM_JOINTS):
        depth[joint] = depth[PARENTS[joint]] + 1
    rows = [np.flatnonzero(depth == level) for level in range(1, int(depth.max()) + 1)]
    return tuple((joints, PARENTS[joints]) for joints in rows)


_LEVELS = _levels()
"""Joints by their distance from the root, with their parents: kinematics in eight steps and not 23."""


def _jumps() -> tuple[Indices, ...]:
    """Each bone's ancestor one, two and four bones up; BONE_COUNT where there is none."""
    one = np.array([*np.where(BONE_PARENTS < 0, BONE_COUNT, BONE_PARENTS), BONE_COUNT], np.int64)
    two = one[one]
    return one, two, two[two]


_THREE = np.arange(3)
_JUMPS = _jumps()
"""No bone has more than seven above it: three products of all of them reach the root."""


def global_rotations(local: F64) -> F64:
    """(24,3,3) rotations relative to the parents, the root's first -> the same relative to the world."""
    turns = local.copy()
    for joints, parents in _LEVELS:
        turns[joints] = turns[parents] @ turns[joints]
    return turns


def bones_in_world(rotations: F64, places_m: F64) -> tuple[F64, F64]:
    """(22,3,3) rotations and (22,3) places of bones in the world. rotations: relative to the parents, the hips' to the
    world; places_m: of the hips in the world, of the others from their parents."""
    found = np.zeros((BONE_COUNT + 1, 4, 4))
    found[:-1, :3, :3], found[:-1, :3, 3], found[:, 3, 3] = rotations, places_m, 1.0
    found[-1, _THREE, _THREE] = 1.0
    for above in _JUMPS:
        found = found[above] @ found
    return found[:-1, :3, :3], found[:-1, :3, 3]


def rest_offsets(pose: F64, joints_m: F64) -> F64:
    """(24,3) place of each joint from its parent in the body's rest pose, of a posed body: pose (24,3,3) and joints
    (24,3) in one frame. The root's is 0."""
    turns = global_rotations(pose)
    offsets = np.zeros((NUM_JOINTS, 3))
    bones = joints_m[1:] - joints_m[PARENTS[1:]]
    offsets[1:] = np.einsum("jba,jb->ja", turns[PARENTS[1:]], bones)
    return offsets


@dataclass(frozen=True, slots=True)
class TPose:
    """A body's skeleton in the T-pose. `turns` (24,3,3): T-pose -> rest pose of each bone; `offsets_m` (22,3): each
    bone's place from its parent; `hips_m`: height of the hips above the soles."""

    turns: F64
    offsets_m: F64
    hips_m: float


def t_pose(offsets_m: F64) -> TPose:
    """Of a body whose joints are these (24,3) from their parents in its rest pose."""
    turns = np.broadcast_to(np.eye(3), (NUM_JOINTS, 3, 3)).copy()
    turns[_BENT] = _between(_DIRECTIONS, offsets_m[_ENDS])
    straight = np.zeros((NUM_JOINTS, 3))
    straight[1:] = np.einsum("jba,jb->ja", turns[PARENTS[1:]], offsets_m[1:])
    legs = [straight[list(chain), 1].sum() for chain in ((1, 4, 7, 10), (2, 5, 8, 11))]
    return TPose(turns, straight[:BONE_COUNT], SOLE_BELOW_TOES_M - float(np.mean(legs)))


def bone_rotations(pose: F64, root: F64, rest: TPose) -> F64:
    """(22,3,3) rotations of the avatar's bones relative to their parents, from its T-pose: `pose` (24,3,3) relative to
    the parents, `root` (3,3) of the root in the world."""
    turns = rest.turns[:BONE_COUNT]
    local = pose[:BONE_COUNT] @ turns
    local[0] = root
    local[1:] = np.swapaxes(turns[BONE_PARENTS[1:]], 1, 2) @ local[1:]
    return local


def _outer_product() -> F64:
    """(16,9): entries of a rotation matrix, row by row -> four times the outer product of its quaternion x, y, z, w
    with itself, less 1 on the diagonal."""
    table = np.zeros((4, 4, 3, 3))
    for axis in range(4):
        for entry in range(3):
            table[axis, axis, entry, entry] = 1.0 if axis in (entry, 3) else -1.0
    for one, other in ((0, 1), (0, 2), (1, 2)):
        left = 3 - one - other
        table[one, other, one, other] = table[one, other, other, one] = 1.0
        up, down = ((2, 1), (0, 2), (1, 0))[left]
        table[left, 3, up, down], table[left, 3, down, up] = 1.0, -1.0
    for one in range(4):
        for other in range(one):
            table[one, other] = table[other, one]
    return table.reshape(16, 9)


_OUTER = _outer_product()
_DIAGONAL = np.eye(4).reshape(16)


def quaternions(rotations: F64) -> F64:
    """(N,3,3) -> (N,4) unit quaternions x, y, z, w.

    The largest column of the quaternion's outer product with itself, normalised (Shepperd 1978): its entries are sums
    of the matrix' own, so that all of them are one product with a table.
    """
    outer = rotations.reshape(-1, 9) @ _OUTER.T + _DIAGONAL
    best = outer[:, ::5].argmax(axis=1)
    found = outer.reshape(-1, 4, 4)[np.arange(len(best)), best]
    return cast(F64, found / np.sqrt((found * found).sum(axis=1, keepdims=True)))


def matrices(xyzw: F64) -> F64:
    """(N,4) unit quaternions x, y, z, w -> (N,3,3)."""
    outer = xyzw[:, :, None] * xyzw[:, None]
    return (outer.reshape(-1, 16) @ _OUTER).reshape(-1, 3, 3)


UNITY_PLACE = np.array([-1.0, 1.0, 1.0])
"""Times a place x, y, z of ours."""
UNITY_TURN = np.array([1.0, -1.0, -1.0, 1.0])
"""Times a quaternion x, y, z, w of ours."""


def _between(first: F64, second: F64) -> F64:
    """(N,3,3) smallest rotations that take the unit vectors `first` (N,3) to the directions of `second` (N,3)."""
    second = second / np.maximum(np.linalg.norm(second, axis=1, keepdims=True), 1e-9)
    cross, cos = np.cross(first, second), (first * second).sum(axis=1)
    half = np.zeros((len(first), 3, 3))
    half[:, 0, 1], half[:, 0, 2], half[:, 1, 2] = -cross[:, 2], cross[:, 1], -cross[:, 0]
    K = half - np.swapaxes(half, 1, 2)
    # No body's bones point the other way than in a T-pose: 1 + cos is never near 0.
    return np.eye(3) + K + K @ K / np.maximum(1 + cos, 1e-6)[:, None, None]
