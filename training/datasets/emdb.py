"""EMDB: `P*/SEQUENCE/*_data.pkl` and `images/00000.jpg` (Kaufmann et al., "EMDB", ICCV 2023).

A sequence file is a dictionary: `name`, `gender`, `n_frames`, `emdb1`, `emdb2`, `good_frames_mask` (F,), `smpl` with
`poses_root` (F,3), `poses_body` (F,69), `betas` (10,), `trans` (F,3) in the world's frame; `camera` with `intrinsics`
(3,3), `extrinsics` (F,4,4) world to camera, `width`, `height`; `kp2d` (F,24,2) SMPL's joints, px; `bboxes` with
`bboxes` (F,4) xyxy and `invalid_idxs`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bodycast.hmr.body.body_model import forward_kinematics
from bodycast.hmr.geometry.camera import Intrinsics
from training.datasets.errors import DatasetError
from training.datasets.files import numbers, read_pickle, require_folder, take
from training.datasets.pictures import Picture
from training.datasets.sample import Joints3d, Keypoints2d, PersonSample
from training.datasets.smpl_files import GENDERS, SmplFiles, smpl_pose, world_to_camera

SUBSETS = ("emdb1", "emdb2", "all")


def read_emdb(root: Path, subset: str = "emdb1", smpl: SmplFiles | None = None) -> Iterator[PersonSample]:
    """One sample per good frame with a valid box, in order of subject, sequence, frame.

    smpl: the gendered bodies; without them samples have neither `transl_m` nor `joints_3d` (EMDB stores no joints).
    Raises: DatasetError.
    """
    if subset not in SUBSETS:
        raise DatasetError(f"EMDB has the subsets {', '.join(SUBSETS)}, not {subset!r}")
    paths = sorted(require_folder(root, "EMDB's folder with P0 to P9").glob("P*/*/*_data.pkl"))
    if not paths:
        raise DatasetError(f"{root}: no P*/*/*_data.pkl; expected EMDB's folder")
    for path in paths:
        content = read_pickle(path, "an EMDB sequence")
        if subset == "all" or bool(content.get(subset, False)):
            yield from _read_sequence(path, content, subset, smpl)


def _section(content: Mapping[str, Any], key: str, path: Path) -> Mapping[str, Any]:
    section = content.get(key)
    if not isinstance(section, dict):
        raise DatasetError(f"{path}: expected a dictionary {key!r}")
    return section


def _read_sequence(
    path: Path, content: Mapping[str, Any], subset: str, smpl: SmplFiles | None
) -> Iterator[PersonSample]:
    good = take(content, "good_frames_mask", (None,), path) > 0
    frames = len(good)
    body, camera_of, boxes_of = (_section(content, key, path) for key in ("smpl", "camera", "bboxes"))
    root = take(body, "poses_root", (frames, 3), f"{path}: smpl")
    rest = take(body, "poses_body", (frames, 69), f"{path}: smpl")
    transl = take(body, "trans", (frames, 3), f"{path}: smpl")
    betas = take(body, "betas", (None,), f"{path}: smpl")[:10]
    T_cam_world = take(camera_of, "extrinsics", (frames, 4, 4), f"{path}: camera")
    K = take(camera_of, "intrinsics", (3, 3), f"{path}: camera")
    width, height = (int(take(camera_of, side, (), f"{path}: camera")) for side in ("width", "height"))
    camera = Intrinsics(K[0, 0], K[1, 1], K[0, 2], K[1, 2], (width, height))
    boxes = take(boxes_of, "bboxes", (frames, 4), f"{path}: bboxes")
    usable = good & np.isfinite(boxes).all(1) & (boxes[:, 2:] > boxes[:, :2]).all(1)
    invalid = np.asarray(boxes_of.get("invalid_idxs", ()), np.int64).ravel()
    usable[invalid[(invalid >= 0) & (invalid < frames)]] = False
    points = take(content, "kp2d", (frames, 24, 2), path) if "kp2d" in content else None
    gender = GENDERS.get(str(content.get("gender")))
    if gender is None or len(betas) != 10:
        raise DatasetError(f"{path}: expected a gender and 10 betas, got {content.get('gender')!r}, {len(betas)}")
    pose = smpl_pose(np.concatenate([root, rest], axis=1))
    rest_root = None if smpl is None else smpl.rest_root(gender, betas)
    for frame in np.flatnonzero(usable):
        turned, placed = world_to_camera(pose[frame], transl[frame], T_cam_world[frame], rest_root)
        joints = None
        if smpl is not None and placed is not None:
            _, places = forward_kinematics(turned[None].astype(np.float32), smpl.body(gender).joints(betas[None]))
            joints = Joints3d("smpl-24", places[0] + placed, np.ones(24, bool))
        seen = None
        if points is not None:
            known = np.isfinite(points[frame]).all(-1)
            seen = Keypoints2d("smpl-24", np.nan_to_num(points[frame]), known.astype(np.float64))
        yield PersonSample(
            dataset="emdb",
            split=subset,
            sequence=path.parent.name,
            subject=path.parent.parent.name,
            frame=int(frame),
            picture=Picture(path.parent / "images" / f"{frame:05d}.jpg", labelled_wh=(width, height)),
            image_wh=(width, height),
            xyxy=numbers(boxes[frame], (4,), path),
            camera=camera,
            pose=turned,
            betas=betas,
            body=f"smpl-{gender}",
            transl_m=placed,
            joints_3d=joints,
            keypoints=seen,
        )
