"""Geometry files: rotations, cameras, Procrustes and acceleration of 4D-Humans, CLIFF and WHAM."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation import metrics
from evaluation.goldens.record import Golden, Ours
from hmr.geometry import camera, crop, procrustes, rotations

Answers = dict[str, "NDArray[Any] | Ours"]

# ImageNet statistics on the 0..255 scale, RGB.
_MEAN = 255 * np.array([0.485, 0.456, 0.406])
_STD = 255 * np.array([0.229, 0.224, 0.225])
# Boxes beyond this size are blurred by the official loader before they are cropped.
_BLUR_ABOVE_PX = 1.1 * 2 * 256


def run(golden: Golden) -> Answers:
    """Rotations, projection, alignment, accelerations, CLIFF's camera."""
    g = golden.inputs
    focal = camera.cliff_focal(g["img_wh"])
    centre, side = crop.hmr_square(g["box"])
    # CLIFF's detector boxes get a margin of 1.1 on top of the common rule (PAPERS 8, item 7).
    size = 1.1 * side
    info = np.stack(
        [
            2.8 * (centre[:, 0] - g["img_wh"][:, 0] / 2) / focal,
            2.8 * (centre[:, 1] - g["img_wh"][:, 1] / 2) / focal,
            (size - 0.24 * focal) / (0.06 * focal),
        ],
        axis=-1,
    )
    predicted, truth = g["joints_pred"], g["joints_gt"]
    points = g["points"] + g["translation"][:, None]
    second = metrics.acceleration(predicted)
    return {
        "rotmat_hmr2_rows": rotations.rotation_6d_to_matrix(g["rot6d"]),
        "rotmat_spin_columns": rotations.spin_rotation_6d_to_matrix(g["rot6d"]),
        "rotmat_axis_angle": rotations.axis_angle_to_matrix(g["axis_angle"]),
        "rotmat_quat": rotations.quaternion_to_matrix(g["quat"]),
        "projected": camera.project(points, g["focal"][:, None], g["camera_center"][:, None]),
        "procrustes_S1_hat": procrustes.align(g["S1"], g["S2"]),
        "pa_error": metrics.pa_mpjpe_mm(g["S1"], g["S2"]) / metrics.MM,
        "eval_mpjpe_mm": metrics.mpjpe_mm(g["S1"], g["S2"]),
        "eval_pampjpe_mm": metrics.pa_mpjpe_mm(g["S1"], g["S2"]),
        "accel_pred": np.linalg.norm(second, axis=-1).mean(axis=-1),
        "accel_error": metrics.acceleration_error_mm(predicted, truth) / metrics.MM,
        "accel_error_vis": metrics.acceleration_error_mm(predicted, truth, g["vis"]) / metrics.MM,
        "cliff_focal": focal,
        "cliff_center": centre,
        "cliff_scale": size / 200,
        "cliff_bbox_info": info,
        "cliff_cam_full": camera.cam_crop_to_full(g["cam"], centre, size, g["img_wh"], focal),
    }


def run_crop_camera(golden: Golden) -> Answers:
    """Crop camera to full image, with the default focal length and with the demo's."""
    g = golden.inputs
    args = (g["cam"], g["box_center"], g["box_size"], g["img_size"])
    focal = camera.hmr2_demo_focal(g["img_size"])
    return {
        "full_cam_focal5000": camera.cam_crop_to_full(*args, camera.HMR2_CROP_FOCAL_PX),
        "focal_scaled": focal,
        "full_cam_scaled": camera.cam_crop_to_full(*args, focal),
        "full_cam_batchfocal": camera.cam_crop_to_full(*args, focal.max()),
    }


def run_crop(golden: Golden) -> Answers:
    """Box to square, and the pixels of the square: our affine matrix through OpenCV, as the official loader samples.

    A crop that the loader blurs first is interpolated in floating point there, so ours is the exact bilinear one.
    """
    import cv2

    image = golden.inputs["image_bgr"]
    centre, size = crop.hmr_square(golden.inputs["boxes"])
    transforms = crop.crop_transforms(golden.inputs["boxes"], (256, 256))
    pixels: list[NDArray[Any]] = []
    for transform in transforms:
        if transform.size_px > _BLUR_ABOVE_PX:
            sigma = (transform.size_px / 512 - 1) / 2
            kernel = 2 * int(4 * sigma + 0.5) + 1
            blurred = cv2.GaussianBlur(
                image.astype(np.float64), (kernel, kernel), sigma, borderType=cv2.BORDER_REPLICATE
            )
            pixels.append(crop.sample_crop(blurred, transform))
        else:
            pixels.append(cv2.warpAffine(image, transform.image_to_crop, (256, 256), flags=cv2.INTER_LINEAR))
    normalised = np.stack([(p[..., ::-1] - _MEAN) / _STD for p in pixels]).transpose(0, 3, 1, 2)
    height, width = image.shape[:2]
    return {
        "box_center": centre,
        "box_size": size,
        "img_size": np.broadcast_to(np.array([width, height], np.float32), (len(size), 2)),
        "affine": np.stack([t.image_to_crop for t in transforms]),
        "img": normalised,
    }
