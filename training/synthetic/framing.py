"""Cameras and framings: webcams and laptops that look up at a face, phones, rooms, people seen whole or cut."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bodycast.hmr.body.joints import Joint
from training.synthetic.scene import Camera, held_camera

F32 = NDArray[np.float32]
Rng = np.random.Generator


@dataclass(frozen=True)
class Framing:
    """What a picture shows of a person.

    `share` of the samples; `span` low and high of the shown length below the crown, m, None: the whole body; `fill` of
    the picture's height that this length takes; `spread` of the person's place across the picture; `facing`: share that
    looks towards the camera; `webcam`: a camera on a desk or in a hand.
    """

    share: float
    span: tuple[float, float] | None
    fill: tuple[float, float]
    spread: float
    facing: float
    webcam: bool


FRAMINGS: dict[str, Framing] = {
    "full": Framing(0.35, None, (0.2, 0.97), 0.15, 0.5, False),
    "cut": Framing(0.13, None, (0.95, 1.9), 0.22, 0.5, False),
    "upper": Framing(0.28, (0.5, 0.95), (0.7, 1.05), 0.1, 0.93, True),
    "close": Framing(0.17, (0.34, 0.55), (0.7, 1.1), 0.09, 0.95, True),
    "face": Framing(0.07, (0.24, 0.36), (0.7, 1.25), 0.1, 0.95, True),
}
ROOM_SIZES = ((1280, 720), (1280, 720), (1920, 1080), (640, 480), (720, 1280), (800, 800))
WEBCAM_SIZES = ((1280, 720), (1280, 720), (1280, 720), (640, 480), (640, 480), (1920, 1080), (720, 1280))
# Share, mean, deviation of the pitch in rad; below 0 looks up.
WEBCAM_PITCHES = ((0.4, -0.24, 0.13), (0.4, 0.04, 0.1), (0.2, 0.28, 0.15))
ROOM_PITCHES = ((0.68, 0.03, 0.1), (0.2, 0.5, 0.2), (0.12, -0.25, 0.13))
CROWN_ABOVE_HEAD_JOINT_M = 0.17
MIN_DEPTH_M = 0.22


def sample_framing(rng: Rng) -> str:
    """The name of a framing, by its share."""
    return str(rng.choice(list(FRAMINGS), p=[f.share for f in FRAMINGS.values()]))


def sample_camera(rng: Rng, framing: Framing) -> Camera:
    """A camera (25 to 100 degrees over the diagonal) without yaw: people turn instead."""
    sizes, pitches = (WEBCAM_SIZES, WEBCAM_PITCHES) if framing.webcam else (ROOM_SIZES, ROOM_PITCHES)
    image_wh = sizes[rng.integers(len(sizes))]
    fov = rng.normal(74, 11) if framing.webcam else rng.normal(60, 17)
    _, mean, deviation = pitches[rng.choice(len(pitches), p=[p[0] for p in pitches])]
    pitch, roll = float(np.clip(rng.normal(mean, deviation), -0.8, 1.1)), rng.normal(0, 0.05)
    return held_camera(pitch, roll, float(np.clip(fov, 25, 100)), image_wh)


def sample_yaw(rng: Rng, framing: Framing) -> float:
    """How far the person turns from the camera, rad."""
    if rng.random() < framing.facing:
        return float(rng.normal(0, 0.4 if framing.webcam else 0.65))
    return float(rng.uniform(-np.pi, np.pi))


def place(rng: Rng, points: F32, joints: F32, camera: Camera, framing: Framing) -> F32:
    """Translation (3,), camera frame, that frames a person with unplaced skin points (K, 3) and joints (24, 3)."""
    width, height = camera.image_wh
    low, high = points.min(0), points.max(0)
    if framing.span is not None:
        head = joints[Joint.HEAD]
        top = head[1] - CROWN_ABOVE_HEAD_JOINT_M
        size = rng.uniform(*framing.span)
        centre = np.array([head[0], top + size / 2, head[2] - 0.05])
    else:
        size = max(high[1] - low[1], 0.5 * (high[0] - low[0]), 0.5)
        centre = (low + high) / 2
    fill = rng.uniform(*framing.fill)
    # What is nearest counts: a hand held out must not reach behind the camera.
    nearest = centre[2] - low[2]
    depth = max(camera.focal_px * size / (fill * height), MIN_DEPTH_M, nearest * rng.uniform(0.6, 1.3) + 0.12)
    u = width * (0.5 + rng.normal(0, framing.spread))
    room = max(0.0, (1 - fill) / 2)
    v = height * (0.5 + (rng.uniform(-room, room) if framing.span is None else rng.normal(0.02, 0.05)))
    target = depth * np.array([(u - width / 2) / camera.focal_px, (v - height / 2) / camera.focal_px, 1.0])
    return (target - centre).astype(np.float32)


def visible_box(points: F32, camera: Camera) -> tuple[F32, float]:
    """xyxy (4,) of the picture's part of skin points (K, 3), camera frame, and the share of points in the picture."""
    wh = np.asarray(camera.image_wh, np.float32)
    ahead = points[:, 2] > 0.08
    pixels = points[:, :2] / np.maximum(points[:, 2:], 0.08) * camera.focal_px + wh / 2
    inside = ahead & (pixels >= 0).all(1) & (pixels < wh).all(1)
    if not inside.any():
        return np.zeros(4, np.float32), 0.0
    # Limbs that leave the picture carry the box to its edge, as a detector's would be.
    shown = np.clip(pixels[ahead], 0, wh)
    reaching = pixels[inside]
    low, high = reaching.min(0), reaching.max(0)
    near_edge = 0.04 * wh
    low = np.where(low < near_edge, np.maximum(shown.min(0), 0), low)
    high = np.where(high > wh - near_edge, np.minimum(shown.max(0), wh), high)
    return np.concatenate([low, high]).astype(np.float32), float(inside.mean())
