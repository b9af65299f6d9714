"""The overlay where there is no OpenGL: a z-buffer rasteriser in numpy.

All triangles are drawn at once: every pixel of every triangle's bounding box is a candidate, the edge functions
(Pineda 1988) say which candidates are covered, and the nearest one per pixel wins. The work is bounded by drawing big
viewports at a lower resolution and enlarging the result.
"""

from __future__ import annotations

from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from bodycast.app.records import F32, I32, U8
from bodycast.app.renderers.blending import blend
from bodycast.app.renderers.shading import MeshShading, check_meshes
from bodycast.app.renderers.topology import closed_surface, winds_outwards
from bodycast.app.renderers.viewport import NEAR_M, Viewport, check_picture, people_viewport
from bodycast.hmr.geometry.camera import Intrinsics

# Viewports with more pixels than this are drawn smaller. At 1280x720 it keeps one person under 30 ms on one core.
PIXEL_BUDGET = 300_000
# Candidates are made in blocks of about this many, which keeps the arrays of a block inside the processor's cache.
_BLOCK = 1 << 16

Indices = NDArray[np.intp]


class CpuRenderer:
    """`Renderer` without OpenGL. Triangles that reach behind the near plane are left out as a whole."""

    def __init__(self, faces: I32, name: str = "cpu", pixel_budget: int = PIXEL_BUDGET) -> None:
        """`faces` (F,3) int32, counter-clockwise seen from outside; `name` as the HUD shall show it."""
        self._shading = MeshShading(faces)
        self._faces, self._closed = closed_surface(faces)
        self._outwards: bool | None = None
        self._name = name
        self._pixel_budget = pixel_budget

    @property
    def name(self) -> str:
        """`cpu`, with the reason where it stands in for OpenGL."""
        return self._name

    def render(self, image: U8, vertices: F32, person_id: I32, intrinsics: Intrinsics) -> U8:
        """See `Renderer.render`."""
        check_picture(image, intrinsics)
        check_meshes(vertices, person_id, self._shading.vertex_count)
        picture = image.copy()
        viewport = people_viewport(vertices, intrinsics, intrinsics.image_wh)
        if viewport is None:
            return picture
        if self._closed and self._outwards is None:
            self._outwards = winds_outwards(vertices[0], self._faces)
        scale = min(1.0, float(np.sqrt(self._pixel_budget / (viewport.width * viewport.height))))
        size_wh = (max(1, round(viewport.width * scale)), max(1, round(viewport.height * scale)))
        vertices = vertices[:, : self._shading.vertex_count]
        points = _project(vertices.reshape(-1, 3), intrinsics, viewport, size_wh)
        first = (np.arange(len(vertices)) * self._shading.vertex_count)[:, None, None]
        triangles = self._visible((self._faces[None] + first).reshape(-1, 3), points)
        colours = self._shading.colours(vertices, person_id).reshape(-1, 4)
        drawn = rasterise(points, triangles, colours, size_wh)
        if size_wh != (viewport.width, viewport.height):
            drawn = cv2.resize(drawn, (viewport.width, viewport.height), interpolation=cv2.INTER_LINEAR)
        region = picture[viewport.y0 : viewport.y1, viewport.x0 : viewport.x1]
        blend(region, np.asarray(drawn, np.uint8), soften=scale == 1.0)
        return picture

    def close(self) -> None:
        """Nothing to release."""

    def _visible(self, triangles: Indices, points: F32) -> Indices:
        """The triangles in front of the near plane that face the camera (all of them on an open surface)."""
        x, y, inverse_z = (np.take(points[:, axis], triangles) for axis in range(3))
        keep = (inverse_z > 0).all(axis=1)
        area = (x[:, 1] - x[:, 0]) * (y[:, 2] - y[:, 0]) - (x[:, 2] - x[:, 0]) * (y[:, 1] - y[:, 0])
        if self._closed:
            # On a picture whose rows go down, a counter-clockwise triangle has a negative area.
            keep &= area < 0 if self._outwards else area > 0
        else:
            keep &= area != 0
        return triangles[keep]


def _project(points_m: F32, intrinsics: Intrinsics, viewport: Viewport, size_wh: tuple[int, int]) -> F32:
    """(P,3) camera frame -> (P,3) column, row (integers are pixel centres of the drawn image) and 1/z, which is 0
    for a point behind the near plane."""
    z = points_m[:, 2]
    in_front = z >= NEAR_M
    inverse = np.where(in_front, 1 / np.where(in_front, z, 1), 0).astype(np.float32)
    out = np.empty_like(points_m)
    sx, sy = size_wh[0] / viewport.width, size_wh[1] / viewport.height
    # Enlarging later keeps the edges of the picture fixed, not the first pixel's centre: hence the half pixels.
    out[:, 0] = (points_m[:, 0] * inverse * intrinsics.fx + (intrinsics.cx + 0.5 - viewport.x0)) * sx - 0.5
    out[:, 1] = (points_m[:, 1] * inverse * intrinsics.fy + (intrinsics.cy + 0.5 - viewport.y0)) * sy - 0.5
    out[:, 2] = inverse
    return out


