"""DeepMimic's motion clips (`humanoid3d_*.txt` in the `pybullet` package's data; zlib and MIT) as SMPL poses.

Cartwheels, flips, kicks, rolls, getting up: what walking people's clips lack. A clip is JSON with one row of 44
numbers a frame: duration, root position, then rotations (w, x, y, z, or one angle for knees and elbows) of root, chest,
neck and the right and the left limbs (Peng et al. 2018, "DeepMimic", arXiv 1804.02717). The figure looks along x, y is
up, arms hang; joint axes are aligned with the world's in that pose.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bodycast.hmr.body.joints import PARENTS, Joint
from bodycast.hmr.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle

F32 = NDArray[np.float32]
ROW = 44
TO_SMPL = np.array([[0, 0, -1], [0, 1, 0], [1, 0, 0]], np.float64)
"""Axes of the clips (x ahead, y up, z right) -> SMPL's rest pose (x left, y up, z ahead)."""
# Joint, its first column, whether it is one angle; in the order of the parents.
_BALLS = {
    Joint.PELVIS: 4, Joint.SPINE3: 8, Joint.NECK: 12, Joint.RIGHT_HIP: 16, Joint.RIGHT_ANKLE: 21,
    Joint.RIGHT_SHOULDER: 25, Joint.LEFT_HIP: 30, Joint.LEFT_ANKLE: 35, Joint.LEFT_SHOULDER: 39,
}  # fmt: skip
_HINGES = {Joint.RIGHT_KNEE: 20, Joint.RIGHT_ELBOW: 29, Joint.LEFT_KNEE: 34, Joint.LEFT_ELBOW: 43}
_ARMS = {
    -1: (Joint.LEFT_SHOULDER, Joint.LEFT_ELBOW, Joint.LEFT_WRIST, Joint.LEFT_HAND),
    1: (Joint.RIGHT_SHOULDER, Joint.RIGHT_ELBOW, Joint.RIGHT_WRIST, Joint.RIGHT_HAND),
}
_SPINE = (Joint.SPINE1, Joint.SPINE2, Joint.SPINE3)


def load_deepmimic(path: Path) -> F32:
    """(T, 24, 3, 3) poses, root relative to a world with y up. Raises ValueError for another file."""
    try:
        rows = np.array(json.loads(path.read_text())["Frames"], np.float64)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: no DeepMimic clip ({error})") from error
    if rows.ndim != 2 or rows.shape[1] != ROW:
        raise ValueError(f"{path}: expected rows of {ROW} numbers, got {rows.shape}")
    local = np.tile(np.eye(3), (len(rows), 24, 1, 1))
    for joint, column in _BALLS.items():
        local[:, joint] = _matrices(rows[:, column : column + 4])
    for joint, column in _HINGES.items():
        turn = np.zeros((len(rows), 3))
        turn[:, 2] = rows[:, column]
        local[:, joint] = axis_angle_to_matrix(turn)
    third = axis_angle_to_matrix(matrix_to_axis_angle(local[:, Joint.SPINE3]) / 3)
    for joint in _SPINE:
        local[:, joint] = third
    return _hanging_to_level(TO_SMPL @ local @ TO_SMPL.T)


def _matrices(wxyz: NDArray[np.float64]) -> NDArray[np.float64]:
    w = np.clip(wxyz[:, :1], -1, 1)
    axis = wxyz[:, 1:]
    length = np.maximum(np.linalg.norm(axis, axis=1, keepdims=True), 1e-9)
    return np.asarray(axis_angle_to_matrix(axis / length * 2 * np.arctan2(length, w)), np.float64)


def _hanging_to_level(local: NDArray[np.float64]) -> F32:
    """Rotations from a pose with hanging arms to those from SMPL's, whose arms are level."""
    level = np.tile(np.eye(3), (24, 1, 1))
    for sign, joints in _ARMS.items():
        level[list(joints)] = axis_angle_to_matrix(np.array([0, 0, sign * np.pi / 2]))
    out = np.empty_like(local)
    for joint in range(24):
        parent = int(PARENTS[joint])
        above = np.eye(3) if parent < 0 else level[parent]
        out[:, joint] = above.T @ local[:, joint] @ level[joint]
    return out.astype(np.float32)
