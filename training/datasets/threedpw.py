"""3DPW: `sequenceFiles/SPLIT/*.pkl` and `imageFiles/SEQUENCE/image_00000.jpg` (von Marcard et al., ECCV 2018).

A sequence file is a dictionary with one entry per actor in `poses` (F,72), `trans` (F,3), `jointPositions` (F,72),
`betas` (10 or more), `genders` "m" or "f", `poses2d` (F,3,18) OpenPose's 18 joints, `campose_valid` (F,); and, for the
sequence, `cam_poses` (F,4,4) world to camera, `cam_intrinsics` (3,3). Poses are in the world's frame, metres.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bodycast.hmr.geometry.boxes import from_points, pad
from bodycast.hmr.geometry.camera import Intrinsics
from training.datasets.errors import DatasetError
from training.datasets.files import numbers, read_pickle, require_folder, take
from training.datasets.pictures import Picture
from training.datasets.sample import F64, Joints3d, Keypoints2d, PersonSample
from training.datasets.smpl_files import GENDERS, SmplFiles, smpl_pose, world_to_camera

SPLITS = ("train", "validation", "test")
MIN_POINTS = 6  # 3DPW gives 2D joints where at least six were found
BOX_PADDING = 0.1  # on every side: 1.2 times the box of the 2D joints, as the field's preprocessed files have it


def read_3dpw(root: Path, split: str = "test", smpl: SmplFiles | None = None) -> Iterator[PersonSample]:
    """One sample per actor and frame whose camera is valid and that has at least six 2D joints, in order of sequence,
    actor, frame.

    smpl: the gendered bodies; without them samples have no `transl_m` (it needs the body's root joint).
    Raises: DatasetError.
    """
    if split not in SPLITS:
        raise DatasetError(f"3DPW has the splits {', '.join(SPLITS)}, not {split!r}")
    folder = require_folder(root / "sequenceFiles" / split, "3DPW's sequenceFiles")
    paths = sorted(folder.glob("*.pkl"))
    if not paths:
        raise DatasetError(f"{folder}: no sequence files (*.pkl)")
    for path in paths:
        yield from _read_sequence(path, root / "imageFiles", split, smpl)


def _read_sequence(path: Path, images: Path, split: str, smpl: SmplFiles | None) -> Iterator[PersonSample]:
    content = read_pickle(path, "a 3DPW sequence")
    for key in ("poses", "betas", "genders", "poses2d", "jointPositions", "trans", "campose_valid"):
        if not isinstance(content.get(key), list | np.ndarray):
            raise DatasetError(f"{path}: expected a list {key!r} with one entry per actor")
        if len(content[key]) != len(content["poses"]):
            raise DatasetError(f"{path}: {key}: expected {len(content['poses'])} actors, got {len(content[key])}")
    K = take(content, "cam_intrinsics", (3, 3), path)
    wh = (round(2 * K[0, 2]), round(2 * K[1, 2]))
    camera = Intrinsics(K[0, 0], K[1, 1], K[0, 2], K[1, 2], wh)
    T_cam_world = take(content, "cam_poses", (None, 4, 4), path)
    sequence = str(content.get("sequence", path.stem))
    for actor in range(len(content["poses"])):
        yield from _read_actor(path, content, actor, T_cam_world, camera, images / sequence, split, smpl)


def _read_actor(
    path: Path,
    content: dict[str, Any],
    actor: int,
    T_cam_world: F64,
    camera: Intrinsics,
    images: Path,
    split: str,
    smpl: SmplFiles | None,
) -> Iterator[PersonSample]:
    frames = len(T_cam_world)
    where = f"{path}: actor {actor}"
    poses = numbers(content["poses"][actor], (frames, 72), f"{where}: poses")
    transl = numbers(content["trans"][actor], (frames, 3), f"{where}: trans")
    joints = numbers(content["jointPositions"][actor], (frames, 72), f"{where}: jointPositions")
    points = numbers(content["poses2d"][actor], (frames, 3, 18), f"{where}: poses2d")
    valid = numbers(content["campose_valid"][actor], (frames,), f"{where}: campose_valid") > 0
    betas = numbers(content["betas"][actor], (None,), f"{where}: betas")[:10]
    gender = GENDERS.get(str(content["genders"][actor]))
    if gender is None or len(betas) != 10:
        raise DatasetError(f"{where}: expected a gender m or f and 10 betas, got {content['genders'][actor]!r}")
    rest_root = None if smpl is None else smpl.rest_root(gender, betas)
    for frame in np.flatnonzero(valid):
        px, confidence = points[frame, :2].T.copy(), points[frame, 2].clip(0, 1)
        if (confidence > 0).sum() < MIN_POINTS:
            continue
        T = T_cam_world[frame]
        pose, placed = world_to_camera(smpl_pose(poses[frame]), transl[frame], T, rest_root)
        yield PersonSample(
            dataset="3dpw",
            split=split,
            sequence=images.name,
            subject=str(actor),
            frame=int(frame),
            picture=Picture(images / f"image_{frame:05d}.jpg"),
            image_wh=camera.image_wh,
            xyxy=pad(from_points(px, confidence > 0), BOX_PADDING),
            camera=camera,
            pose=pose,
            betas=betas,
            body=f"smpl-{gender}",
            transl_m=placed,
            joints_3d=Joints3d("smpl-24", joints[frame].reshape(24, 3) @ T[:3, :3].T + T[:3, 3], np.ones(24, bool)),
            keypoints=Keypoints2d("openpose-18", px, confidence),
        )
