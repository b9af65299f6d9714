"""A rendered motion and what the program's networks say of it, frame by frame, with the true floor and lens."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bodycast.npz import read_npz

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]


@dataclass(frozen=True)
class WatchedMotion:
    """T frames of one person, camera frame (x right, y down, z forward), metres.

    `time_s` (T,) float64; truth: `pose` (T,24,3,3), `transl_m` (T,3), `betas` (10,); `floor` (4,): n.x + d is a point's
    height above the floor; `focal_px` (). Estimates: `saw_pose`, `saw_transl_m`, `saw_betas` (T,10), `score` (T,),
    `keypoints` (T,17,3) px and confidence, all under the focal length `assumed_focal_px` (). `image_wh` (2,).
    """

    time_s: F64
    pose: F32
    transl_m: F32
    betas: F32
    floor: F32
    focal_px: F64
    saw_pose: F32
    saw_transl_m: F32
    saw_betas: F32
    score: F32
    keypoints: F32
    assumed_focal_px: F64
    image_wh: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.time_s)

    def save(self, path: Path) -> None:
        """Write as .npz."""
        np.savez_compressed(path, **{field.name: getattr(self, field.name) for field in fields(self)})

    @staticmethod
    def load(path: Path) -> WatchedMotion:
        """Read what `save` wrote."""
        arrays = read_npz(path)
        return WatchedMotion(**{field.name: arrays[field.name] for field in fields(WatchedMotion)})
