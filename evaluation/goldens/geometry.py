"""Geometry files: rotations, cameras, Procrustes and acceleration of 4D-Humans, CLIFF and WHAM."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bodycast.hmr.geometry import camera, crop, metrics, procrustes, rotations
from evaluation.goldens.record import Answers, Golden

# ImageNet statistics on the 0..255 scale, RGB.
_MEAN = 255 * np.array([0.485, 0.456, 0.406])
_STD = 255 * np.array([0.229, 0.224, 0.225])
# Boxes beyond this size are blurred by the official loader before they are cropped.
_BLUR_ABOVE_PX = 1.1 * 2 * 256
# CLIFF's detector boxes get this margin on top of the common rule (its demo code).
_CLIFF_MARGIN = 1.1


def run(golden: Golden) -> Answers:
    """Rotations, projection, alignment, accelerations, CLIFF's camera."""
    g = golden.array

    def projected() -> NDArray[Any]:
        points = g("points") + g("translation")[:, None]
        return camera.project(points, g("focal")[:, None], g("camera_center")[:, None])

    def speed_change() -> NDArray[Any]:
        return np.linalg.norm(metrics.acceleration(g("joints_pred")), axis=-1).mean(axis=-1)

    def speed_error(*visible: NDArray[Any]) -> NDArray[Any]:
        return metrics.acceleration_error_mm(g("joints_pred"), g("joints_gt"), *visible) / metrics.MM

    return {
        "rotmat_hmr2_rows": lambda: rotations.rotation_6d_to_matrix(g("rot6d")),
        "rotmat_spin_columns": lambda: rotations.spin_rotation_6d_to_matrix(g("rot6d")),
        "rotmat_axis_angle": lambda: rotations.axis_angle_to_matrix(g("axis_angle")),
        "rotmat_quat": lambda: rotations.quaternion_to_matrix(g("quat")),
        "projected": projected,
        "procrustes_S1_hat": lambda: procrustes.align(g("S1"), g("S2")),
        "pa_error": lambda: metrics.pa_mpjpe_mm(g("S1"), g("S2")) / metrics.MM,
        "eval_mpjpe_mm": lambda: metrics.mpjpe_mm(g("S1"), g("S2")),
        "eval_pampjpe_mm": lambda: metrics.pa_mpjpe_mm(g("S1"), g("S2")),
        "accel_pred": speed_change,
        "accel_error": speed_error,
        "accel_error_vis": lambda: speed_error(g("vis").astype(bool)),
        **_cliff(golden),
    }


def _cliff(golden: Golden) -> Answers:
    """CLIFF's focal length, box and camera."""
    g = golden.array

    @cache
    def box() -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        centre, side = crop.hmr_square(g("box"))
        return camera.cliff_focal(g("img_wh")), centre, _CLIFF_MARGIN * side

    def info() -> NDArray[Any]:
        focal, centre, size = box()
        offset = centre - g("img_wh") / 2
        return np.stack(
            [2.8 * offset[:, 0] / focal, 2.8 * offset[:, 1] / focal, (size - 0.24 * focal) / (0.06 * focal)], axis=-1
        )

    def full() -> NDArray[Any]:
        focal, centre, size = box()
        return camera.cam_crop_to_full(g("cam"), centre, size, g("img_wh"), focal)

    return {
        "cliff_focal": lambda: box()[0],
        "cliff_center": lambda: box()[1],
        "cliff_scale": lambda: box()[2] / 200,
        "cliff_bbox_info": info,
        "cliff_cam_full": full,
    }


def run_crop_camera(golden: Golden) -> Answers:
    """Crop camera to full image, with the default focal length and with the demo's."""
    g = golden.array

    def focal() -> NDArray[Any]:
        return camera.hmr2_demo_focal(g("img_size"))

    def full(focal_px: NDArray[Any] | float) -> NDArray[Any]:
        return camera.cam_crop_to_full(g("cam"), g("box_center"), g("box_size"), g("img_size"), focal_px)

    return {
        "full_cam_focal5000": lambda: full(camera.HMR2_CROP_FOCAL_PX),
        "focal_scaled": focal,
        "full_cam_scaled": lambda: full(focal()),
        "full_cam_batchfocal": lambda: full(focal().max()),
    }


def run_crop(golden: Golden) -> Answers:
    """Box to square, and the pixels of the square as the official loader samples them."""
    g = golden.array

    @cache
    def squares() -> tuple[NDArray[Any], NDArray[Any]]:
        return crop.hmr_square(g("boxes"))

    def transforms() -> list[crop.CropTransform]:
        return crop.crop_transforms(g("boxes"), (256, 256))

    def image_size() -> NDArray[Any]:
        height, width = g("image_bgr").shape[:2]
        return np.broadcast_to(np.array([width, height], np.float32), (len(g("boxes")), 2))

    def pixels() -> NDArray[Any]:
        crops = [_sample(g("image_bgr"), transform) for transform in transforms()]
        return np.stack([(pixels[..., ::-1] - _MEAN) / _STD for pixels in crops]).transpose(0, 3, 1, 2)

    return {
        "box_center": lambda: squares()[0],
        "box_size": lambda: squares()[1],
        "img_size": image_size,
        "affine": lambda: np.stack([transform.image_to_crop for transform in transforms()]),
        "img": pixels,
    }


def _sample(image: NDArray[Any], transform: crop.CropTransform) -> NDArray[Any]:
    """Our affine matrix through OpenCV.

    A crop that the loader blurs first is interpolated in floating point there, so ours is the exact bilinear one.
    """
    import cv2

    if transform.size_px <= _BLUR_ABOVE_PX:
        return cv2.warpAffine(image, transform.image_to_crop, (256, 256), flags=cv2.INTER_LINEAR)
    sigma = (transform.size_px / 512 - 1) / 2
    kernel = 2 * int(4 * sigma + 0.5) + 1
    blurred = cv2.GaussianBlur(image.astype(np.float64), (kernel, kernel), sigma, borderType=cv2.BORDER_REPLICATE)
    return crop.sample_crop(blurred, transform)
