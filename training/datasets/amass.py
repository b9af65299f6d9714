"""AMASS: motion without pictures, `*_poses.npz` or `*_stageii.npz` (Mahmood et al., ICCV 2019).

`poses` (F,156) SMPL+H or (F,165) SMPL-X, axis-angle, world z up; `trans` (F,3) m; `betas` (16,); `gender`;
`mocap_framerate` or `mocap_frame_rate`. The first 22 joints are SMPL's; SMPL's two hand joints have no counterpart and
stay unturned.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from training.datasets.errors import DatasetError
from training.datasets.files import numbers, read_npz, require_folder, take
from training.datasets.sample import PersonSample
from training.datasets.smpl_files import GENDERS, smpl_pose

BODY_NUMBERS = 66


def read_amass(root: Path, fps: float | None = None) -> Iterator[PersonSample]:
    """Frames of all motions below `root`, thinned to about `fps` (a whole number of frames is left out between two).

    `frame` counts in the file's own rate. Raises: DatasetError.
    """
    paths = sorted(p for p in require_folder(root, "AMASS").rglob("*.npz") if p.stem != "shape")
    paths = [p for p in paths if not p.name.endswith("_shape.npz")]
    if not paths:
        raise DatasetError(f"{root}: no motions (*.npz); expected AMASS")
    for path in paths:
        yield from _read_motion(path, path.relative_to(root), fps)


def _read_motion(path: Path, name: Path, fps: float | None) -> Iterator[PersonSample]:
    content = read_npz(path, "an AMASS motion")
    rate_key = "mocap_framerate" if "mocap_framerate" in content else "mocap_frame_rate"
    rate = float(take(content, rate_key, (), path))
    poses = take(content, "poses", (None, None), path)
    if poses.shape[1] < BODY_NUMBERS or not rate > 0:
        raise DatasetError(f"{path}: expected poses (F, 156 or 165) and a frame rate, got {poses.shape}, {rate}")
    transl = take(content, "trans", (len(poses), 3), path)
    betas = take(content, "betas", (None,), path)[:10]
    gender = GENDERS.get(_text(content.get("gender")))
    model = "smplx" if poses.shape[1] == 165 else "smplh"
    step = 1 if fps is None else max(1, round(rate / fps))
    hands = np.zeros(72 - BODY_NUMBERS)
    for frame in range(0, len(poses), step):
        row = np.concatenate([poses[frame, :BODY_NUMBERS], hands])
        yield PersonSample(
            dataset="amass",
            split="train",
            sequence=name.with_suffix("").as_posix(),
            subject=name.parent.as_posix(),
            frame=frame,
            pose=smpl_pose(numbers(row, (72,), path)),
            betas=betas if len(betas) == 10 and gender else None,
            body=f"{model}-{gender}" if gender else None,
            transl_m=transl[frame],
        )


def _text(value: object) -> str:
    item = np.asarray(value).item() if np.size(value) == 1 else value
    return item.decode() if isinstance(item, bytes) else str(item)