def rasterise(points: F32, triangles: Indices, colours: U8, size_wh: tuple[int, int]) -> U8:
    """Draw triangles with a z-buffer.

    Args:
        points: (P,3) float32 column, row, 1/z > 0; triangles: (T,3) indices into them; colours: (P,4) uint8 BGRA.
        size_wh: of the result.

    Returns:
        (h,w,4) uint8: colours interpolated over the nearest triangle at each pixel centre, zeros where there is none.
    """
    width, height = size_wh
    nearest = np.zeros(width * height, np.float32)
    covered: list[tuple[Indices, Indices, F32, F32, F32]] = []
    low, count_wh, sizes = _boxes(points, triangles, size_wh)
    for block in _blocks(sizes):
        pixel, triangle, second, third, inverse_z = _cover(points, triangles, low, count_wh, sizes, block, width)
        np.maximum.at(nearest, pixel, inverse_z)
        covered.append((pixel, triangle, second, third, inverse_z))
    drawn = np.zeros((height * width, 4), np.uint8)
    for pixel, triangle, second, third, inverse_z in covered:
        won = np.flatnonzero(inverse_z == nearest[pixel])
        corners = triangles[triangle[won]]
        weights = (1 - second[won] - third[won], second[won], third[won])
        # Interpolated in the picture, not in space: within a triangle of a few pixels nobody sees the difference.
        mixed = sum(weight[:, None] * colours[corners[:, i]] for i, weight in enumerate(weights))
        drawn[pixel[won]] = np.clip(np.asarray(mixed) + 0.5, 0, 255).astype(np.uint8)
        drawn[pixel[won], 3] = 255
    return drawn.reshape(height, width, 4)


def _boxes(points: F32, triangles: Indices, size_wh: tuple[int, int]) -> tuple[Indices, Indices, Indices]:
    """First pixel (T,2), pixels across and down (T,2) and their product (T,) of each triangle's clipped box."""
    corners = np.take(points[:, :2], triangles, axis=0)
    limit = np.array(size_wh) - 1
    low = np.maximum(np.ceil(corners.min(axis=1)), 0).astype(np.intp)
    high = np.minimum(np.floor(corners.max(axis=1)), limit).astype(np.intp)
    count_wh = np.maximum(high - low + 1, 0)
    return low, count_wh, count_wh[:, 0] * count_wh[:, 1]


def _blocks(sizes: Indices) -> list[slice]:
    """Consecutive triangles whose boxes hold about `_BLOCK` pixels together."""
    total: Indices = np.cumsum(sizes)
    if len(total) == 0 or total[-1] == 0:
        return []
    marks: Indices = np.arange(_BLOCK, int(total[-1]), _BLOCK, dtype=np.intp)
    cuts: Indices = np.searchsorted(total, marks) + 1
    ends = np.unique(np.concatenate([cuts, [len(sizes)]]))
    return [slice(int(start), int(end)) for start, end in zip(np.concatenate([[0], ends[:-1]]), ends, strict=True)]


def _cover(
    points: F32, triangles: Indices, low: Indices, count_wh: Indices, sizes: Indices, block: slice, width: int
) -> tuple[Indices, Indices, F32, F32, F32]:
    """The covered pixels of one block of triangles.

    Returns flat pixel index, triangle index, weights of the second and the third corner, and 1/z, a row per
    candidate whose pixel centre lies in its triangle.
    """
    size = sizes[block]
    local = np.repeat(np.arange(len(size)), size)
    offset = np.arange(len(local)) - np.repeat(np.cumsum(size) - size, size)
    row, column = np.divmod(offset, count_wh[block, 0][local])
    a, b, c = (np.take(points, triangles[block, corner], axis=0) for corner in range(3))
    start = low[block].astype(np.float32)
    ab, ac, to = b - a, c - a, start - a[:, :2]
    inverse_area = np.float32(1) / (ab[:, 0] * ac[:, 1] - ab[:, 1] * ac[:, 0])
    # Barycentric weights are linear over the picture: the value at the box's first pixel, plus a slope per axis.
    u0, ux, uy = (
        (to[:, 0] * ac[:, 1] - to[:, 1] * ac[:, 0]) * inverse_area,
        ac[:, 1] * inverse_area,
        -ac[:, 0] * inverse_area,
    )
    v0, vx, vy = (
        (ab[:, 0] * to[:, 1] - ab[:, 1] * to[:, 0]) * inverse_area,
        -ab[:, 1] * inverse_area,
        ab[:, 0] * inverse_area,
    )
    x, y = column.astype(np.float32), row.astype(np.float32)
    u = u0[local] + x * ux[local] + y * uy[local]
    v = v0[local] + x * vx[local] + y * vy[local]
    inside: Indices = np.flatnonzero((u >= 0) & (v >= 0) & (u + v <= 1))
    local, u, v = local[inside], cast(F32, u[inside]), cast(F32, v[inside])
    first = low[block][local]
    pixel = (first[:, 1] + row[inside]) * width + first[:, 0] + column[inside]
    inverse_z = a[local, 2] + u * ab[local, 2] + v * ac[local, 2]
    return pixel, local + block.start, u, v, cast(F32, inverse_z)
