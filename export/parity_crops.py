"""Pictures for parity reports, drawn from a seed so that no file is needed: painted figures, and random ones.

A figure is a body of capsules in a random pose before a shaded, striped background: limbs, edges, a head and skin and
cloth colours at the places where a crop has them. They train nobody; they make a network answer different things to
different rows, so that an error shows.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

U8 = NDArray[np.uint8]

# Joints of the figure as (parent, bone length, rest angle) in units of the crop's height, from the hips.
_BONES = (
    (-1, 0.00, 0.0),  # 0 hips
    (0, 0.24, -np.pi / 2),  # 1 neck
    (1, 0.08, -np.pi / 2),  # 2 head
    (1, 0.15, 0.6),  # 3 left elbow
    (3, 0.14, 0.9),  # 4 left wrist
    (1, 0.15, np.pi - 0.6),  # 5 right elbow
    (5, 0.14, np.pi - 0.9),  # 6 right wrist
    (0, 0.20, 1.35),  # 7 left knee
    (7, 0.20, 1.5),  # 8 left ankle
    (0, 0.20, np.pi - 1.35),  # 9 right knee
    (9, 0.20, np.pi - 1.5),  # 10 right ankle
)
_WIDTHS = (0.07, 0.07, 0.055, 0.03, 0.025, 0.03, 0.025, 0.045, 0.035, 0.045, 0.035)


def crops_of(kind: str, rows: int, hw: tuple[int, ...]) -> U8:
    """(rows, h, w, 3) uint8 RGB, the same at every call. kind: "fixed", painted figures, or "random", noise of several
    sizes. Row i does not depend on `rows`. Raises ValueError for another kind."""
    if kind not in ("fixed", "random"):
        raise ValueError(f'kind must be "fixed" or "random", got {kind!r}')
    paint = _figure if kind == "fixed" else _noise
    generators = (np.random.default_rng((kind == "fixed", row)) for row in range(rows))
    return np.stack([paint(generator, int(hw[0]), int(hw[1])) for generator in generators])


def sha256_of_array(array: np.ndarray) -> str:
    """Of dtype, shape and content: says whether two machines draw the same pictures."""
    digest = hashlib.sha256(f"{array.dtype} {array.shape}".encode())
    digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _figure(generator: np.random.Generator, height: int, width: int) -> U8:
    y, x = np.mgrid[:height, :width].astype(np.float64) / height
    light = generator.uniform(40, 200, 3)
    slope = generator.uniform(-80, 80, (2, 3))
    picture = light + y[..., None] * slope[0] + x[..., None] * slope[1]
    picture += 15 * np.sign(np.sin(generator.uniform(15, 60) * (x + generator.uniform(-1, 1) * y)))[..., None]
    joints = _joints(generator, width / height)
    skin, shirt, trousers = generator.uniform((90, 60, 40), (240, 200, 180)), *generator.uniform(0, 255, (2, 3))
    colours = (trousers, shirt, skin, shirt, skin, shirt, skin, trousers, trousers, trousers, trousers)
    for index, (parent, _, _) in enumerate(_BONES):
        start = joints[max(parent, 0)]
        distance = _to_segment(x, y, start, joints[index])
        inside = distance < _WIDTHS[index]
        shade = 1 - 0.5 * (distance / _WIDTHS[index])[inside, None]
        picture[inside] = colours[index] * shade
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def _joints(generator: np.random.Generator, aspect: float) -> np.ndarray:
    size = generator.uniform(0.8, 1.3)
    lean = generator.normal(0, 0.25)
    joints = np.zeros((len(_BONES), 2))
    joints[0] = (aspect / 2 + generator.normal(0, 0.05), 0.5 + generator.normal(0, 0.08))
    for index, (parent, length, angle) in enumerate(_BONES[1:], start=1):
        turned = angle + lean + generator.normal(0, 0.5)
        foreshortened = size * length * generator.uniform(0.5, 1)
        joints[index] = joints[parent] + foreshortened * np.array([np.cos(turned), np.sin(turned)])
    return joints


def _to_segment(x: np.ndarray, y: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    along = end - start
    t = ((x - start[0]) * along[0] + (y - start[1]) * along[1]) / max(float(along @ along), 1e-9)
    t = np.clip(t, 0, 1)
    return np.hypot(x - start[0] - t * along[0], y - start[1] - t * along[1])


def _noise(generator: np.random.Generator, height: int, width: int) -> U8:
    """Blocks of random colours, of a random coarseness per picture, down to single pixels."""
    block = int(generator.choice([1, 2, 4, 8, 16, 32]))
    coarse = generator.integers(0, 256, (-(-height // block), -(-width // block), 3), np.uint8)
    return np.repeat(np.repeat(coarse, block, axis=0), block, axis=1)[:height, :width]
