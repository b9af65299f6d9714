"""What people do in front of a webcam, as poses: typing, hands to the face, waving, talking with their hands.

Motion capture of sports and walking holds none of it. Each gesture is a few goals for the arms (see `reach`) on a trunk
that leans and a head that looks around, with legs that stand, sit or are crossed.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from bodycast.hmr.body.body_model import BodyModel, forward_kinematics
from bodycast.hmr.body.joints import Joint
from bodycast.hmr.geometry.rotations import axis_angle_to_matrix
from training.synthetic.reach import Reach, limbs_inside, reach

F32 = NDArray[np.float32]
Rng = np.random.Generator
DOWN_OUT = (0.5, -1.0, -0.2)


def _vector(rng: Rng, mean: tuple[float, float, float], spread: float) -> NDArray[np.float64]:
    return np.array(mean) + rng.normal(0, spread, 3)


def _arm(
    rng: Rng,
    wrist: tuple[float, float, float],
    spread: float = 0.03,
    elbow: tuple[float, float, float] = DOWN_OUT,
    palm: tuple[float, float, float] | None = None,
    fingers: tuple[float, float, float] | None = None,
) -> Reach:
    """A goal of the left arm, shaken; the right arm's is its mirror image."""
    return Reach(
        _vector(rng, wrist, spread),
        _vector(rng, elbow, 0.25),
        None if palm is None else _vector(rng, palm, 0.2),
        None if fingers is None else _vector(rng, fingers, 0.15),
    )


def _typing(rng: Rng) -> Reach:
    return _arm(rng, (-0.06, -0.33, 0.33), 0.04, (0.7, -1, -0.4), (0, -1, 0.1), (-0.25, 0, 1))


def _mouse(rng: Rng) -> Reach:
    return _arm(rng, (0.1, -0.34, 0.36), 0.05, (0.8, -1, -0.3), (0, -1, 0), (-0.1, 0, 1))


def _lap(rng: Rng) -> Reach:
    return _arm(rng, (-0.04, -0.45, 0.2), 0.04, (1, -0.6, -0.4), (0.1, -1, -0.2), (-0.5, -0.2, 1))


def _chin(rng: Rng) -> Reach:
    return _arm(rng, (-0.13, 0.0, 0.16), 0.02, (0.6, -1, 0.3), (-0.2, 0.5, -1), (-0.3, 1, -0.2))


def _cheek(rng: Rng) -> Reach:
    return _arm(rng, (-0.06, 0.06, 0.11), 0.02, (0.7, -1, 0.3), (-1, 0.1, -0.2), (-0.2, 1, -0.1))


def _ear(rng: Rng) -> Reach:
    return _arm(rng, (-0.05, 0.13, 0.06), 0.02, (1, -0.8, 0.1), (-1, 0, -0.1), (-0.1, 1, -0.3))


def _forehead(rng: Rng) -> Reach:
    return _arm(rng, (-0.08, 0.25, 0.16), 0.02, (1, -0.6, 0.3), (-0.4, -0.1, -1), (-1, 0.5, 0))


def _crown(rng: Rng) -> Reach:
    return _arm(rng, (-0.02, 0.38, 0.04), 0.02, (1, 0.2, 0.2), (-0.6, -1, 0), (-1, 0.2, -0.3))


def _nape(rng: Rng) -> Reach:
    return _arm(rng, (-0.02, 0.18, -0.08), 0.02, (1, 0.3, 0.1), (-0.6, 0, 1), (-1, 0.1, 0))


def _wave(rng: Rng) -> Reach:
    side = float(rng.uniform(0.05, 0.35))
    return _arm(rng, (side, 0.15, 0.2), 0.07, (0.8, -1, -0.1), (0.1, 0, 1), (float(rng.normal(0, 0.4)), 1, 0))


def _up(rng: Rng) -> Reach:
    return _arm(rng, (0.12, 0.5, 0.05), 0.12, (1, 0, 0.2), (-0.3, 0, 1), (0, 1, 0))


