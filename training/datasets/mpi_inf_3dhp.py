"""MPI-INF-3DHP (Mehta et al., 3DV 2017). Train: `S1/Seq1/annot.mat`, `camera.calibration`, and frames as
`imageFrames/video_0/frame_000001.jpg` or the original `imageSequence/video_0.avi`. Test: `TS1/annot_data.mat` (MATLAB
7.3), `TS1/imageSequence/img_000001.jpg`.

annot.mat holds, per camera of 14, `annot2` (F,56) px and `annot3` (F,84) mm in the camera's frame, 28 joints.
annot_data.mat holds `annot2` (F,1,17,2), `annot3` and `univ_annot3` (F,1,17,3) mm, `valid_frame` (F,).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bodycast.hmr.geometry.boxes import from_points
from bodycast.hmr.geometry.camera import Intrinsics
from training.datasets.errors import DatasetError
from training.datasets.files import numbers, require_file, require_folder
from training.datasets.optional import require
from training.datasets.pictures import Picture
from training.datasets.sample import F64, Bools, Joints3d, Keypoints2d, PersonSample

# The eight cameras at chest height and around; the others look from the ceiling.
CAMERAS = (0, 1, 2, 4, 5, 6, 7, 8)
TRAIN_WH = (2048, 2048)
TEST_WH = {"TS5": (1920, 1080), "TS6": (1920, 1080)}
BOX_PADDING = 0.1


def read_3dhp_train(
    root: Path, subjects: Sequence[str] = tuple(f"S{i}" for i in range(1, 9)), every: int = 10,
    cameras: Sequence[int] = CAMERAS,
) -> Iterator[PersonSample]:  # fmt: skip
    """Every `every`-th frame of the cameras whose pictures are there. Raises: DatasetError."""
    require_folder(root, "MPI-INF-3DHP with S1, S2, ...")
    found = False
    for subject in subjects:
        for path in sorted((root / subject).glob("Seq*/annot.mat")):
            found = True
            yield from _read_sequence(path, subject, every, cameras)
    if not found:
        raise DatasetError(f"{root}: no S*/Seq*/annot.mat; expected MPI-INF-3DHP's training folders")


def _read_sequence(path: Path, subject: str, every: int, cameras: Sequence[int]) -> Iterator[PersonSample]:
    annot2, annot3 = _load_cells(path)
    lenses = read_calibration(path.parent / "camera.calibration")
    pictured = [camera for camera in cameras if camera < len(annot2) and _picture(path.parent, camera, 0) is not None]
    if not pictured:
        raise DatasetError(f"{path.parent}: no pictures: expected imageFrames/video_0/ or imageSequence/video_0.avi")
    for camera in pictured:
        flat = numbers(annot2[camera], (None, 56), f"{path}: annot2 of camera {camera}")
        deep = numbers(annot3[camera], (len(flat), 84), f"{path}: annot3 of camera {camera}")
        points, joints = flat.reshape(-1, 28, 2), deep.reshape(-1, 28, 3) / 1000.0
        for frame in range(0, len(flat), every):
            yield PersonSample(
                dataset="mpi-inf-3dhp",
                split="train",
                sequence=f"{path.parent.name}.{camera}",
                subject=subject,
                frame=frame,
                picture=_picture(path.parent, camera, frame),
                image_wh=TRAIN_WH,
                xyxy=from_points(points[frame], padding=BOX_PADDING),
                camera=lenses.get(camera),
                joints_3d=Joints3d("mpi-inf-3dhp-28", joints[frame], np.ones(28, bool)),
                keypoints=Keypoints2d("mpi-inf-3dhp-28", points[frame], np.ones(28)),
            )


def _load_cells(path: Path) -> tuple[list[Any], list[Any]]:
    loadmat = require("scipy.io").loadmat
    try:
        content = loadmat(require_file(path, "MPI-INF-3DHP's annot.mat"))
        return list(content["annot2"].ravel()), list(content["annot3"].ravel())
    except (KeyError, ValueError, NotImplementedError, OSError) as error:
        raise DatasetError(f"{path}: not MPI-INF-3DHP's annot.mat ({error})") from error


def _picture(folder: Path, camera: int, frame: int) -> Picture | None:
    frames = folder / "imageFrames" / f"video_{camera}"
    if frames.is_dir():
        return Picture(frames / f"frame_{frame + 1:06d}.jpg")
    video = folder / "imageSequence" / f"video_{camera}.avi"
    return Picture(video, frame=frame) if video.is_file() else None


def read_calibration(path: Path) -> dict[int, Intrinsics]:
    """Cameras of a `camera.calibration` by number; empty where there is no such file. Raises: DatasetError."""
    if not path.is_file():
        return {}
    cameras: dict[int, Intrinsics] = {}
    for block in re.split(r"^name\s+", path.read_text(encoding="utf-8", errors="replace"), flags=re.MULTILINE)[1:]:
        number = re.match(r"\d+", block)
        size, lens = (re.search(rf"^\s*{key}\s+(.+)$", block, re.MULTILINE) for key in ("size", "intrinsic"))
        if number is None or size is None or lens is None:
            raise DatasetError(f"{path}: expected a camera's name, size and intrinsic, got {block[:40]!r}")
        K = numbers(lens[1].split(), (16,), f"{path}: intrinsic").reshape(4, 4)
        width, height = numbers(size[1].split(), (2,), f"{path}: size").astype(int).tolist()
        cameras[int(number[0])] = Intrinsics(K[0, 0], K[1, 1], K[0, 2], K[1, 2], (width, height))
    return cameras


def read_3dhp_test(root: Path) -> Iterator[PersonSample]:
    """The valid frames of TS1 to TS6; their cameras are not published with them. Raises: DatasetError."""
    paths = sorted(require_folder(root, "MPI-INF-3DHP's test set with TS1, ...").glob("TS*/annot_data.mat"))
    if not paths:
        raise DatasetError(f"{root}: no TS*/annot_data.mat; expected MPI-INF-3DHP's test set")
    for path in paths:
        points, joints, valid = _load_test(path)
        subject = path.parent.name
        wh = TEST_WH.get(subject, TRAIN_WH)
        for frame in np.flatnonzero(valid):
            yield PersonSample(
                dataset="mpi-inf-3dhp",
                split="test",
                sequence=subject,
                subject=subject,
                frame=int(frame),
                picture=Picture(path.parent / "imageSequence" / f"img_{frame + 1:06d}.jpg"),
                image_wh=wh,
                xyxy=from_points(points[frame], padding=BOX_PADDING),
                joints_3d=Joints3d("mpi-inf-3dhp-17", joints[frame] / 1000.0, np.ones(17, bool)),
                keypoints=Keypoints2d("mpi-inf-3dhp-17", points[frame], np.ones(17)),
            )


def _load_test(path: Path) -> tuple[F64, F64, Bools]:
    h5py = require("h5py")
    try:
        with h5py.File(path, "r") as stored:
            valid = np.asarray(stored["valid_frame"][()], np.float64).ravel()
            points, joints = (np.asarray(stored[key][()], np.float64) for key in ("annot2", "annot3"))
    except (OSError, KeyError) as error:
        raise DatasetError(f"{path}: not MPI-INF-3DHP's annot_data.mat ({error})") from error
    count = len(valid)
    return (
        numbers(points, (count, 1, 17, 2), f"{path}: annot2")[:, 0],
        numbers(joints, (count, 1, 17, 3), f"{path}: annot3")[:, 0],
        valid > 0,
    )
