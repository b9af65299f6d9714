"""Where on a body a vertex lies, in numbers that garments are cut by.

A sleeve ends at an arm coordinate, a trouser leg at a leg coordinate, a neckline at a head coordinate. They are
computed once from the body's rest pose, so that the same cut fits every shape and every pose.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bodycast.hmr.body.body_model import BodyModel
from bodycast.hmr.body.joints import Joint

F32 = NDArray[np.float32]

_ARM = (Joint.LEFT_SHOULDER, Joint.LEFT_ELBOW, Joint.LEFT_WRIST)
_LEG = (Joint.LEFT_HIP, Joint.LEFT_KNEE, Joint.LEFT_ANKLE)
_ARM_JOINTS = [16, 17, 18, 19, 20, 21, 22, 23]


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

    def stacked(self) -> F32:
        """(V, 3): arm, leg, head."""
        return np.stack([self.arm, self.leg, self.head], axis=1)


@dataclass(frozen=True)
class LimbFrame:
    """The places on a rest body that limb coordinates count from: `joints` (24, 3), and three extents, metres."""

    joints: NDArray[np.float64]
    hand_tip: float
    sole: float
    crown: float

    @staticmethod
    def of(body: BodyModel) -> LimbFrame:
        """Measure the template of `body` (T-pose, y up, facing +z)."""
        vertices = np.asarray(body.rest_vertices(np.zeros((1, 10), np.float32))[0], np.float64)
        joints = np.asarray(body.joints(np.zeros((1, 10), np.float32))[0], np.float64)
        x, y = np.abs(vertices[:, 0]), vertices[:, 1]
        return LimbFrame(joints, float(x.max()), float(y.min()), float(y.max()))

    def coordinates(self, vertices: NDArray[np.floating], weights: NDArray[np.floating]) -> LimbCoordinates:
        """Of the body's own vertices, or of anything that it wears: (V, 3) rest positions, (V, 24) weights."""
        joints = self.joints
        vertices, weights = np.asarray(vertices, np.float64), np.asarray(weights, np.float64)
        shoulder, elbow, wrist = (abs(joints[j, 0]) for j in _ARM)
        hip, knee, ankle = (joints[j, 1] for j in _LEG)
        neck, chest = joints[Joint.NECK, 1], joints[Joint.SPINE2, 1]
        x, y = np.abs(vertices[:, 0]), vertices[:, 1]
        arm_weight = weights[:, _ARM_JOINTS].sum(1)
        inner = (x - shoulder) / (elbow - shoulder)
        arm = np.interp(x, [shoulder, elbow, wrist, self.hand_tip], [0.0, 1.0, 2.0, 3.0])
        arm = np.where(x < shoulder, np.maximum(inner, -1.0), arm)
        arm = np.where((y > chest) & ((arm_weight > 0.15) | (x > shoulder * 1.05)), arm, -1.0)
        leg = np.interp(-y, [-hip, -knee, -ankle, -self.sole], [0.0, 1.0, 2.0, 3.0])
        leg = np.where(y > hip, (hip - y) / (hip - knee), leg)
        leg = np.where(arm > 0.0, -2.0, leg)
        head = np.where(arm > 0.0, -1.0, (y - neck) / (self.crown - neck))
        return LimbCoordinates(
            arm=arm.astype(np.float32),
            leg=leg.astype(np.float32),
            head=head.astype(np.float32),
            part=weights.argmax(1).astype(np.int32),
            canonical=(vertices - joints[Joint.PELVIS]).astype(np.float32),
        )


def limb_coordinates(body: BodyModel) -> LimbCoordinates:
    """Limb coordinates of every vertex of `body`."""
    vertices = body.rest_vertices(np.zeros((1, 10), np.float32))[0]
    return LimbFrame.of(body).coordinates(vertices, body.weights)
