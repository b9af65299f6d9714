"""Light that fits a background: ambient light from the picture itself, and a lamp, window, sun or screen."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from training.synthetic.atlas_renderer import Lighting

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
Rng = np.random.Generator
_GRID = 8
# name: weight, mean direction towards the lamp (camera frame: x right, y down, z forward), spread, strength
LAMPS: dict[str, tuple[float, tuple[float, float, float], float, tuple[float, float]]] = {
    "ceiling": (0.33, (0.0, -1.0, -0.3), 0.35, (0.3, 1.3)),
    "window": (0.27, (0.9, -0.35, -0.3), 0.3, (0.4, 1.8)),
    "sun": (0.16, (0.3, -0.8, -0.3), 0.6, (0.8, 2.2)),
    "screen": (0.1, (0.0, 0.1, -1.0), 0.2, (0.1, 0.9)),
    "behind": (0.08, (0.3, -0.4, 0.9), 0.4, (0.5, 2.0)),
    "none": (0.06, (0.0, -1.0, -0.5), 0.3, (0.0, 0.15)),
}


def _basis(n: F32) -> F32:
    """(..., 9) the functions that the shader sums: 1, y, z, x, xy, yz, 3zz-1, xz, xx-yy."""
    x, y, z = n[..., 0], n[..., 1], n[..., 2]
    return np.stack([np.ones_like(x), y, z, x, x * y, y * z, 3 * z * z - 1, x * z, x * x - y * y], axis=-1)


# Squares of the real spherical harmonics' factors, times the cosine lobe's (pi, 2/3 pi, pi/4) over pi.
_FACTORS = np.array(
    [0.282095**2] + [0.488603**2 * 2 / 3] * 3 + [1.092548**2 / 4] * 2 + [0.315392**2 / 4, 1.092548**2 / 4,
                                                                        0.546274**2 / 4]
)  # fmt: skip


def _sphere(count: int = 256) -> tuple[F32, NDArray[np.intp], F32]:
    """Even directions (N, 3), the cell of an 8 x 8 picture that each sees (its mirror image lies behind the camera),
    and the matrix (9, N) from radiance to the shader's colours."""
    number = np.arange(count) + 0.5
    y, turn = 1 - 2 * number / count, np.pi * (1 + 5**0.5) * number
    radius = np.sqrt(1 - y * y)
    directions = np.stack([radius * np.cos(turn), y, radius * np.sin(turn)], axis=1).astype(np.float32)
    column, row = (np.clip((np.arcsin(directions[:, k]) / np.pi + 0.5) * _GRID, 0, _GRID - 1) for k in (0, 1))
    matrix = _basis(directions).T * _FACTORS[:, None] * (4 * np.pi / count)
    return directions, row.astype(int) * _GRID + column.astype(int), matrix.astype(np.float32)


_DIRECTIONS, _CELLS, _MATRIX = _sphere()


def ambient_of(picture: U8, up: F32, sky: float = 0.5) -> F32:
    """(9, 3) ambient light, linear, of a background (h, w, 3) RGB that surrounds the person; `sky`: how much brighter
    it is above, `up` (3,) in the camera frame."""
    small = cv2.resize(picture, (_GRID, _GRID), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    radiance = (small * small).reshape(-1, 3)[_CELLS] * (1 + sky * (_DIRECTIONS @ up))[:, None]
    return _MATRIX @ radiance.astype(np.float32)


def sample_lighting(rng: Rng, background: U8, up: F32) -> Lighting:
    """A light for a person before `background` (h, w, 3) RGB, `up` (3,) the world's up in the camera frame."""
    names = list(LAMPS)
    weights = np.array([LAMPS[name][0] for name in names])
    _, mean, spread, strength = LAMPS[names[rng.choice(len(names), p=weights / weights.sum())]]
    direction = np.array(mean) * [rng.choice([-1, 1]), 1, 1] + rng.normal(0, spread, 3)
    direction /= np.linalg.norm(direction)
    ambient = ambient_of(background, up, float(rng.uniform(0, 0.8)))
    # A camera exposes for the whole picture: dark backgrounds do not mean that the person is as dark.
    level = float(np.clip(ambient[0].mean(), 0.02, 1.0))
    wanted = float(np.clip(0.55 * (level / 0.2) ** 0.4 * np.exp(rng.normal(0, 0.3)), 0.2, 1.1))
    colour = ambient[0] / max(level, 1e-3)
    grey = rng.uniform(0.35, 0.8)  # rooms are less colourful than one picture of them
    tinted = grey + (1 - grey) * colour
    ambient = ambient * (wanted / level) * (tinted / np.maximum(colour, 0.2))
    warm = rng.normal(0, 0.1)
    lamp = np.clip([1 + warm, 1.0, 1 - warm], 0.6, 1.4) * wanted * rng.uniform(*strength)
    return Lighting(
        ambient=ambient.astype(np.float32),
        lamp_direction=direction.astype(np.float32),
        lamp_colour=lamp.astype(np.float32),
        blur_texels=float(rng.uniform(0.8, 7.0)),
        left_in_shadow=float(rng.uniform(0.0, 0.15)),
        ambient_lost=float(rng.uniform(0.1, 0.45)),
        wrinkles=float(rng.uniform(0.2, 1.0)),
    )
