"""Cameras, people before them, crops of their pictures, and the exact answer about each crop."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bodycast.hmr.geometry.camera import cam_full_to_crop, focal_from_fov
from bodycast.hmr.geometry.crop import hmr_square
from bodycast.hmr.geometry.crop_ray import rotation_to_ray
from bodycast.hmr.geometry.rotations import axis_angle_to_matrix
from training.synthetic.window import Window

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
Rng = np.random.Generator
CROP_HW = (256, 192)
FLIP_YZ = np.diag([1.0, -1.0, -1.0]).astype(np.float32)


@dataclass(frozen=True)
class Camera:
    """`rotation` (3, 3) world (y up) -> camera; focal and picture size in px."""

    rotation: F32
    focal_px: float
    image_wh: tuple[int, int]


def held_camera(pitch_rad: float, roll_rad: float, fov_deg: float, image_wh: tuple[int, int]) -> Camera:
    """A camera without yaw (people turn instead), tilted by `pitch_rad` (below 0 it looks up), then rolled; `fov_deg`
    over the diagonal."""
    tilt = axis_angle_to_matrix(np.array([pitch_rad, 0, 0], np.float32))
    bank = axis_angle_to_matrix(np.array([0, 0, roll_rad], np.float32))
    focal_px = float(focal_from_fov(np.deg2rad(fov_deg), image_wh))
    return Camera((bank @ tilt @ FLIP_YZ).astype(np.float32), focal_px, image_wh)


@dataclass(frozen=True)
class Placed:
    """A person in front of a camera. `pose` root in the camera frame; `vertices`, `joints` camera frame, m."""

    pose: F32
    betas: F32
    transl_m: F32
    vertices: F32
    joints: F32


@dataclass(frozen=True)
class CropLabel:
    """What the network has to say about a crop, and what is needed to compare it in the picture.

    `pose` (24, 3, 3): root relative to the ray through the crop's centre (see docs/conventions.md), the rest as always.
    `camera` (3,): s, tx, ty that `cam_crop_to_full` turns into the true translation. `joints` (24, 3) camera frame, m.
    """

    pose: F32
    betas: F32
    camera: F32
    joints: F32
    centre_px: F32
    size_px: float
    focal_px: float
    image_wh: tuple[int, int]

    def as_row(self, pixels: U8, parts: U8, score: float) -> dict[str, NDArray[np.generic]]:
        """The crop and its label as the arrays of `chunk.FIELDS`."""
        return {
            "pixels": pixels, "parts": parts, "pose": self.pose, "betas": self.betas, "camera": self.camera,
            "joints": self.joints, "centre_px": self.centre_px, "size_px": np.float32(self.size_px),
            "focal_px": np.float32(self.focal_px), "image_wh": np.asarray(self.image_wh, np.float32),
            "score": np.float32(score),
        }  # fmt: skip


def project(points: F32, camera: Camera) -> F32:
    """(..., 3) camera frame -> (..., 2) px; points behind the camera land far outside."""
    z = np.maximum(points[..., 2:], 1e-3)
    return points[..., :2] / z * camera.focal_px + np.array(camera.image_wh, np.float32) / 2


def jittered_square(rng: Rng, xyxy: F32, strength: float = 1.0) -> tuple[F32, float]:
    """Centre and side of a crop as a detector or a follower would cut it: shifted and scaled at random."""
    centre, side = hmr_square(xyxy[None])
    scale = np.exp(np.clip(rng.normal(0.06, 0.11 * strength), -0.3, 0.5))
    shift = rng.normal(0, 0.045 * strength, 2) * side[0]
    return (centre[0] + shift).astype(np.float32), float(side[0] * scale)


def crop_window(centre_px: F32, size_px: float, camera: Camera, hw: tuple[int, int] = CROP_HW) -> Window:
    """The rectangle that HMR2.0's crop rule reads for this square."""
    scale = size_px / hw[0]
    u0 = (camera.image_wh[0] / 2 - centre_px[0]) / scale + hw[1] / 2
    v0 = (camera.image_wh[1] / 2 - centre_px[1]) / scale + hw[0] / 2
    return Window(camera.focal_px / scale, float(u0), float(v0), hw[1], hw[0])


def crop_label(placed: Placed, camera: Camera, centre_px: F32, size_px: float) -> CropLabel:
    """The exact answer for the crop cut around `centre_px`."""
    centre = np.asarray(camera.image_wh, np.float32) / 2
    ray = np.append((centre_px - centre) / camera.focal_px, 1.0).astype(np.float32)
    pose = placed.pose.copy()
    pose[0] = rotation_to_ray(ray).T @ pose[0]
    cam = cam_full_to_crop(
        placed.transl_m[None], centre_px[None], np.array([size_px], np.float32),
        np.array(camera.image_wh, np.float32), np.float32(camera.focal_px),
    )  # fmt: skip
    return CropLabel(
        pose=pose, betas=placed.betas, camera=np.asarray(cam[0], np.float32), joints=placed.joints,
        centre_px=centre_px, size_px=size_px, focal_px=camera.focal_px, image_wh=camera.image_wh,
    )  # fmt: skip


def black_outside(pixels: U8, parts: U8, centre: F32, size: float, camera: Camera) -> None:
    """Blacken, in place, what lies outside the picture, as the crop rule's zero border does."""
    height, width = CROP_HW
    scale = size / height
    for image, stride in ((pixels, 1), (parts, height // parts.shape[0])):
        u = centre[0] + ((np.arange(image.shape[1]) + 0.5) * stride - 0.5 - width / 2) * scale
        v = centre[1] + ((np.arange(image.shape[0]) + 0.5) * stride - 0.5 - height / 2) * scale
        image[:, (u < -0.5) | (u > camera.image_wh[0] - 0.5)] = 0
        image[(v < -0.5) | (v > camera.image_wh[1] - 0.5)] = 0
