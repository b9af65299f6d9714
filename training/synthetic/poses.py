"""Motion capture for synthetic people: clips split by subject, and which way a pose faces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
# Subjects never seen in training: varied (02: walk, run, jump, punch), walking (08), football (10).
HELD_OUT_SUBJECTS = ("02", "08", "10")
UPPER_BODY = (3, 6, 9, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23)


def is_held_out(path: Path) -> bool:
    """Whether a clip (`SUBJECT_TRIAL.bvh.gz`) belongs to the test subjects."""
    return path.name.split("_")[0] in HELD_OUT_SUBJECTS


def split_files(folder: Path, split: str) -> list[Path]:
    """The clips of a split, `train` or `test`, in name order. Raises ValueError where there is none."""
    if split not in ("train", "test"):
        raise ValueError(f"split: expected train or test, got {split!r}")
    files = sorted(p for p in folder.glob("*.bvh*") if is_held_out(p) == (split == "test"))
    if not files:
        raise ValueError(f"no .bvh or .bvh.gz clip of the {split} split in {folder}")
    return files


def heading_rad(root: F32) -> NDArray[np.floating]:
    """Yaw about +y of the direction that a root rotation (..., 3, 3) turns +z to; rad."""
    return np.arctan2(root[..., 0, 2], root[..., 2, 2])
