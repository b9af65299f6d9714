"""The first version's scenes: cameras, light, and where its painted people stand; the second has `framing.py`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hmr.body.body_model import BodyModel
from hmr.geometry.rotations import axis_angle_to_matrix
from training.synthetic.people_renderer import Light
from training.synthetic.poses import PoseLibrary
from training.synthetic.scene import Camera, Placed, held_camera, project

F32 = NDArray[np.float32]
Rng = np.random.Generator
IMAGE_SIZES = ((1280, 720), (1280, 720), (640, 480), (1920, 1080), (720, 1280), (800, 800))
# Share of samples by what the picture shows of the person: webcam shots first, they are what the program meets most.
FRAMINGS = {"full": 0.42, "upper": 0.36, "close": 0.1, "cut": 0.12}


def sample_camera(rng: Rng) -> Camera:
    """A camera of 25 to 100 degrees (diagonal), mostly level, sometimes high or low, slightly rolled."""
    image_wh = IMAGE_SIZES[rng.integers(len(IMAGE_SIZES))]
    fov = np.clip(rng.normal(62, 17), 25, 100)
    pitch, roll = np.clip(rng.normal(0.05, 0.2), -0.6, 0.7), rng.normal(0, 0.06)
    return held_camera(pitch, roll, fov, image_wh)


def sample_person(
    rng: Rng, body: BodyModel, library: PoseLibrary, camera: Camera, framing: str | None = None
) -> Placed:
    """A random shape in a random pose, placed so that the picture shows what `framing` asks for."""
    framing = framing or str(rng.choice(list(FRAMINGS), p=list(FRAMINGS.values())))
    pose = library.sample(rng)
    facing = framing in ("upper", "close") or rng.random() < 0.45
    yaw = rng.normal(0, 0.6) if facing and rng.random() < 0.85 else rng.uniform(-np.pi, np.pi)
    pose[0] = camera.rotation @ axis_angle_to_matrix(np.array([0, yaw, 0], np.float32)) @ pose[0]
    betas = rng.normal(0, 1, 10).clip(-2.5, 2.5).astype(np.float32)
    posed = body(pose[None], betas[None], np.zeros((1, 3), np.float32))
    vertices, joints = posed.vertices[0], posed.joints[0]
    transl = _place(rng, vertices, joints, camera, framing)
    return Placed(pose, betas, transl, vertices + transl, joints + transl)


def _place(rng: Rng, vertices: F32, joints: F32, camera: Camera, framing: str) -> F32:
    """Translation (3,) that fills the picture as the framing says; sizes are of the turned, unplaced body."""
    width, height = camera.image_wh
    low, high = vertices.min(0), vertices.max(0)
    if framing in ("upper", "close"):
        # From above the head down to a cut through the body; y grows downwards.
        cut = rng.uniform(0.25, 0.6) if framing == "close" else rng.uniform(0.7, 1.5)
        top, hips = joints[15, 1] - 0.2, joints[0, 1]
        bottom = top + cut * max(hips - top, 0.35)
        fill = rng.uniform(0.75, 1.1)
        centre = np.array([joints[12, 0], (top + bottom) / 2, joints[12, 2]])
        size = bottom - top
    else:
        size = max(high[1] - low[1], 0.5 * (high[0] - low[0]), 0.5)
        centre = (low + high) / 2
        fill = rng.uniform(0.3, 0.97) if framing == "full" else rng.uniform(0.9, 1.8)
    depth = max(camera.focal_px * size / (fill * height), 0.45 + (centre[2] - low[2]) * 0.6)
    spread = 0.18 if framing in ("upper", "close") else 0.3 if framing == "full" else 0.45
    u = width * (0.5 + rng.normal(0, spread / 2))
    drop = max(0.0, (1 - fill) / 2) if framing == "full" else 0.06
    v = height * (0.5 + rng.uniform(-drop, drop))
    target = depth * np.array([(u - width / 2) / camera.focal_px, (v - height / 2) / camera.focal_px, 1.0])
    return (target - centre).astype(np.float32)


def visible_box(placed: Placed, camera: Camera) -> tuple[F32, float]:
    """xyxy of what the picture shows of the body (clipped to the picture), and the share of vertices shown."""
    width, height = camera.image_wh
    pixels = project(placed.vertices, camera)
    inside = (placed.vertices[:, 2] > 0.1) & (pixels >= 0).all(1) & (pixels[:, 0] < width) & (pixels[:, 1] < height)
    share = float(inside.mean())
    if share == 0.0:
        return np.zeros(4, np.float32), 0.0
    shown = pixels[inside]
    return np.concatenate([shown.min(0), shown.max(0)]).astype(np.float32), share


def sample_light(rng: Rng, camera: Camera) -> Light:
    """One lamp or the sun above, sky and floor light of slightly different colours, sometimes dim."""
    up = camera.rotation @ np.array([0, 1, 0], np.float32)
    direction = rng.normal(0, 1, 3) + np.array([0, -0.8, -0.7])
    direction /= np.linalg.norm(direction)
    warm = rng.normal(0, 0.1)
    tint = np.clip(np.array([1 + warm, 1.0, 1 - warm]), 0.6, 1.4)
    level = float(np.exp(rng.normal(0, 0.25)))
    return Light(
        direction=direction.astype(np.float32),
        colour=(tint * level * rng.uniform(0.1, 1.0)).astype(np.float32),
        ambient_up=(level * rng.uniform(0.25, 0.75) * np.clip(rng.normal(1, 0.08, 3), 0.7, 1.3)).astype(np.float32),
        ambient_down=(level * rng.uniform(0.1, 0.45) * np.clip(rng.normal(1, 0.1, 3), 0.7, 1.3)).astype(np.float32),
        up=up.astype(np.float32),
        shine=float(rng.uniform(0, 0.6)),
    )
