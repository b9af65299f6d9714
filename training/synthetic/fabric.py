"""Tileable fabrics and prints, made by code from a seed.

A fabric is a picture of three numbers, so that a few dozen of them dress people in any colours: red mixes the first
colour with the second, green mixes in the third, blue is shade (128 is none). 256 px are half a metre of cloth.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
Rng = np.random.Generator
CLOTH_PX, CLOTH_M = 256, 0.5
PRINT_PX = 256
_ROWS, _COLUMNS = np.mgrid[0:CLOTH_PX, 0:CLOTH_PX].astype(np.float32) / CLOTH_PX


def tile_noise(rng: Rng, cells: int, cells_across: int | None = None) -> F32:
    """(256, 256) smooth noise in about -1..1 that repeats without a seam; `cells` down, `cells_across` across."""
    grid = rng.normal(0, 0.5, (cells, cells_across or cells)).astype(np.float32)
    padded = np.pad(grid, 2, mode="wrap")
    scale = (CLOTH_PX / grid.shape[1], CLOTH_PX / grid.shape[0])
    size = (round(padded.shape[1] * scale[0]), round(padded.shape[0] * scale[1]))
    large = cv2.resize(padded, size, interpolation=cv2.INTER_CUBIC)
    top, left = round(2 * scale[1]), round(2 * scale[0])
    return large[top : top + CLOTH_PX, left : left + CLOTH_PX]


def _plain(rng: Rng) -> tuple[F32, F32]:
    return np.zeros_like(_ROWS), np.zeros_like(_ROWS)


def _melange(rng: Rng) -> tuple[F32, F32]:
    fine = 0.5 + 0.35 * tile_noise(rng, 128, int(rng.integers(24, 128))) + 0.2 * tile_noise(rng, 32)
    return fine * float(rng.uniform(0.3, 1.0)), np.zeros_like(_ROWS)


def _stripes(rng: Rng) -> tuple[F32, F32]:
    count = int(rng.integers(3, 26))
    phase = _ROWS * count % 1.0
    red = (phase < rng.uniform(0.15, 0.6)).astype(np.float32)
    green = ((phase > 0.7) & (phase < 0.7 + rng.uniform(0.05, 0.25))).astype(np.float32) * (rng.random() < 0.4)
    return red, green


def _pinstripes(rng: Rng) -> tuple[F32, F32]:
    return (_COLUMNS * int(rng.integers(12, 40)) % 1.0 < 0.12).astype(np.float32), np.zeros_like(_ROWS)


def _gingham(rng: Rng) -> tuple[F32, F32]:
    count = int(rng.integers(5, 40))
    across, down = (_COLUMNS * count % 1.0 < 0.5), (_ROWS * count % 1.0 < 0.5)
    return 0.5 * across + 0.5 * down.astype(np.float32), np.zeros_like(_ROWS)


def _tartan(rng: Rng) -> tuple[F32, F32]:
    count = int(rng.integers(2, 7))
    edges = np.sort(rng.uniform(0, 1, 6))
    bands = np.array([0.0, 1.0, 0.0, 0.5, 1.0, 0.0, 0.3], np.float32)[rng.permutation(7)]
    lines = [bands[np.searchsorted(edges, axis * count % 1.0)] for axis in (_ROWS, _COLUMNS)]
    thin = sum((np.abs(axis * count % 1.0 - 0.5) < 0.02).astype(np.float32) for axis in (_ROWS, _COLUMNS))
    return 0.5 * (lines[0] + lines[1]), np.clip(thin, 0, 1)


def _windowpane(rng: Rng) -> tuple[F32, F32]:
    count, width = int(rng.integers(4, 12)), float(rng.uniform(0.03, 0.12))
    lines = np.minimum(_COLUMNS * count % 1.0, _ROWS * count % 1.0) < width
    return lines.astype(np.float32), np.zeros_like(_ROWS)


def _dots(rng: Rng) -> tuple[F32, F32]:
    count, radius = 2 * int(rng.integers(3, 16)), float(rng.uniform(0.15, 0.4))
    shifted = (_COLUMNS * count + 0.5 * (np.floor(_ROWS * count) % 2)) % 1.0
    away = np.hypot(shifted - 0.5, _ROWS * count % 1.0 - 0.5)
    return np.clip((radius - away) * 12, 0, 1).astype(np.float32), np.zeros_like(_ROWS)


def _blots(rng: Rng) -> tuple[F32, F32]:  # camouflage, batik, animal prints
    cells = int(rng.integers(5, 26))
    first = tile_noise(rng, cells) + 0.35 * tile_noise(rng, 3 * cells)
    second = tile_noise(rng, cells) + 0.35 * tile_noise(rng, 3 * cells)
    return np.clip(first * 9 + 0.5, 0, 1), np.clip(second * 9 - 1.5, 0, 1)


def _flowers(rng: Rng) -> tuple[F32, F32]:
    red, green = np.zeros_like(_ROWS), np.zeros_like(_ROWS)
    for _ in range(int(rng.integers(10, 50))):
        row, column, size = rng.uniform(0, 1), rng.uniform(0, 1), rng.uniform(0.02, 0.09)
        y, x = (_ROWS - row + 0.5) % 1.0 - 0.5, (_COLUMNS - column + 0.5) % 1.0 - 0.5
        petals = 0.65 + 0.35 * np.cos(np.arctan2(y, x) * int(rng.integers(4, 8)) + rng.uniform(0, 6))
        away = np.hypot(x, y) / size
        red = np.maximum(red, np.clip((petals - away) * 6, 0, 1) * float(rng.uniform(0.5, 1.0)))
        green = np.maximum(green, np.clip((0.25 - away) * 12, 0, 1))
    return red, green


def _diamonds(rng: Rng) -> tuple[F32, F32]:
    count = int(rng.integers(3, 14))
    u, v = _COLUMNS * count % 1.0, _ROWS * count % 1.0
    inside = (np.abs(u - 0.5) + np.abs(v - 0.5) < 0.5).astype(np.float32)
    lines = np.minimum(np.abs((u + v) % 1.0 - 0.5), np.abs((u - v) % 1.0 - 0.5)) < 0.04
    return inside, lines.astype(np.float32)


def _zigzag(rng: Rng) -> tuple[F32, F32]:
    count, waves = int(rng.integers(4, 16)), int(rng.integers(3, 14))
    bend = np.abs(_COLUMNS * waves % 1.0 - 0.5) * float(rng.uniform(0.5, 1.6))
    return ((_ROWS * count + bend) % 1.0 < 0.5).astype(np.float32), np.zeros_like(_ROWS)


def _denim(rng: Rng) -> tuple[F32, F32]:
    streaks = 0.5 * tile_noise(rng, 16, 128) + 0.35 * tile_noise(rng, 6)
    return np.clip(0.35 + streaks, 0, 1), np.clip(tile_noise(rng, 4) - 0.55, 0, 0.6)


_SHADES: tuple[Callable[[Rng], F32], ...] = (
    lambda rng: 0.10 * tile_noise(rng, 128),  # fine weave
    lambda rng: 0.16 * np.cos(_COLUMNS * 2 * np.pi * int(rng.integers(24, 64))),  # rib, corduroy
    lambda rng: 0.22 * tile_noise(rng, 90, 45),  # knit
    lambda rng: 0.10 * np.cos((_COLUMNS + _ROWS) * 2 * np.pi * 64),  # twill
    lambda rng: 0.30 * tile_noise(rng, 40),  # fleece, terry
)
PATTERNS: dict[str, tuple[Callable[[Rng], tuple[F32, F32]], float]] = {
    "plain": (_plain, 0.30),
    "melange": (_melange, 0.10),
    "stripes": (_stripes, 0.12),
    "pinstripes": (_pinstripes, 0.03),
    "gingham": (_gingham, 0.07),
    "tartan": (_tartan, 0.08),
    "windowpane": (_windowpane, 0.03),
    "dots": (_dots, 0.05),
    "blots": (_blots, 0.07),
    "flowers": (_flowers, 0.06),
    "diamonds": (_diamonds, 0.02),
    "zigzag": (_zigzag, 0.02),
    "denim": (_denim, 0.05),
}


def weave(rng: Rng, pattern: str) -> U8:
    """(256, 256, 3) uint8: one tile of a pattern of PATTERNS."""
    red, green = PATTERNS[pattern][0](rng)
    shade = _SHADES[rng.integers(len(_SHADES))](rng) + 0.08 * tile_noise(rng, 3) * (pattern != "denim")
    tile = np.stack([red, green, 0.5 + 0.5 * shade], -1)
    return (np.clip(tile, 0, 1) * 255 + 0.5).astype(np.uint8)


def cloth_pool(seed: int, count: int) -> tuple[U8, list[str]]:
    """(count, 256, 256, 3) fabrics and the pattern of each; every pattern has its share and at least one tile."""
    if count < len(PATTERNS):
        raise ValueError(f"a pool holds at least one of each pattern: expected count >= {len(PATTERNS)}, got {count}")
    shares = np.array([share for _, share in PATTERNS.values()])
    numbers = 1 + np.floor(shares / shares.sum() * (count - len(PATTERNS))).astype(int)
    names = [name for name, number in zip(PATTERNS, numbers, strict=True) for _ in range(number)]
    names += ["plain"] * (count - len(names))
    tiles = [weave(np.random.default_rng([seed, 11, i]), name) for i, name in enumerate(names)]
    return np.stack(tiles), names


def print_pool(seed: int, count: int, photographs: Sequence[U8] = ()) -> U8:
    """(count, 256, 256, 4) RGBA: pictures for chests and for all-over prints.

    The first half are photographs where there are some (opaque), the rest lettering and emblems with a clear ground.
    """
    out = np.zeros((count, PRINT_PX, PRINT_PX, 4), np.uint8)
    for index in range(count):
        rng = np.random.default_rng([seed, 12, index])
        out[index] = _photo_print(rng, photographs) if photographs and index < count // 2 else _emblem(rng)
    return out


def _photo_print(rng: Rng, photographs: Sequence[U8]) -> U8:
    picture = photographs[rng.integers(len(photographs))]
    side = int(min(picture.shape[:2]) * rng.uniform(0.4, 1.0))
    y, x = (int(rng.integers(0, n - side + 1)) for n in picture.shape[:2])
    square = cv2.resize(picture[y : y + side, x : x + side], (PRINT_PX, PRINT_PX), interpolation=cv2.INTER_AREA)
    return np.dstack([square, np.full((PRINT_PX, PRINT_PX), 255, np.uint8)])


def _emblem(rng: Rng) -> U8:
    ink = [int(c) for c in rng.integers(0, 256, 3)]
    other = [int(c) for c in rng.integers(0, 256, 3)]
    out = np.zeros((PRINT_PX, PRINT_PX, 4), np.uint8)
    middle = (PRINT_PX // 2, PRINT_PX // 2)
    if rng.random() < 0.5:
        if rng.random() < 0.5:
            cv2.circle(out, middle, int(rng.integers(60, 120)), [*other, 255], -1, cv2.LINE_AA)
        else:
            corners = rng.uniform(0.1, 0.9, (int(rng.integers(3, 7)), 2)) * PRINT_PX
            cv2.fillPoly(out, [cv2.convexHull(corners.astype(np.int32))], [*other, 255], cv2.LINE_AA)
    letters = "".join(chr(int(c)) for c in rng.integers(65, 91, int(rng.integers(1, 8))))
    text = letters if rng.random() < 0.7 else str(int(rng.integers(1, 100)))
    font = int(rng.choice([cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_TRIPLEX, cv2.FONT_HERSHEY_SCRIPT_COMPLEX]))
    (width, height), _ = cv2.getTextSize(text, font, 1.0, 2)
    scale = min(230 / width, 150 / height)
    thick = int(rng.integers(2, 12))
    at = (int(128 - width * scale / 2), int(128 + height * scale / 2))
    cv2.putText(out, text, at, font, scale, [*ink, 255], thick, cv2.LINE_AA)
    return out
