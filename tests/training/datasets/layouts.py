"""Tiny data sets in exactly the published layouts, with what they should be read as."""

from __future__ import annotations

import io
import pickle
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from bodycast.hmr.body.body_files import BodyArrays, save_body_arrays
from bodycast.hmr.body.body_model import BodyModel
from bodycast.hmr.geometry.rotations import axis_angle_to_matrix
from training.datasets.errors import DatasetError

SMPL_VERTICES = 6890


def write_picture(path: Path, wh: tuple[int, int], seed: int = 0) -> Path:
    """Smooth random colours."""
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 5, 3)).astype(np.uint8)
    cv2.imwrite(str(path), cv2.resize(coarse, wh, interpolation=cv2.INTER_CUBIC))
    return path


def write_smpl_folder(folder: Path) -> Path:
    """Bodies with SMPL's numbers of vertices and the embedded body's bones, under SMPL's names; genders differ."""
    folder.mkdir(parents=True, exist_ok=True)
    real = BodyModel.load().arrays
    keep = np.arange(SMPL_VERTICES)
    regressor = real.J_regressor[:, keep]
    regressor = regressor / regressor.sum(1, keepdims=True)
    faces = real.faces[(real.faces < SMPL_VERTICES).all(1)]
    for gender, size in (("male", 1.0), ("female", 0.9), ("neutral", 0.95)):
        save_body_arrays(
            BodyArrays(
                name=f"smpl-{gender}",
                v_template=(real.v_template[keep] * size).astype(np.float32),
                shapedirs=real.shapedirs[keep],
                posedirs=None,
                J_regressor=regressor.astype(np.float32),
                weights=real.weights[keep],
                faces=faces,
                meta={},
            ),
            folder / f"SMPL_{gender.upper()}.npz",
        )
    return folder


def rigid(rng: np.random.Generator, depth_m: float) -> np.ndarray:
    """(4,4): a small turn, then `depth_m` in front of the camera; world y up becomes camera y down."""
    T = np.eye(4)
    T[:3, :3] = axis_angle_to_matrix(rng.normal(scale=0.1, size=3)) @ np.diag([1.0, -1.0, -1.0])
    T[:3, 3] = [0.1, 0.2, depth_m]
    return T


AS_COCO_18 = [15, 12, 17, 19, 21, 16, 18, 20, 2, 5, 8, 1, 4, 7, 15, 15, 15, 15]
"""SMPL's joints in the places of 3DPW's 18 points; the head stands for nose, eyes and ears."""


def write_3dpw(root: Path, smpl: Path, frames: int = 4, protocol: int = 2) -> dict[str, Any]:
    """One test sequence with two actors; the second frame of actor 1 has no valid camera, actor 0 too few points in
    frame 3. Joints and 2D points are those of the bodies in `smpl`."""
    rng = np.random.default_rng(5)
    K = np.array([[1960.0, 0, 540], [0, 1965.0, 960], [0, 0, 1]])
    T = np.stack([rigid(rng, 4.0) for _ in range(frames)])
    bodies = [BodyModel.load(smpl / f"SMPL_{g}.npz") for g in ("MALE", "FEMALE")]
    poses = [rng.normal(scale=0.2, size=(frames, 72)) for _ in bodies]
    trans = [rng.normal(scale=0.2, size=(frames, 3)) for _ in bodies]
    betas = [rng.normal(size=10) for _ in bodies]
    world, points = [], []
    for body, pose, move, shape in zip(bodies, poses, trans, betas, strict=True):
        posed = body(axis_angle_to_matrix(pose.reshape(-1, 24, 3)), np.tile(shape, (frames, 1)), move)
        joints = posed.joints.astype(np.float64)
        seen = np.einsum("fab,fjb->fja", T[:, :3, :3], joints) + T[:, None, :3, 3]
        px = seen[..., :2] / seen[..., 2:] * [K[0, 0], K[1, 1]] + K[:2, 2]
        world.append(joints.reshape(frames, 72))
        points.append(np.concatenate([px[:, AS_COCO_18], np.full((frames, 18, 1), 0.7)], -1).transpose(0, 2, 1).copy())
    points[0][3, 2, 5:] = 0
    valid = [np.ones(frames, np.int64), np.array([1, 0, 1, 1][:frames])]
    content = {
        "sequence": "downtown_test_00", "genders": ["m", "f"], "betas": betas, "poses": poses, "trans": trans,
        "poses2d": points, "jointPositions": world, "campose_valid": valid, "cam_poses": T, "cam_intrinsics": K,
        "img_frame_ids": np.arange(frames), "v_template_clothed": [np.zeros((2, 3))] * 2, "texture_maps": [],
    }  # fmt: skip
    path = root / "sequenceFiles" / "test" / "downtown_test_00.pkl"
    path.parent.mkdir(parents=True)
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    for frame in range(frames):
        write_picture(root / "imageFiles" / "downtown_test_00" / f"image_{frame:05d}.jpg", (1080, 1920), frame)
    return content


