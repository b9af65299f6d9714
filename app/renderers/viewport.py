"""The rectangle of the picture that the meshes cover: the only part that is drawn, read back and blended."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bodycast.app.records import F32, U8, check_array
from bodycast.hmr.geometry.camera import Intrinsics

# Nothing nearer than this is drawn, metres. Cameras do not focus closer, and the projection blows up at zero.
NEAR_M = 0.05
FAR_M = 1000.0


class Viewport(NamedTuple):
    """Pixel rectangle: columns x0..x1-1, rows y0..y1-1."""

    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def width(self) -> int:
        return self.x1 - self.x0

    @property
    def height(self) -> int:
        return self.y1 - self.y0


def people_viewport(vertices: F32, intrinsics: Intrinsics, image_wh: tuple[int, int]) -> Viewport | None:
    """Rectangle around the projections of (N,V,3) camera-frame vertices, clipped to the image; None if outside it.

    A mesh that reaches behind the near plane has no bounded projection: then it is the whole image.
    """
    width, height = image_wh
    if vertices.size == 0:
        return None
    z = vertices[..., 2]
    if z.min() < NEAR_M:
        return Viewport(0, 0, width, height) if z.max() >= NEAR_M else None
    u = vertices[..., 0] / z * intrinsics.fx + intrinsics.cx
    v = vertices[..., 1] / z * intrinsics.fy + intrinsics.cy
    # Pixel centres are integers (docs/conventions.md): pixel i spans i - 0.5 .. i + 0.5. One more for soft edges.
    low = np.floor([u.min(), v.min()]) - 1
    high = np.ceil([u.max(), v.max()]) + 2
    x0, y0 = (int(value) for value in np.clip(low, 0, [width, height]))
    x1, y1 = (int(value) for value in np.clip(high, 0, [width, height]))
    return Viewport(x0, y0, x1, y1) if x1 > x0 and y1 > y0 else None


def check_picture(image: U8, intrinsics: Intrinsics) -> None:
    """Raise ValueError unless `image` is (H,W,3) uint8 and the intrinsics belong to a picture of its size."""
    check_array("image", image, (None, None, 3), np.uint8)
    image_wh = (image.shape[1], image.shape[0])
    if intrinsics.image_wh != image_wh:
        raise ValueError(f"intrinsics: for {intrinsics.image_wh} (width, height), but the picture is {image_wh}")
