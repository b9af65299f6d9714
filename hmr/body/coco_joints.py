"""COCO's 17 keypoints on a body: where annotators, and networks that learned from them, see the joints.

COCO's shoulders lie higher than SMPL's joints, its hips higher and further forward, its ankles higher. Each point is
fixed to a joint and carried by the bone above it; the offsets were regressed from the keypoints that MoveNet finds on
rendered people whose bodies are known (`python -m training.fusion.coco_offsets`, figures there), mirror symmetric. The
face's points lie on the surface (hmr/body/surface_joints.py) and are carried by the head.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bodycast.hmr.body.body_model import BodyModel, Floats
from bodycast.hmr.body.joints import Joint
from bodycast.hmr.body.surface_joints import COCO_JOINT_NAMES, SURFACE_VERTICES

# Left side: joint, the joint whose rotation carries the point, offset in m of the rest pose (x left, y up, z forward).
_LEFT: dict[str, tuple[Joint, Joint, tuple[float, float, float]]] = {
    "left_shoulder": (Joint.LEFT_SHOULDER, Joint.SPINE3, (-0.009, 0.042, 0.003)),
    "left_elbow": (Joint.LEFT_ELBOW, Joint.LEFT_SHOULDER, (-0.016, 0.003, 0.0)),
    "left_wrist": (Joint.LEFT_WRIST, Joint.LEFT_ELBOW, (-0.002, 0.0, 0.0)),
    "left_hip": (Joint.LEFT_HIP, Joint.PELVIS, (-0.009, 0.034, 0.035)),
    "left_knee": (Joint.LEFT_KNEE, Joint.LEFT_HIP, (0.0, -0.014, 0.005)),
    "left_ankle": (Joint.LEFT_ANKLE, Joint.LEFT_KNEE, (0.0, 0.02, 0.003)),
}
_FACE = ("nose", "left_eye", "right_eye", "left_ear", "right_ear")


def _placed(name: str) -> tuple[Joint, Joint, tuple[float, float, float]]:
    if name in _FACE:
        return Joint.HEAD, Joint.HEAD, (0.0, 0.0, 0.0)
    if name.startswith("left"):
        return _LEFT[name]
    joint, carrier, (x, y, z) = _LEFT[name.replace("right", "left")]
    return _other_side(joint), _other_side(carrier), (-x, y, z)


def _other_side(joint: Joint) -> Joint:
    return Joint[joint.name.replace("LEFT", "RIGHT")]


_ROWS = tuple(_placed(name) for name in COCO_JOINT_NAMES)
COCO_JOINT: NDArray[np.intp] = np.array([int(joint) for joint, _, _ in _ROWS], np.intp)
"""(17,) SMPL joint to which each keypoint is fixed."""
COCO_CARRIER: NDArray[np.intp] = np.array([int(carrier) for _, carrier, _ in _ROWS], np.intp)
"""(17,) the joint whose rotation carries its offset."""
_OFFSETS = np.array([offset for _, _, offset in _ROWS], np.float32)


def coco_offsets(body: BodyModel) -> Floats:
    """(17, 3) of the rest pose, m: from each keypoint's joint to the keypoint, average shape.

    Raises ValueError for a body whose face points nobody has picked.
    """
    table = SURFACE_VERTICES.get(body.name)
    if table is None:
        raise ValueError(f"the body {body.name!r} has no table of face points; there are {', '.join(SURFACE_VERTICES)}")
    average = np.zeros((1, 10), np.float32)
    vertices, head = body.rest_vertices(average)[0], body.joints(average)[0, Joint.HEAD]
    offsets = _OFFSETS.copy()
    for row, name in enumerate(_FACE):
        offsets[row] = vertices[list(table[name])].mean(axis=0) - head
    return offsets


def coco_points(turns: Floats, places: Floats, offsets: Floats) -> Floats:
    """(N, 17, 3) keypoints from global rotations (N, 24, 3, 3) and places (N, 24, 3) of the joints, in their frame and
    unit. offsets: of `coco_offsets`."""
    carried = (turns[:, COCO_CARRIER] @ offsets[..., None])[..., 0]
    return (places[:, COCO_JOINT] + carried).astype(np.float32, copy=False)