def write_emdb(root: Path, smpl: Path, frames: int = 5) -> dict[str, Any]:
    """One EMDB-1 sequence and one that is not; frame 1 is bad, frame 4 has an invalid box."""
    rng = np.random.default_rng(6)
    T = np.stack([rigid(rng, 3.0) for _ in range(frames)])
    good = np.ones(frames, bool)
    good[1] = False
    content = {
        "name": "P1_14_outdoor_climb", "gender": "female", "n_frames": frames, "emdb1": True, "emdb2": np.bool_(False),
        "good_frames_mask": good,
        "camera": {
            "intrinsics": np.array([[1400.0, 0, 720], [0, 1400.0, 960], [0, 0, 1]]), "extrinsics": T,
            "width": 1440, "height": 1920,
        },
        "smpl": {
            "poses_root": rng.normal(scale=0.2, size=(frames, 3)),
            "poses_body": rng.normal(scale=0.2, size=(frames, 69)),
            "betas": rng.normal(size=10), "trans": rng.normal(scale=0.2, size=(frames, 3)),
        },
        "kp2d": rng.uniform(100, 1400, (frames, 24, 2)),
        "bboxes": {"bboxes": np.tile([100.0, 200, 900, 1800], (frames, 1)), "invalid_idxs": np.array([4])},
    }  # fmt: skip
    for name, flags in (("14_outdoor_climb", {}), ("15_other", {"emdb1": False, "emdb2": True})):
        folder = root / "P1" / name
        folder.mkdir(parents=True)
        (folder / f"P1_{name}_data.pkl").write_bytes(pickle.dumps({**content, **flags}))
    for frame in range(frames):
        write_picture(root / "P1" / "14_outdoor_climb" / "images" / f"{frame:05d}.jpg", (1440, 1920), frame)
    return content


def write_spin_h36m(folder: Path) -> dict[str, np.ndarray]:
    """SPIN's h36m_valid_protocol1.npz for three frames of S9, two cameras, and one of S1 (no test subject)."""
    rng = np.random.default_rng(7)
    names = [
        "images/S9_Directions_1.60457274_000001.jpg",
        "images/S9_Directions_1.60457274_000006.jpg",
        "images/S9_Directions_1.54138969_000001.jpg",
        "images/S1_Eating.60457274_000001.jpg",
    ]
    joints = np.concatenate([rng.normal(scale=0.3, size=(4, 24, 3)), np.ones((4, 24, 1))], -1)
    joints[:, 13, 3] = 0  # SPIN's Human3.6M files have no top of the head
    joints[:, 19:, 3] = 0  # and no face
    content = {
        "imgname": np.array(names), "center": np.full((4, 2), 480.0), "scale": np.array([2.0, 2.1, 2.2, 2.3]),
        "S": joints, "part": np.concatenate([rng.uniform(100, 900, (4, 24, 2)), joints[..., 3:]], -1),
    }  # fmt: skip
    np.savez(folder / "h36m_valid_protocol1.npz", **content)
    for name in names:
        write_picture(folder / name, (1000, 1000))
    return content


def error_of(function: Callable[..., Iterable[object]], *arguments: object) -> str:
    """The one line with which a reader refuses what it was given."""
    with pytest.raises(DatasetError) as caught:
        list(function(*arguments))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def add_to_shard(shard: tarfile.TarFile, name: str, content: bytes) -> None:
    """A member of a tar file."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    shard.addfile(info, io.BytesIO(content))
