"""Arms that reach for a place, by two-bone inverse kinematics, and a check that limbs keep out of the body."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bodycast.hmr.body.body_model import forward_kinematics
from bodycast.hmr.body.joints import Joint
from bodycast.hmr.geometry.rotations import axis_angle_to_matrix

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
_ARMS = {
    "left": (Joint.LEFT_COLLAR, Joint.LEFT_SHOULDER, Joint.LEFT_ELBOW, Joint.LEFT_WRIST, Joint.LEFT_HAND),
    "right": (Joint.RIGHT_COLLAR, Joint.RIGHT_SHOULDER, Joint.RIGHT_ELBOW, Joint.RIGHT_WRIST, Joint.RIGHT_HAND),
}
PALM_AT_REST = np.array([0.0, -1.0, 0.0])  # T-pose: palms look down
FOREARM_TWIST_SHARE = 0.6  # the rest of a hand's turn about the forearm stays in the wrist


@dataclass(frozen=True)
class Reach:
    """What an arm should do, in the frame of the chest (spine3: x to the person's left, y up, z forward), metres.

    wrist (3,) from the shoulder joint; elbow_towards (3,) the way the elbow points; palm (3,) the way the palm looks;
    fingers (3,) the way the fingers point (made square to the palm), or None: along the forearm.
    """

    wrist: F64
    elbow_towards: F64
    palm: F64 | None = None
    fingers: F64 | None = None


def _unit(vector: F64) -> F64:
    return vector / max(float(np.linalg.norm(vector)), 1e-9)


def _frame(first: F64, second: F64) -> F64:
    """(3, 3) columns: `first`, the part of `second` square to it, and their cross product."""
    x = _unit(first)
    y = _unit(second - (second @ x) * x)
    return np.stack([x, y, np.cross(x, y)], axis=1)


def reach(pose: F32, joints_rest: F32, side: str, goal: Reach) -> F32:
    """(24, 3, 3) `pose` with the arm `side` (left, right) brought to the goal, as far as it is long enough."""
    collar, shoulder, elbow, wrist, hand = _ARMS[side]
    turns, _ = forward_kinematics(pose[None].astype(np.float32), joints_rest[None].astype(np.float32))
    chest = turns[0, Joint.SPINE3].astype(np.float64)
    rest = joints_rest.astype(np.float64)
    upper, lower, palm_bone = rest[elbow] - rest[shoulder], rest[wrist] - rest[elbow], rest[hand] - rest[wrist]
    a, b = np.linalg.norm(upper), np.linalg.norm(lower)
    towards = chest @ goal.wrist
    distance = float(np.clip(np.linalg.norm(towards), abs(a - b) + 0.03, (a + b) * 0.995))
    along = _unit(towards)
    x = (a * a - b * b + distance * distance) / (2 * distance)
    pole = chest @ goal.elbow_towards
    out_of_line = _unit(pole - (pole @ along) * along)
    bend = along * x + out_of_line * np.sqrt(max(a * a - x * x, 0.0))
    u, f = bend / a, (along * distance - bend) / b
    # At rest an elbow bends forwards: about -y on the left, +y on the right.
    hinge_rest = np.array([0.0, -1.0 if side == "left" else 1.0, 0.0])
    hinge = np.cross(u, f)
    if np.linalg.norm(hinge) < 1e-4:
        hinge = np.cross(u, -out_of_line)
    shoulder_turn = _frame(u, hinge) @ _frame(upper, hinge_rest).T
    elbow_turn = _frame(f, hinge) @ _frame(lower, hinge_rest).T
    hand_turn = elbow_turn
    if goal.palm is not None:
        fingers = f if goal.fingers is None else chest @ goal.fingers
        hand_turn = _frame(chest @ goal.palm, fingers) @ _frame(PALM_AT_REST, palm_bone).T
        twist = _twist_about(elbow_turn.T @ hand_turn, _unit(lower)) * FOREARM_TWIST_SHARE
        elbow_turn = elbow_turn @ axis_angle_to_matrix(_unit(lower) * twist)
    out = pose.copy()
    out[shoulder] = turns[0, collar].T @ shoulder_turn
    out[elbow] = shoulder_turn.T @ elbow_turn
    out[wrist] = elbow_turn.T @ hand_turn
    return out.astype(np.float32)


def _twist_about(rotation: F64, axis: F64) -> float:
    """Angle in rad of the turn about `axis` (unit) within a rotation (3, 3)."""
    vector = np.array(
        [rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1]]
    )
    return 2.0 * float(np.arctan2(vector @ axis, 1.0 + np.trace(rotation)))


# Where limbs must not be: ellipsoids (joint whose frame they live in, centre from it, half axes), metres.
_SOLIDS = (
    (Joint.HEAD, (0.0, 0.065, 0.025), (0.078, 0.1, 0.095)),
    (Joint.SPINE3, (0.0, 0.06, 0.035), (0.13, 0.14, 0.085)),
    (Joint.SPINE1, (0.0, 0.03, 0.045), (0.125, 0.14, 0.09)),
    (Joint.PELVIS, (0.0, -0.06, 0.045), (0.13, 0.11, 0.095)),
)
_HAND_LENGTHS = (0.25, 0.6, 1.0, 1.9)  # along wrist -> hand joint, which lies at the knuckles


def limbs_inside(turns: F32, places: F32) -> NDArray[np.bool_]:
    """(N,) whether a hand or forearm runs through head or trunk; global rotations (N,24,3,3), places (N,24,3)."""
    points = []
    for _, shoulder, elbow, wrist, hand in _ARMS.values():
        points += [places[:, elbow] + t * (places[:, wrist] - places[:, elbow]) for t in (0.3, 0.65, 1.0)]
        points += [places[:, wrist] + t * (places[:, hand] - places[:, wrist]) for t in _HAND_LENGTHS]
        points.append(places[:, shoulder] + 0.85 * (places[:, elbow] - places[:, shoulder]))
    stacked = np.stack(points, axis=1)
    inside = np.zeros(len(places), bool)
    for joint, centre, axes in _SOLIDS:
        local = np.einsum("nji,npj->npi", turns[:, joint], stacked - places[:, None, joint])
        inside |= (((local - np.array(centre)) / np.array(axes)) ** 2).sum(-1).min(1) < 1.0
    return inside
