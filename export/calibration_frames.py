"""Crops that the search for layers looks at: a folder of pictures, or a crop set with labels.

A crop set is what `python -m training.datasets.as_crops` or `training.synthetic.generate` writes (pixels.npy,
joints.npy and others, meta.json). Of a folder of pictures each shows one person and is padded to the crop's aspect.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from bodycast.hmr.body.joints import NUM_JOINTS
from bodycast.hmr.geometry.crop_ray import crop_ray_rotation
from bodycast.npz import map_npy

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]
PICTURES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")
FEWEST_LABELLED = 8
"""Fewer labelled crops than this decide nothing."""


@dataclass(frozen=True)
class CalibrationFrames:
    """crops (N,h,w,3) uint8 RGB. joints_m (N,24,3) float32: labelled, from the pelvis, in the frame that was asked for;
    None where they are not known. box_info (N,3) float32: CameraHMR's (`camera_box_information`)."""

    crops: U8
    joints_m: F32 | None
    box_info: F32

    def __len__(self) -> int:
        return len(self.crops)


def read_frames(path: Path, image_hw: tuple[int, int], limit: int, *, crop_ray: bool) -> CalibrationFrames:
    """At most `limit` frames of a folder, spread over it. crop_ray: the labels' frame is the crop's, not the camera's.

    Raises: FileNotFoundError; ValueError, one line, where there is nothing that can be used.
    """
    if not path.is_dir():
        raise FileNotFoundError(f"no folder {path}")
    if limit < 1:
        raise ValueError(f"--limit: expected 1 or more, got {limit}")
    if (path / "pixels.npy").is_file():
        return _crop_set(path, image_hw, limit, crop_ray)
    files = sorted(file for file in path.iterdir() if file.suffix.lower() in PICTURES)
    if not files:
        raise ValueError(f"{path}: neither pictures ({', '.join(PICTURES)}) nor a crop set (pixels.npy)")
    crops: list[U8] = []
    boxes: list[tuple[float, float, float]] = []
    for index in _spread(len(files), limit):
        picture = cv2.imread(str(files[index]))
        if picture is None:
            raise ValueError(f"{files[index]}: no picture that can be read")
        crop, side = _padded(np.asarray(picture, np.uint8), image_hw)
        crops.append(crop)
        boxes.append((0.0, 0.0, side / float(np.hypot(*picture.shape[:2]))))
    return CalibrationFrames(np.stack(crops), None, np.array(boxes, np.float32))


def crop_of(path: Path, image_hw: tuple[int, int]) -> U8:
    """(h,w,3) uint8 RGB: a picture of one person, whole, padded to the crop's aspect. Raises: ValueError."""
    picture = cv2.imread(str(path))
    if picture is None:
        raise ValueError(f"{path}: no picture that can be read")
    return _padded(np.asarray(picture, np.uint8), image_hw)[0]


def _crop_set(path: Path, image_hw: tuple[int, int], limit: int, crop_ray: bool) -> CalibrationFrames:
    def load(name: str) -> NDArray[np.generic]:
        try:
            return map_npy(path / f"{name}.npy")
        except (OSError, ValueError) as error:
            raise ValueError(f"{path}: no crop set: {name}.npy: {error}") from error

    pixels, score = load("pixels"), np.asarray(load("score"))
    good = score > 0.5
    if not good.any():
        raise ValueError(f"{path}: no crop that shows a person")
    labelled = good.copy()
    if (path / "known_joints.npy").is_file():
        labelled &= (np.asarray(load("known_joints")) > 0).all(1)
    by_label = int(labelled.sum()) >= FEWEST_LABELLED
    rows = np.flatnonzero(labelled if by_label else good)
    rows = rows[_spread(len(rows), limit)]
    crops = np.stack([_resized(np.asarray(pixels[row], np.uint8), image_hw) for row in rows])
    centre, size, focal, wh = (
        np.asarray(load(name)[rows], np.float64) for name in ("centre_px", "size_px", "focal_px", "image_wh")
    )
    box = np.concatenate([(centre - wh / 2) / focal[:, None], (size / focal)[:, None]], axis=1).astype(np.float32)
    if not by_label:
        return CalibrationFrames(crops, None, box)
    joints = np.asarray(load("joints")[rows], np.float64)
    if joints.shape[1:] != (NUM_JOINTS, 3):
        raise ValueError(f"{path}: joints.npy: expected (N,{NUM_JOINTS},3), got {joints.shape}")
    joints = joints - joints[:, :1]
    if crop_ray:
        joints = joints @ crop_ray_rotation(centre, focal, wh / 2)  # rows: the rotation's transpose applied to each
    return CalibrationFrames(crops, joints.astype(np.float32), box)


def _spread(count: int, limit: int) -> NDArray[np.intp]:
    return np.linspace(0, count - 1, min(count, limit)).round().astype(np.intp)


def _padded(picture: U8, image_hw: tuple[int, int]) -> tuple[U8, float]:
    """The picture (H,W,3) BGR whole in a crop, RGB, and the crop's height in pixels of the picture."""
    height, width = picture.shape[:2]
    tall = max(height, round(width * image_hw[0] / image_hw[1]))
    wide = max(width, round(height * image_hw[1] / image_hw[0]))
    top, left = (tall - height) // 2, (wide - width) // 2
    whole = cv2.copyMakeBorder(
        picture, top, tall - height - top, left, wide - width - left, cv2.BORDER_CONSTANT, value=(0, 0, 0)
    )
    return _resized(np.asarray(cv2.cvtColor(whole, cv2.COLOR_BGR2RGB), np.uint8), image_hw), float(tall)


def _resized(crop: U8, image_hw: tuple[int, int]) -> U8:
    if crop.shape[:2] == tuple(image_hw):
        return crop
    return np.asarray(cv2.resize(crop, image_hw[::-1], interpolation=cv2.INTER_AREA), np.uint8)
