"""Points of the skin that other people's joint sets count as joints: nose, eyes, ears, toes, heels.

A body's skeleton has no face. COCO's 17 and MediaPipe's 33 joints do, and HMR2.0 takes them from single vertices of
SMPL's mesh (4D-Humans). The embedded body has another mesh: its points were picked on a rendering of its head and
feet, each the mean of one or two vertices, mirror symmetric (`tests/body/test_surface_joints.py` holds where they lie).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bodycast.hmr.body.body_model import BodyModel, Floats, check_shape
from bodycast.hmr.body.joints import NUM_JOINTS, SMPL_VERTEX_JOINTS, Joint, mirror_table

SURFACE_JOINT_NAMES: tuple[str, ...] = (
    "nose",
    "left_eye",
    "right_eye",
    "left_ear",
    "right_ear",
    "left_big_toe",
    "left_small_toe",
    "left_heel",
    "right_big_toe",
    "right_small_toe",
    "right_heel",
)

_EMBEDDED: dict[str, tuple[int, ...]] = {
    "nose": (55,),
    "left_eye": (3484, 6860),
    "right_eye": (1, 6889),
    "left_ear": (6222, 6219),
    "right_ear": (2860, 2857),
    "left_big_toe": (6038,),
    "left_small_toe": (6415,),
    "left_heel": (6327,),
    "right_big_toe": (2665,),
    "right_small_toe": (3055,),
    "right_heel": (2967,),
}
_SMPL: dict[str, tuple[int, ...]] = {name.removeprefix("op_"): (v,) for name, v in SMPL_VERTEX_JOINTS.items()}

_SMPL_NAMES = ("smpl-neutral", "smpl-male", "smpl-female")
SURFACE_VERTICES: dict[str, dict[str, tuple[int, ...]]] = {
    "bodycast-adult": _EMBEDDED,
    **dict.fromkeys(_SMPL_NAMES, _SMPL),
}
"""Body -> point -> the vertices whose mean it is."""

POINT_NAMES: tuple[str, ...] = (*(joint.name.lower() for joint in Joint), *SURFACE_JOINT_NAMES)
"""SMPL's 24 joints, then the 11 points of the skin: all that a body can be compared with, 35 names."""

COCO_JOINT_NAMES: tuple[str, ...] = (
    "nose",
    "left_eye",
    "right_eye",
    "left_ear",
    "right_ear",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
    "left_hip",
    "right_hip",
    "left_knee",
    "right_knee",
    "left_ankle",
    "right_ankle",
)
"""COCO's 17 keypoints, in COCO's order; each is one of POINT_NAMES."""

COCO_MIRROR: NDArray[np.int64] = mirror_table(COCO_JOINT_NAMES)
"""(17,) index of each keypoint's twin on the other side."""

COCO_FROM_POINTS: NDArray[np.intp] = np.array([POINT_NAMES.index(name) for name in COCO_JOINT_NAMES], np.intp)
"""(17,) index into POINT_NAMES."""

MEDIAPIPE_FROM_POINTS: dict[int, int] = {
    landmark: POINT_NAMES.index(name)
    for landmark, name in {
        0: "nose", 2: "left_eye", 5: "right_eye", 7: "left_ear", 8: "right_ear",
        11: "left_shoulder", 12: "right_shoulder", 13: "left_elbow", 14: "right_elbow",
        15: "left_wrist", 16: "right_wrist", 23: "left_hip", 24: "right_hip",
        25: "left_knee", 26: "right_knee", 27: "left_ankle", 28: "right_ankle",
        29: "left_heel", 30: "right_heel", 31: "left_big_toe", 32: "right_big_toe",
    }.items()
}  # fmt: skip
"""MediaPipe Pose landmark (of 33) -> index into POINT_NAMES. Mouth, eye corners and fingers have no counterpart."""


def surface_joints(body: BodyModel, vertices: Floats) -> Floats:
    """(N,11,3) points of SURFACE_JOINT_NAMES from vertices (N,V,3) of `body`, in their frame and unit.

    Raises ValueError for a body whose points nobody has picked.
    """
    check_shape("vertices", vertices, (-1, body.vertex_count, 3))
    table = SURFACE_VERTICES.get(body.name)
    if table is None:
        raise ValueError(
            f"the body {body.name!r} has no table of face and foot points; there are {', '.join(SURFACE_VERTICES)}"
        )
    points = [vertices[:, list(table[name])].mean(axis=1) for name in SURFACE_JOINT_NAMES]
    return np.stack(points, axis=1).astype(np.float32, copy=False)


def body_points(body: BodyModel, vertices: Floats, joints: Floats) -> Floats:
    """(N,35,3) points of POINT_NAMES: joints (N,24,3), then the points of the skin."""
    check_shape("joints", joints, (len(vertices), NUM_JOINTS, 3))
    return np.concatenate([joints, surface_joints(body, vertices)], axis=1)
