"""The rectangle of a virtual picture that a renderer draws, at any size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
NEAR_M, FAR_M = 0.05, 200.0
PART_STRIDE = 4
"""Pixels of a picture per pixel of its part map, in each direction."""


@dataclass(frozen=True)
class Window:
    """A rectangle of the picture: pixel (u, v) of it looks along ((u - u0) / focal, (v - v0) / focal, 1)."""

    focal: float
    u0: float
    v0: float
    width: int
    height: int

    def scaled(self, stride: int) -> Window:
        """The same rectangle at 1/stride of the pixels; coarse pixel centres are the middles of their blocks."""
        shift = (stride - 1) / 2
        return Window(
            self.focal / stride, (self.u0 - shift) / stride, (self.v0 - shift) / stride,
            self.width // stride, self.height // stride,
        )  # fmt: skip

    def projection(self) -> F32:
        """(4, 4) OpenGL matrix, column-major bytes, that puts row 0 of the read-back at the top of the picture."""
        a, b = NEAR_M, FAR_M
        rows = np.array(
            [
                [2 * self.focal / self.width, 0, 2 * (self.u0 + 0.5) / self.width - 1, 0],
                [0, 2 * self.focal / self.height, 2 * (self.v0 + 0.5) / self.height - 1, 0],
                [0, 0, (b + a) / (b - a), -2 * a * b / (b - a)],
                [0, 0, 1, 0],
            ],
            np.float32,
        )
        return np.ascontiguousarray(rows.T)