def _talk(rng: Rng) -> Reach:
    palm = [(-1, 0.3, 0), (0, 1, 0.2), (-0.3, -0.5, -1), (0, -1, 0)][rng.integers(4)]
    return _arm(rng, (0.0, -0.2, 0.33), 0.09, (0.8, -1, -0.2), palm, (-0.3, 0.5, 0.8))


def _phone(rng: Rng) -> Reach:
    return _arm(rng, (-0.08, -0.12, 0.3), 0.05, (0.6, -1, 0), (-0.2, 0.6, -1), (-0.3, 1, 0.4))


def _cup(rng: Rng) -> Reach:
    return _arm(rng, (-0.1, 0.09, 0.2), 0.02, (0.9, -1, 0.1), (-1, 0, -0.2), (-0.6, 0.2, 0.4))


def _to_camera(rng: Rng) -> Reach:
    return _arm(rng, (-0.05, -0.03, 0.5), 0.12, (0.7, -1, 0), (0, 0, 1), (0, 1, 0.5))


def _folded(rng: Rng) -> Reach:
    return _arm(rng, (-0.27, -0.2, 0.2), 0.02, (0.8, -1, -0.1), (-0.2, 0, -1), (-1, 0.2, -0.1))


def _hip(rng: Rng) -> Reach:
    return _arm(rng, (0.02, -0.38, 0.03), 0.02, (1, 0.1, -0.2), (-1, 0, 0), (-0.4, -0.5, 0.8))


def _hanging(rng: Rng) -> Reach:
    return _arm(rng, (0.09, -0.5, 0.05), 0.03, (0.3, -0.3, -1), (-1, 0, 0), (0, -1, 0.1))


def _side(rng: Rng) -> Reach:
    return _arm(rng, (0.47, 0.0, 0.05), 0.13, (0.2, -1, -0.4), (0, -1, 0), (1, 0, 0))


Goal = Callable[[Rng], Reach]
# (goal of one arm, goal of the other, weight): which arm is which is drawn.
GESTURES: dict[str, tuple[Goal, Goal, float]] = {
    "typing": (_typing, _typing, 3.0),
    "mouse": (_typing, _mouse, 2.0),
    "lap": (_lap, _lap, 1.0),
    "chin": (_chin, _lap, 1.0),
    "chin_typing": (_chin, _typing, 0.7),
    "both_cheeks": (_cheek, _cheek, 0.7),
    "cheek": (_cheek, _typing, 1.2),
    "ear": (_ear, _lap, 0.8),
    "headphones": (_ear, _ear, 0.6),
    "forehead": (_forehead, _lap, 0.6),
    "hair": (_crown, _hanging, 0.6),
    "both_crown": (_crown, _crown, 0.4),
    "behind_head": (_nape, _nape, 0.8),
    "wave": (_wave, _hanging, 1.3),
    "wave_seated": (_wave, _lap, 1.3),
    "both_hands_up": (_wave, _wave, 0.8),
    "arms_up": (_up, _up, 1.2),
    "arm_up": (_up, _hanging, 0.8),
    "talk": (_talk, _talk, 2.2),
    "talk_one": (_talk, _lap, 1.0),
    "phone": (_phone, _hanging, 0.8),
    "both_phone": (_phone, _phone, 0.5),
    "cup": (_cup, _typing, 0.8),
    "to_camera": (_to_camera, _hanging, 0.7),
    "to_camera_both": (_to_camera, _to_camera, 0.3),
    "folded": (_folded, _folded, 0.8),
    "hips": (_hip, _hip, 0.7),
    "hip": (_hip, _hanging, 0.5),
    "hanging": (_hanging, _hanging, 2.0),
    "sides": (_side, _side, 0.8),
    "point": (_side, _hip, 0.4),
}


def _mirrored(goal: Reach) -> Reach:
    flip = np.array([-1.0, 1.0, 1.0])
    return Reach(
        goal.wrist * flip, goal.elbow_towards * flip,
        None if goal.palm is None else goal.palm * flip, None if goal.fingers is None else goal.fingers * flip,
    )  # fmt: skip


def _turn(*angles: float) -> F32:
    return axis_angle_to_matrix(np.array(angles, np.float32)).astype(np.float32)


