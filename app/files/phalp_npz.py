"""What HMR2.0 and PHALP give for every person and frame, under their names, without a pickle (.npz)."""

from __future__ import annotations

import io

import numpy as np

from bodycast.app.files.motion_file import Motion
from bodycast.hmr.geometry.rotations import axis_angle_to_matrix


def encode(motion: Motion) -> bytes:
    """The file's content, R rows sorted by frame, then person: `frame`, `tracked_ids` (R,) int32; `global_orient`
    (R,1,3,3), `body_pose` (R,23,3,3) rotations, camera frame; `betas` (R,10); `camera` (R,3) translation m; `bbox`
    (R,4) x, y, width, height px; `3d_joints` (R,24,3) m and `2d_joints` (R,24,2) px; `focal_length` px; `size`
    (2,) height and width px."""
    pose = axis_angle_to_matrix(motion.poses.reshape(-1, 24, 3)).astype(np.float32)
    low, high = motion.bbox_xyxy[:, :2], motion.bbox_xyxy[:, 2:]
    width, height = motion.image_wh
    content = {
        "frame": motion.frame,
        "tracked_ids": motion.person_id,
        "tracked_time": motion.time_s,
        "global_orient": pose[:, :1],
        "body_pose": pose[:, 1:],
        "betas": motion.betas,
        "camera": motion.trans,
        "bbox": np.concatenate([low, high - low], axis=1),
        "3d_joints": motion.joints_3d,
        "2d_joints": motion.joints_2d,
        "conf": motion.score,
        "focal_length": np.array(motion.focal_px, np.float32),
        "size": np.array([height, width], np.int32),
    }
    stream = io.BytesIO()
    np.savez(stream, allow_pickle=False, **content)
    return stream.getvalue()
