"""What is behind the people: photographs from a folder, or rooms and textures made from noise."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

U8 = NDArray[np.uint8]
Rng = np.random.Generator
HELD_OUT_EVERY = 8


@dataclass(frozen=True)
class Backgrounds:
    """`photographs`: RGB uint8 pictures, may be empty (then everything is procedural)."""

    photographs: tuple[U8, ...]

    @staticmethod
    def load(folder: Path | None, split: str) -> Backgrounds:
        """Read a folder of photographs; every eighth belongs to the test split. No folder: procedural only."""
        if folder is None:
            return Backgrounds(())
        files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png"))
        if not files:
            raise ValueError(f"no .jpg or .png in {folder}")
        chosen = [p for i, p in enumerate(files) if (i % HELD_OUT_EVERY == 0) == (split == "test")]
        pictures = (cv2.imread(str(p), cv2.IMREAD_COLOR) for p in chosen)
        return Backgrounds(tuple(cv2.cvtColor(p, cv2.COLOR_BGR2RGB) for p in pictures if p is not None))

    def photograph(self, rng: Rng) -> U8:
        """A whole picture, for fabrics and occluders."""
        if not self.photographs:
            return procedural(rng, (128, 128))
        return self.photographs[rng.integers(len(self.photographs))]

    def sample(self, rng: Rng, hw: tuple[int, int]) -> U8:
        """(h, w, 3) RGB: a random part of a photograph, else a procedural room or texture."""
        if not self.photographs or rng.random() < 0.15:
            return procedural(rng, hw)
        picture = self.photograph(rng)
        height, width = picture.shape[:2]
        zoom = min(height / hw[0], width / hw[1]) * rng.uniform(0.25, 1.0)
        h, w = max(int(hw[0] * zoom), 2), max(int(hw[1] * zoom), 2)
        y, x = rng.integers(0, height - h + 1), rng.integers(0, width - w + 1)
        part = picture[y : y + h, x : x + w]
        if rng.random() < 0.5:
            part = part[:, ::-1]
        return cv2.resize(np.ascontiguousarray(part), (hw[1], hw[0]), interpolation=cv2.INTER_LINEAR)


def procedural(rng: Rng, hw: tuple[int, int]) -> U8:
    """(h, w, 3) RGB: soft noise of several sizes, with walls, a floor edge and boxes as furniture."""
    height, width = hw
    canvas = np.full((height, width, 3), rng.uniform(40, 220, 3), np.float32)
    for cells in (3, 8, 24):
        grain = rng.normal(0, 28 / np.sqrt(cells), (cells, cells, 3)).astype(np.float32)
        canvas += cv2.resize(grain, (width, height), interpolation=cv2.INTER_CUBIC)
    if rng.random() < 0.7:
        horizon = int(height * rng.uniform(0.45, 0.95))
        canvas[horizon:] = canvas[horizon:] * rng.uniform(0.4, 0.9) + rng.uniform(0, 60, 3)
    for _ in range(rng.integers(0, 7)):
        x, y = rng.integers(0, width), rng.integers(0, height)
        w, h = rng.integers(8, max(width // 2, 9)), rng.integers(8, max(height // 2, 9))
        colour = [float(c) for c in rng.uniform(10, 240, 3)]
        cv2.rectangle(canvas, (int(x), int(y)), (int(x + w), int(y + h)), colour, -1 if rng.random() < 0.7 else 3)
    return np.clip(canvas + rng.normal(0, 3, canvas.shape), 0, 255).astype(np.uint8)
