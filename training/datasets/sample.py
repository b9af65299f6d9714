"""One labelled person in one picture, whichever data set it comes from. What is not labelled is None, never zeros."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bodycast.hmr.geometry.camera import Intrinsics
from training.datasets.joint_sets import JOINT_SETS
from training.datasets.pictures import Picture

F64 = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Keypoints2d:
    """Labelled points in the picture: `px` (K,2) float64, pixels of the picture; `confidence` (K,) float64, 0 for a
    point without a label, 1 for a certain one. K and the order are those of `joint_set` (joint_sets.JOINT_SETS)."""

    joint_set: str
    px: F64
    confidence: F64

    def __post_init__(self) -> None:
        count = len(JOINT_SETS[self.joint_set])
        _check("Keypoints2d.px", self.px, (count, 2))
        _check("Keypoints2d.confidence", self.confidence, (count,))


@dataclass(frozen=True, slots=True)
class Joints3d:
    """Labelled joints in space: `m` (K,3) float64, metres, camera frame (x right, y down, z forward); `valid` (K,).

    absolute: places in front of the camera; False where the data set gives them relative to the pelvis only."""

    joint_set: str
    m: F64
    valid: Bools
    absolute: bool = True

    def __post_init__(self) -> None:
        count = len(JOINT_SETS[self.joint_set])
        _check("Joints3d.m", self.m, (count, 3))
        _check("Joints3d.valid", self.valid, (count,))


@dataclass(frozen=True, slots=True)
class PersonSample:
    """One person in one picture.

    dataset, split, sequence, subject: names, for protocols and held-out subjects; frame: index in the sequence.
    picture: None for motion without pictures (AMASS). image_wh: width and height, px. xyxy (4,) float64: box, px.
    camera: intrinsics of the picture. pose (24,3,3) float64: SMPL's rotations, root in the camera's frame (in the
    data set's own frame where there is no camera). betas (10,) in the basis of `body`; transl_m (3,): SMPL's
    translation in the frame of the pose.
    """

    dataset: str
    split: str
    sequence: str
    subject: str
    frame: int
    picture: Picture | None = None
    image_wh: tuple[int, int] | None = None
    xyxy: F64 | None = None
    camera: Intrinsics | None = None
    pose: F64 | None = None
    betas: F64 | None = None
    body: str | None = None
    transl_m: F64 | None = None
    joints_3d: Joints3d | None = None
    keypoints: Keypoints2d | None = None

    def __post_init__(self) -> None:
        for name, shape in {"xyxy": (4,), "pose": (24, 3, 3), "betas": (10,), "transl_m": (3,)}.items():
            value = getattr(self, name)
            if value is not None:
                _check(f"PersonSample.{name}", value, shape)
        if self.betas is not None and self.body is None:
            raise ValueError("PersonSample: betas without the name of their body mean nothing")

    @property
    def present(self) -> tuple[str, ...]:
        """Names of the labels that are there, for tables and masks."""
        names = ("picture", "xyxy", "camera", "pose", "betas", "transl_m", "joints_3d", "keypoints")
        return tuple(name for name in names if getattr(self, name) is not None)

    @property
    def key(self) -> str:
        """What tells this sample from all others of its data set."""
        return f"{self.dataset}/{self.split}/{self.sequence}/{self.subject}/{self.frame}"


def _check(name: str, array: NDArray[np.generic], shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}, got {array.shape}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"{name}: holds values that are not finite; leave what is not labelled out (None, valid, 0)")
