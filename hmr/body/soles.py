"""Four points under a body's feet: left heel, left toe, right heel, right toe, where a foot touches the floor.

A heel is carried by the ankle, a toe (the ball of the foot and what is before it) by the foot joint. They are found on
the mesh of the average shape, so that any body in SMPL's layout has them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bodycast.hmr.body.body_model import BodyModel, Floats
from bodycast.hmr.body.joints import Joint

SOLE_NAMES = ("left_heel", "left_toe", "right_heel", "right_toe")
SOLE_CARRIER: NDArray[np.intp] = np.array(
    [Joint.LEFT_ANKLE, Joint.LEFT_FOOT, Joint.RIGHT_ANKLE, Joint.RIGHT_FOOT], np.intp
)
"""(4,) the joint that carries each point."""
_THICKNESS_M = 0.012
"""Vertices so much above the lowest one belong to the sole."""


def sole_offsets(body: BodyModel) -> Floats:
    """(4,3) m of the rest pose, y up: from each point's joint to the point."""
    average = np.zeros((1, 10), np.float32)
    vertices, joints = body.rest_vertices(average)[0], body.joints(average)[0]
    main = body.weights.argmax(axis=1)
    offsets = np.empty((4, 3), np.float32)
    for row, joint in enumerate(SOLE_CARRIER.tolist()):
        own = vertices[main == joint]
        behind = own[own[:, 2] < joints[joint, 2]] if row % 2 == 0 else own
        own = behind if len(behind) else own
        sole = own[own[:, 1] < own[:, 1].min() + _THICKNESS_M] if len(own) else joints[joint][None]
        offsets[row] = sole.mean(axis=0) - joints[joint]
    return offsets


def sole_points(turns: Floats, places: Floats, offsets: Floats) -> Floats:
    """(N,4,3) the points of posed bodies, in the frame of `places`.

    turns: (N,24,3,3) global rotations, places: (N,24,3) of all joints (body_model.forward_kinematics). offsets: of
    `sole_offsets`.
    """
    return (places[:, SOLE_CARRIER] + (turns[:, SOLE_CARRIER] @ offsets[..., None])[..., 0]).astype(np.float32)
