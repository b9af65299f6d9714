"""Crops with exact labels whose pictures are coloured dots at the joints: enough to learn from, quick to make."""

from __future__ import annotations

import colorsys
import json
from pathlib import Path

import cv2
import numpy as np

from bodycast.hmr.body.body_model import BodyModel
from bodycast.hmr.geometry.camera import cam_full_to_crop, project
from bodycast.hmr.geometry.crop_ray import crop_ray_rotation
from bodycast.hmr.geometry.rotations import axis_angle_to_matrix
from training.config import Phase, Recipe
from training.crop_set import Arrays

UPRIGHT = np.diag([1.0, -1.0, -1.0]).astype(np.float32)  # the body's y up to the camera's y down
SWIN = {"dim": 16, "depths": [1, 1], "heads": [1, 2], "drop_path": 0.0}
VIT = {"dim": 32, "depth": 4, "heads": 2, "drop_path": 0.0}
DECODER = {"width": 64, "depth": 1, "heads": 2, "head_width": 16, "mlp_width": 64}
JOINT_QUERIES = {"queries": "joints", "width": 32, "depth": 1, "heads": 2, "cross_width": 16, "mlp_width": 32}


def toy_recipe(name: str = "tiny", **changes) -> Recipe:
    """A Swin of a few thousand weights at two sizes."""
    values = {
        "name": name,
        "model": "swin-t-s2",
        "phases": (Phase((72, 56), 0.5, 4, 6e-3, 2e-3), Phase((96, 72), 0.5, 4, 2e-3, 1e-3)),
        "arguments": {"size": SWIN, "drop_path": 0.0, "decoder": DECODER},
        "warmup_steps": 2,
    }
    return Recipe(**(values | changes))


def toy_crops(count: int, seed: int = 0) -> Arrays:
    """Arrays by the names of FIELDS; every sixth crop is a bad one."""
    rng = np.random.default_rng(seed)
    body = BodyModel.load()
    pose = axis_angle_to_matrix(rng.normal(0, 0.25, (count, 24, 3))).astype(np.float32)
    pose[:, 0] = UPRIGHT @ axis_angle_to_matrix(rng.normal(0, 1, (count, 1, 3)) * [0, 0.5, 0])[:, 0].astype(np.float32)
    betas = rng.normal(0, 0.5, (count, 10)).astype(np.float32)
    wh, focal = np.array([640, 480], np.float32), np.float32(600)
    pelvis = np.stack([rng.uniform(-0.4, 0.4, count), rng.uniform(-0.1, 0.1, count), rng.uniform(2.6, 3.4, count)], 1)
    posed = body(pose, betas, np.zeros((count, 3), np.float32))
    joints = (posed.joints - posed.joints[:, :1] + pelvis[:, None]).astype(np.float32)
    pixels_2d = project(joints, focal, wh / 2)
    centre = ((pixels_2d.min(1) + pixels_2d.max(1)) / 2).astype(np.float32)
    size = (1.25 * np.ptp(pixels_2d[..., 1], axis=1)).astype(np.float32)
    trans = (pelvis - posed.joints[:, 0]).astype(np.float32)
    label = pose.copy()
    label[:, 0] = crop_ray_rotation(centre, focal, wh / 2).swapaxes(-1, -2) @ pose[:, 0]
    places = (pixels_2d - centre[:, None]) / size[:, None, None] * 256 + [96, 128]
    pixels = rng.integers(0, 60, (count, 256, 192, 3), np.uint8)
    parts = np.zeros((count, 64, 48), np.uint8)
    for row in range(count):
        for joint, (x, y) in enumerate(places[row]):
            colour = tuple(round(255 * c) for c in colorsys.hsv_to_rgb(joint / 24, 1, 1))
            cv2.circle(pixels[row], (round(x), round(y)), 8, colour, -1)
            cv2.circle(parts[row], (round(x / 4), round(y / 4)), 3, joint + 1, -1)
    score = (np.arange(count) % 6 != 5).astype(np.float32)
    return {
        "pixels": pixels, "parts": parts, "pose": label.astype(np.float32), "betas": betas,
        "camera": cam_full_to_crop(trans, centre, size, np.tile(wh, (count, 1)), focal).astype(np.float32),
        "joints": joints, "centre_px": centre, "size_px": size, "focal_px": np.full(count, focal, np.float32),
        "image_wh": np.tile(wh, (count, 1)), "score": score,
    }  # fmt: skip


def write_set(folder: Path, arrays: Arrays) -> Path:
    """The set as a folder, as training.synthetic.generate leaves it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    (folder / "meta.json").write_text(json.dumps({"finished": len(arrays["score"]), "split": "train"}))
    return folder
