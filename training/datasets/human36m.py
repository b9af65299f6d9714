"""Human3.6M in the two preprocessed layouts that are common (Ionescu et al., PAMI 2014; the originals are CDF files).

- SPIN's files (`h36m_valid_protocol1.npz`, ..., `labelled_npz`): every fifth frame, joints relative to the pelvis.
- h36m-fetch's folders: `S9/Directions-1/annot.h5` and `imageSequence/54138969/img_000001.jpg`; in annot.h5 `pose/2d`
  (N,32,2) px, `pose/3d` (N,32,3) mm in the camera's frame, `camera` (N,), `frame` (N,) from 1, `intrinsics/CAMERA`
  (fx, cx, fy, cy).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bodycast.hmr.geometry.boxes import from_points
from bodycast.hmr.geometry.camera import Intrinsics
from training.datasets.errors import DatasetError
from training.datasets.files import numbers, require_folder
from training.datasets.joint_sets import H36M_17_OF_32
from training.datasets.labelled_npz import read_labelled_npz
from training.datasets.optional import require
from training.datasets.pictures import Picture
from training.datasets.sample import Joints3d, Keypoints2d, PersonSample

TRAIN_SUBJECTS = ("S1", "S5", "S6", "S7", "S8")
TEST_SUBJECTS = ("S9", "S11")
FRONT_CAMERA = "60457274"
IMAGE_WH = (1000, 1000)
BOX_PADDING = 0.15  # joints end at wrists, ankles and the forehead


def read_human36m_npz(labels: Path, images: Path, split: str) -> Iterator[PersonSample]:
    """SPIN's layout. Raises: DatasetError."""
    return read_labelled_npz(labels, images, "human36m", split)


def read_human36m_folders(
    root: Path, subjects: tuple[str, ...], split: str, every: int = 1, cameras: tuple[str, ...] = ()
) -> Iterator[PersonSample]:
    """h36m-fetch's layout: every `every`-th frame (numbers 1, 1 + every, ...) of the cameras given, or of all.

    Raises: DatasetError.
    """
    require_folder(root, "h36m-fetch's `processed` folder with S1, S5, ...")
    found = False
    for subject in subjects:
        for path in sorted((root / subject).glob("*/annot.h5")):
            found = True
            yield from _read_action(path, subject, split, every, cameras)
    if not found:
        raise DatasetError(f"{root}: no {'/'.join(subjects)}/ACTION/annot.h5; expected h36m-fetch's folders")


def _read_action(path: Path, subject: str, split: str, every: int, cameras: tuple[str, ...]) -> Iterator[PersonSample]:
    h5py = require("h5py")
    try:
        with h5py.File(path, "r") as stored:
            content: dict[str, Any] = {key: stored[key][()] for key in ("pose/2d", "pose/3d", "camera", "frame")}
            lenses = {str(name): stored["intrinsics"][name][()] for name in stored["intrinsics"]}
    except (OSError, KeyError) as error:
        raise DatasetError(f"{path}: not one of h36m-fetch's annot.h5 ({error})") from error
    count = len(content["frame"])
    points = numbers(content["pose/2d"], (count, 32, 2), f"{path}: pose/2d")[:, H36M_17_OF_32]
    joints = numbers(content["pose/3d"], (count, 32, 3), f"{path}: pose/3d")[:, H36M_17_OF_32] / 1000.0
    for row in range(count):
        number, camera_name = int(content["frame"][row]), str(int(content["camera"][row]))
        if (number - 1) % every or (cameras and camera_name not in cameras):
            continue
        if camera_name not in lenses:
            raise DatasetError(f"{path}: intrinsics: camera {camera_name} is missing")
        fx, cx, fy, cy = (float(v) for v in numbers(lenses[camera_name], (4,), f"{path}: intrinsics"))
        yield PersonSample(
            dataset="human36m",
            split=split,
            sequence=f"{path.parent.name}.{camera_name}",
            subject=subject,
            frame=number - 1,
            picture=Picture(path.parent / "imageSequence" / camera_name / f"img_{number:06d}.jpg"),
            image_wh=IMAGE_WH,
            xyxy=from_points(points[row], padding=BOX_PADDING),
            camera=Intrinsics(fx, fy, cx, cy, IMAGE_WH),
            joints_3d=Joints3d("h36m-17", joints[row], np.ones(17, bool)),
            keypoints=Keypoints2d("h36m-17", points[row], np.ones(17)),
        )
