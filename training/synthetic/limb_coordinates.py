"""Where on a body a vertex lies, in numbers that garments are cut by.

A sleeve ends at an arm coordinate, a trouser leg at a leg coordinate, a neckline at a head coordinate. They are
computed once from the body's rest pose, so that the same cut fits every shape and every pose.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hmr.body.body_model import BodyModel
from hmr.body.joints import Joint

F32 = NDArray[np.float32]

_ARM = (Joint.LEFT_SHOULDER, Joint.LEFT_ELBOW, Joint.LEFT_WRIST)
_LEG = (Joint.LEFT_HIP, Joint.LEFT_KNEE, Joint.LEFT_ANKLE)


@dataclass(frozen=True)
class LimbCoordinates:
    """Per vertex of the rest body (V,), float32.

    arm: below 0 on the torso, 0 shoulder, 1 elbow, 2 wrist, 3 finger tips. leg: below 0 above the hips, 0 hip, 1 knee,
    2 ankle, 3 soles. head: 0 at the neck joint, 1 at the top of the skull, below 0 under the neck. part: (V,) int, the
    joint that holds most of the vertex. canonical: (V, 3) rest position relative to the pelvis, metres.
    """

    arm: F32
    leg: F32
    head: F32
    part: NDArray[np.int32]
    canonical: F32


def limb_coordinates(body: BodyModel) -> LimbCoordinates:
    """Measure the template of `body` (T-pose, y up, facing +z)."""
    vertices = np.asarray(body.rest_vertices(np.zeros((1, 10), np.float32))[0], np.float64)
    joints = np.asarray(body.joints(np.zeros((1, 10), np.float32))[0], np.float64)
    weights = np.asarray(body.weights, np.float64)
    shoulder, elbow, wrist = (abs(joints[j, 0]) for j in _ARM)
    hand_tip = np.abs(vertices[:, 0]).max()
    hip, knee, ankle = (joints[j, 1] for j in _LEG)
    sole, crown = vertices[:, 1].min(), vertices[:, 1].max()
    neck = joints[Joint.NECK, 1]

    x = np.abs(vertices[:, 0])
    arm_weight = weights[:, [16, 17, 18, 19, 20, 21, 22, 23]].sum(1)
    inner = (x - shoulder) / (elbow - shoulder)
    arm = np.interp(x, [shoulder, elbow, wrist, hand_tip], [0.0, 1.0, 2.0, 3.0])
    arm = np.where(x < shoulder, np.maximum(inner, -1.0), arm)
    y = vertices[:, 1]
    chest = joints[Joint.SPINE2, 1]
    arm = np.where((y > chest) & ((arm_weight > 0.15) | (x > shoulder * 1.05)), arm, -1.0)

    leg = np.interp(-y, [-hip, -knee, -ankle, -sole], [0.0, 1.0, 2.0, 3.0])
    leg = np.where(y > hip, (hip - y) / (hip - knee), leg)
    leg = np.where(arm > 0.0, -2.0, leg)
    head = np.where(arm > 0.0, -1.0, (y - neck) / (crown - neck))
    return LimbCoordinates(
        arm=arm.astype(np.float32),
        leg=leg.astype(np.float32),
        head=head.astype(np.float32),
        part=weights.argmax(1).astype(np.int32),
        canonical=(vertices - joints[Joint.PELVIS]).astype(np.float32),
    )
