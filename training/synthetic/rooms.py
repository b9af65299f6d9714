"""An empty room as a still picture, drawn in perspective by code alone: the background of rendered motion."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from training.synthetic.scene import Camera, project

U8 = NDArray[np.uint8]
Rng = np.random.Generator
BACK_WALL_M, SIDE_M, CEILING_M, FRONT_M = -6.5, 3.4, 2.9, 3.0


def _quad(
    canvas: NDArray[np.float32], corners: NDArray[np.float64], texture: NDArray[np.float32], camera: Camera, origin
):
    """Paint `texture` on a rectangle in the world (4 corners, around), seen from `origin`."""
    view = (corners - origin) @ camera.rotation.T.astype(np.float64)
    pixels = project(_clip_near(view).astype(np.float32), camera)
    height, width = texture.shape[:2]
    source = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    homography = cv2.getPerspectiveTransform(source, pixels.astype(np.float32))
    size = (canvas.shape[1], canvas.shape[0])
    painted = cv2.warpPerspective(texture, homography, size, flags=cv2.INTER_AREA)
    mask = cv2.warpPerspective(np.ones((height, width), np.float32), homography, size)
    canvas[:] = canvas * (1 - mask[..., None]) + painted * mask[..., None]


def _clip_near(view: NDArray[np.float64]) -> NDArray[np.float64]:
    out = view.copy()
    out[:, 2] = np.maximum(out[:, 2], 0.2)
    return out


def _planks(rng: Rng) -> NDArray[np.float32]:
    """Wooden floor, 12 boards."""
    colour = rng.uniform([90, 65, 45], [175, 135, 100])
    floor = np.zeros((600, 600, 3), np.float32)
    for board in range(12):
        tone = colour * rng.uniform(0.85, 1.12)
        grain = cv2.resize(rng.normal(0, 7, (6, 60)).astype(np.float32), (50, 600), interpolation=cv2.INTER_CUBIC)
        floor[:, board * 50 : board * 50 + 50] = tone + grain[..., None]
        floor[:, board * 50 : board * 50 + 2] *= 0.6
    return floor


def _wall(rng: Rng, colour: NDArray[np.float64], pictures: int) -> NDArray[np.float32]:
    """Painted wall with a skirting board and framed abstract pictures."""
    wall = np.tile(colour, (300, 680, 1)).astype(np.float32)
    wall *= np.linspace(1.06, 0.9, 300, dtype=np.float32)[:, None, None]
    soft = cv2.resize(rng.normal(0, 3, (12, 27)).astype(np.float32), (680, 300), interpolation=cv2.INTER_CUBIC)
    wall += soft[..., None]
    wall[285:] = 225
    for k in range(pictures):
        x, y = 70 + k * (560 // max(pictures, 1)), int(rng.uniform(60, 110))
        w, h = int(rng.uniform(60, 120)), int(rng.uniform(60, 110))
        wall[y - 5 : y + h + 5, x - 5 : x + w + 5] = rng.uniform(20, 90)
        patch = rng.uniform(30, 230, (4, 4, 3)).astype(np.float32)
        wall[y : y + h, x : x + w] = cv2.resize(patch, (w, h), interpolation=cv2.INTER_LINEAR)
    return wall


def draw_room(rng: Rng, camera: Camera, origin: NDArray[np.float64]) -> U8:
    """(H, W, 3) RGB of a room around the world's origin, floor at y = 0, seen by `camera` from `origin` (3,) m."""
    width, height = camera.image_wh
    canvas = np.full((height, width, 3), 200, np.float32)
    colour = rng.uniform([150, 150, 140], [225, 225, 220])
    z0, z1, s, top = BACK_WALL_M, FRONT_M, SIDE_M, CEILING_M
    front = float(origin[2]) - 0.3
    near = min(z1, front)
    _quad(
        canvas,
        np.array([[-s, top, z0], [s, top, z0], [s, top, near], [-s, top, near]]),
        np.full((8, 8, 3), 235, np.float32),
        camera,
        origin,
    )
    _quad(canvas, np.array([[-s, 0, z0], [s, 0, z0], [s, 0, near], [-s, 0, near]]), _planks(rng), camera, origin)
    _quad(
        canvas,
        np.array([[-s, top, near], [-s, top, z0], [-s, 0, z0], [-s, 0, near]]),
        _wall(rng, colour * 0.86, 2),
        camera,
        origin,
    )
    _quad(
        canvas,
        np.array([[s, top, z0], [s, top, near], [s, 0, near], [s, 0, z0]]),
        _wall(rng, colour * 0.92, 1),
        camera,
        origin,
    )
    _quad(
        canvas, np.array([[-s, top, z0], [s, top, z0], [s, 0, z0], [-s, 0, z0]]), _wall(rng, colour, 3), camera, origin
    )
    return np.clip(canvas, 0, 255).astype(np.uint8)
