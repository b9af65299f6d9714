"""The .npz label files in which SPIN, BEDLAM and CameraHMR publish data sets: one row a person, columns by name.

SPIN (Kolotouros et al., ICCV 2019): `imgname`, `center` (N,2), `scale` (N,) in units of 200 px, and as available `part`
(N,24,3) 2D joints with confidence, `S` (N,24,4) 3D joints in metres relative to the pelvis with confidence, `pose`
(N,72), `shape` (N,10), `has_smpl` (N,). BEDLAM and AGORA (Black et al., CVPR 2023): `pose_cam` (N,72 for SMPL, 165 for
SMPL-X), `shape`, `trans_cam` (N,3), `cam_ext` (N,4,4), `cam_int` (N,3,3), `gtkps` (N,K,2 or 3) projected joints of the
body model, `sub`; translation in the camera is trans_cam plus the last column of cam_ext. CameraHMR's files: the same
names, `gtkps` (N,44,3) in HMR2.0's 44 joints with confidence. Human3.6M, MPI-INF-3DHP, COCO and MPII come in these too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bodycast.hmr.geometry.camera import Intrinsics
from training.datasets.errors import DatasetError
from training.datasets.files import numbers, read_npz, require_folder, take
from training.datasets.pictures import Picture
from training.datasets.sample import F64, Joints3d, Keypoints2d, PersonSample
from training.datasets.smpl_files import smpl_pose

SCALE_PX = 200.0
SMPLX_BODY = 66  # the first 22 joints of SMPL-X are SMPL's
H36M_NAME = re.compile(r"(S\d+)_(.+?)\.(\d{8})_(\d+)\.\w+$")


def read_labelled_npz(labels: Path, images: Path, dataset: str, split: str = "train") -> Iterator[PersonSample]:
    """One sample per row of `labels`; pictures are `images` / imgname. Raises: DatasetError."""
    content = read_npz(labels, "one of SPIN's or BEDLAM's label files")
    require_folder(images, "the pictures of " + labels.name)
    if "imgname" not in content:
        raise DatasetError(f"{labels}: the key 'imgname' is missing; is it one of SPIN's or BEDLAM's label files?")
    names = [_text(name) for name in content["imgname"]]
    count = len(names)
    centre = take(content, "center", (count, 2), labels)
    scale = numbers(np.asarray(content.get("scale")).reshape(count, -1).max(1), (count,), f"{labels}: scale")
    columns = _columns(content, count, labels)
    for row, name in enumerate(names):
        half = 0.5 * SCALE_PX * scale[row]
        if not half > 0:
            continue
        camera = _camera(columns, row)
        yield PersonSample(
            dataset=dataset,
            split=split,
            **_place(name, content, row),
            # BEDLAM's close-ups are upright pictures that are stored lying; other sets state no sizes to hold them to.
            picture=Picture(
                images / name, labelled_wh=camera.image_wh if camera and dataset == "bedlam" else None, lying=True
            ),
            image_wh=None if camera is None else camera.image_wh,
            xyxy=np.concatenate([centre[row] - half, centre[row] + half]),
            camera=camera,
            **_body(columns, row),
            joints_3d=_joints(columns, row),
            keypoints=_keypoints(columns, row),
        )


def _text(name: object) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)


def _place(name: str, content: dict[str, Any], row: int) -> dict[str, Any]:
    """sequence, subject and frame from what the file says, or from Human3.6M's file names."""
    match = H36M_NAME.search(Path(name).name)
    if match:
        return {"sequence": f"{match[2]}.{match[3]}", "subject": match[1], "frame": int(match[4]) - 1}
    subject = _text(content["sub"][row]) if "sub" in content else str(row)
    return {"sequence": name, "subject": subject, "frame": 0}


def _columns(content: dict[str, Any], count: int, path: Path) -> dict[str, F64]:
    """The columns that are there, checked."""
    shapes: dict[str, tuple[int | None, ...]] = {
        "shape": (count, None), "trans_cam": (count, 3), "cam_ext": (count, 4, 4), "cam_int": (count, 3, 3),
        "part": (count, 24, 3), "S": (count, 24, 4), "has_smpl": (count,), "gtkps": (count, None, None),
    }  # fmt: skip
    columns = {name: take(content, name, shape, path) for name, shape in shapes.items() if name in content}
    pose = "pose_cam" if "pose_cam" in content else "pose"
    if pose in content:
        columns["pose"] = numbers(np.asarray(content[pose]).reshape(count, -1), (count, None), f"{path}: {pose}")
        if columns["pose"].shape[1] != 72 and columns["pose"].shape[1] < SMPLX_BODY:
            raise DatasetError(
                f"{path}: {pose}: expected 72 numbers (SMPL) or 165 (SMPL-X), got {columns['pose'].shape[1]}"
            )
    return columns


def _camera(columns: dict[str, F64], row: int) -> Intrinsics | None:
    if "cam_int" not in columns or columns["cam_int"][row][0, 0] <= 0:
        return None
    K = columns["cam_int"][row]
    return Intrinsics(K[0, 0], K[1, 1], K[0, 2], K[1, 2], (round(2 * K[0, 2]), round(2 * K[1, 2])))


def _body(columns: dict[str, F64], row: int) -> dict[str, Any]:
    if "pose" not in columns or ("has_smpl" in columns and not columns["has_smpl"][row] > 0):
        return {}
    values = columns["pose"][row]
    is_smpl = len(values) == 72
    full = values if is_smpl else np.concatenate([values[:SMPLX_BODY], np.zeros(72 - SMPLX_BODY)])
    if not np.isfinite(full).all():
        return {}
    result: dict[str, Any] = {"pose": smpl_pose(full)}
    if "shape" in columns and np.isfinite(columns["shape"][row]).all() and columns["shape"].shape[1] >= 10:
        result |= {"betas": columns["shape"][row][:10].copy(), "body": "smpl-neutral" if is_smpl else "smplx-neutral"}
    if "trans_cam" in columns and "cam_ext" in columns:
        result["transl_m"] = columns["trans_cam"][row] + columns["cam_ext"][row][:3, 3]
    return result


def _joints(columns: dict[str, F64], row: int) -> Joints3d | None:
    if "S" not in columns:
        return None
    valid = columns["S"][row, :, 3] > 0
    return Joints3d("spin-24", columns["S"][row, :, :3].copy(), valid, absolute=False) if valid.any() else None


def _keypoints(columns: dict[str, F64], row: int) -> Keypoints2d | None:
    if "gtkps" in columns:
        points = columns["gtkps"][row]
        if len(points) == 44:
            return Keypoints2d("hmr2-44", points[:, :2].copy(), points[:, 2].clip(0, 1))
        # Joints of the body model itself, projected: SMPL's 24, or SMPL-X's, of which the first 22 are SMPL's.
        known = min(24 if columns.get("pose", np.empty((0, 72))).shape[1] == 72 else 22, len(points))
        px, confidence = np.zeros((24, 2)), np.zeros(24)
        px[:known], confidence[:known] = points[:known, :2], 1.0
        return Keypoints2d("smpl-24", px, confidence)
    if "part" in columns and (columns["part"][row, :, 2] > 0).any():
        return Keypoints2d("spin-24", columns["part"][row, :, :2].copy(), columns["part"][row, :, 2].clip(0, 1))
    return None
