"""The joint sets of the data sets, by name. Joints that mean the same place have the same name everywhere.

Names shared with `hmr.body.surface_joints.POINT_NAMES` are places that our bodies have; the others (a regressed neck, a
top of the head) have no counterpart there. Same name does not mean same definition to the centimetre: COCO's hips
were clicked on the trousers, SMPL's are inside the body.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bodycast.hmr.body.joints import HMR2_JOINT_NAMES, JOINT_NAMES
from bodycast.hmr.body.surface_joints import COCO_JOINT_NAMES, POINT_NAMES


def _sides(*names: str) -> tuple[str, ...]:
    """`r_knee` -> `right_knee`, `l_knee` -> `left_knee`."""
    full = {"r_": "right_", "l_": "left_"}
    return tuple(full[n[:2]] + n[2:] if n[:2] in full else n for n in names)


JOINT_SETS: dict[str, tuple[str, ...]] = {
    "smpl-24": JOINT_NAMES,
    "coco-17": COCO_JOINT_NAMES,
    # 4D-Humans' 44 joints: the first 25 are OpenPose's, with SMPL's joints for limbs and the pelvis for the middle of
    # the hips.
    "hmr2-44": tuple(
        {"op_mid_hip": "pelvis", "pelvis_mpii": "pelvis"}.get(name, name.removeprefix("op_"))
        for name in HMR2_JOINT_NAMES
    ),
    # 3DPW's poses2d: OpenPose's 18 COCO joints.
    "openpose-18": _sides(
        *("nose", "neck_openpose", "r_shoulder", "r_elbow", "r_wrist", "l_shoulder", "l_elbow", "l_wrist"),
        *("r_hip", "r_knee", "r_ankle", "l_hip", "l_knee", "l_ankle", "r_eye", "l_eye", "r_ear", "l_ear"),
    ),
    "mpii-16": _sides(
        *("r_ankle", "r_knee", "r_hip", "l_hip", "l_knee", "l_ankle", "pelvis_mpii", "thorax_mpii"),
        *("neck_mpii", "head_top", "r_wrist", "r_elbow", "r_shoulder", "l_shoulder", "l_elbow", "l_wrist"),
    ),
    # Human3.6M after the usual reduction to 17.
    "h36m-17": _sides(
        *("pelvis", "r_hip", "r_knee", "r_ankle", "l_hip", "l_knee", "l_ankle", "spine_h36m", "neck_h36m"),
        *("jaw_h36m", "head_h36m", "l_shoulder", "l_elbow", "l_wrist", "r_shoulder", "r_elbow", "r_wrist"),
    ),
    # The 24 of SPIN's preprocessed files (key S): LSP's 14 first, then MPII's and Human3.6M's, then the face.
    "spin-24": _sides(
        *("r_ankle", "r_knee", "r_hip", "l_hip", "l_knee", "l_ankle", "r_wrist", "r_elbow", "r_shoulder"),
        *("l_shoulder", "l_elbow", "l_wrist", "neck_lsp", "head_top", "pelvis", "thorax_mpii", "spine_h36m"),
        *("jaw_h36m", "head_h36m", "nose", "l_eye", "r_eye", "l_ear", "r_ear"),
    ),
    "mpi-inf-3dhp-28": _sides(
        *("spine3", "spine4", "spine2", "spine", "pelvis", "neck", "head", "head_top", "l_clavicle", "l_shoulder"),
        *("l_elbow", "l_wrist", "l_hand", "r_clavicle", "r_shoulder", "r_elbow", "r_wrist", "r_hand", "l_hip"),
        *("l_knee", "l_ankle", "l_foot", "l_toe", "r_hip", "r_knee", "r_ankle", "r_foot", "r_toe"),
    ),
    "mpi-inf-3dhp-17": _sides(
        *("head_top", "neck", "r_shoulder", "r_elbow", "r_wrist", "l_shoulder", "l_elbow", "l_wrist", "r_hip"),
        *("r_knee", "r_ankle", "l_hip", "l_knee", "l_ankle", "pelvis", "spine", "head"),
    ),
}
"""Name of a set -> the names of its joints, in order."""

# Human3.6M's 32 recorded joints hold duplicates; these 17 are the ones used, in the order of "h36m-17".
H36M_17_OF_32: NDArray[np.intp] = np.array([0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27], np.intp)

# Same names in MPI-INF-3DHP, other places in SMPL: its spine counts otherwise, its neck, hands and feet lie elsewhere.
_NOT_SMPL = {
    "mpi-inf-3dhp-28": ("spine3", "spine2", "neck", "head", "left_hand", "right_hand", "left_foot", "right_foot"),
    "mpi-inf-3dhp-17": ("neck", "head"),
    "hmr2-44": ("neck",),
}


def points_of(joint_set: str) -> list[tuple[int, int]]:
    """Pairs (index in the set, index in POINT_NAMES) of the places that both have. Raises KeyError for other names.

    Where a set has a place twice (HMR2.0's 44 do), the first one that is labelled should win; all are listed.
    """
    skipped = _NOT_SMPL.get(joint_set, ())
    return [
        (index, POINT_NAMES.index(name))
        for index, name in enumerate(JOINT_SETS[joint_set])
        if name in POINT_NAMES and name not in skipped
    ]