def trunk(rng: Rng) -> F32:
    """(24, 3, 3): a trunk that leans, a head that looks around, shoulders that shrug; arms and legs at rest."""
    pose = np.tile(np.eye(3, dtype=np.float32), (24, 1, 1))
    lean = np.array([rng.normal(0.1, 0.16), rng.normal(0, 0.15), rng.normal(0, 0.1)], np.float32)
    for joint, share in ((Joint.SPINE1, 0.4), (Joint.SPINE2, 0.3), (Joint.SPINE3, 0.3)):
        pose[joint] = axis_angle_to_matrix(lean * share)
    look = np.array([rng.normal(0.02, 0.25), rng.normal(0, 0.4), rng.normal(0, 0.12)], np.float32)
    if rng.random() < 0.15:
        look[0] += rng.uniform(0.2, 0.6)  # down to the keyboard or a phone
    pose[Joint.NECK] = axis_angle_to_matrix(look * 0.45 - lean * 0.25)
    pose[Joint.HEAD] = axis_angle_to_matrix(look * 0.55 - lean * 0.25)
    shrug = rng.normal(0, 0.06, 2)
    pose[Joint.LEFT_COLLAR] = _turn(0, rng.normal(0, 0.05), shrug[0])
    pose[Joint.RIGHT_COLLAR] = _turn(0, rng.normal(0, 0.05), -shrug[1])
    return pose


def seated(pose: F32, rng: Rng) -> F32:
    """`pose` with legs that sit: thighs forward, shins down, in front or tucked in, sometimes crossed."""
    out = pose.copy()
    crossed = rng.random() < 0.2
    for number, (hip, knee, side) in enumerate(((1, 4, 1.0), (2, 5, -1.0))):
        bend = rng.normal(1.45, 0.12)
        spread = rng.normal(0.16, 0.12)
        if crossed and number == 0:
            bend, spread = bend + 0.25, -0.3
        out[hip] = _turn(-bend, 0, side * spread) @ _turn(0, rng.normal(0, 0.15), 0)
        out[knee] = _turn(float(np.clip(rng.normal(1.45, 0.3), 0.1, 2.2)), 0, 0)
    return out


def standing(pose: F32, rng: Rng) -> F32:
    """`pose` on legs that stand, weight on one of them."""
    out = pose.copy()
    for hip, knee, side in ((1, 4, 1.0), (2, 5, -1.0)):
        bend = abs(rng.normal(0, 0.12))
        out[hip] = _turn(-bend + rng.normal(0, 0.06), rng.normal(0, 0.1), side * abs(rng.normal(0.06, 0.06)))
        out[knee] = _turn(2 * bend, 0, 0)
        out[hip + 6] = _turn(-bend, 0, 0)
    return out


def gesture(rng: Rng, body: BodyModel) -> F32:
    """(24, 3, 3) float32: one person at a desk or standing before a camera, facing +z; limbs keep out of the body."""
    names = list(GESTURES)
    weights = np.array([GESTURES[name][2] for name in names])
    for _ in range(30):
        name = names[rng.choice(len(names), p=weights / weights.sum())]
        pose = trunk(rng)
        sits = rng.random() < (0.35 if name in ("hips", "hip", "hanging", "sides", "point", "arm_up") else 0.7)
        pose = seated(pose, rng) if sits else standing(pose, rng)
        pose[0] = _turn(rng.normal(0, 0.07), 0, rng.normal(0, 0.05))
        rest = body.joints(rng.normal(0, 0.7, (1, 10)).astype(np.float32))[0]
        first, second, _ = GESTURES[name]
        goals = [first(rng), second(rng)]
        if rng.random() < 0.5:
            goals.reverse()
        pose = reach(pose, rest, "left", goals[0])
        pose = reach(pose, rest, "right", _mirrored(goals[1]))
        turns, places = forward_kinematics(pose[None], body.joints(np.zeros((1, 10), np.float32)))
        if not limbs_inside(turns, places)[0]:
            return pose
    raise RuntimeError("30 gestures in a row put a hand through the body: the goals do not fit this body")
