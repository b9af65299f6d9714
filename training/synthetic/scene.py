"""Where the camera is and how a person stands in its picture: framings of webcams, phones and films."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hmr.body.body_model import BodyModel
from hmr.geometry.camera import cam_full_to_crop, focal_from_fov
from hmr.geometry.crop import hmr_square
from hmr.geometry.crop_ray import rotation_to_ray
from hmr.geometry.rotations import axis_angle_to_matrix
from training.synthetic.people_renderer import Light, Window
from training.synthetic.poses import PoseLibrary

F32 = NDArray[np.float32]
Rng = np.random.Generator
CROP_HW = (256, 192)
IMAGE_SIZES = ((1280, 720), (1280, 720), (640, 480), (1920, 1080), (720, 1280), (800, 800))
# Share of samples by what the picture shows of the person: webcam shots first, they are what the program meets most.
FRAMINGS = {"full": 0.42, "upper": 0.36, "close": 0.1, "cut": 0.12}
FLIP_YZ = np.diag([1.0, -1.0, -1.0]).astype(np.float32)


@dataclass(frozen=True)
class Camera:
    """`rotation` (3, 3) world (y up) -> camera; focal and picture size in px."""

    rotation: F32
    focal_px: float
    image_wh: tuple[int, int]


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


def sample_camera(rng: Rng) -> Camera:
    """A camera of 25 to 100 degrees (diagonal), mostly level, sometimes high or low, slightly rolled."""
    image_wh = IMAGE_SIZES[rng.integers(len(IMAGE_SIZES))]
    fov = np.clip(rng.normal(62, 17), 25, 100)
    pitch, roll = np.clip(rng.normal(0.05, 0.2), -0.6, 0.7), rng.normal(0, 0.06)
    tilt = axis_angle_to_matrix(np.array([pitch, 0, 0], np.float32))
    bank = axis_angle_to_matrix(np.array([0, 0, roll], np.float32))
    return Camera(bank @ tilt @ FLIP_YZ, float(focal_from_fov(np.deg2rad(fov), image_wh)), image_wh)


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


def project(points: F32, camera: Camera) -> F32:
    """(..., 3) camera frame -> (..., 2) px; points behind the camera land far outside."""
    z = np.maximum(points[..., 2:], 1e-3)
    return points[..., :2] / z * camera.focal_px + np.array(camera.image_wh, np.float32) / 2


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
