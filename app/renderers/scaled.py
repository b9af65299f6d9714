"""Meshes at a lower resolution than the picture, which stays as sharp as it is."""

from __future__ import annotations

import cv2
import numpy as np

from bodycast.app.records import F32, I32, U8
from bodycast.app.renderers.base import Renderer
from bodycast.app.renderers.viewport import people_viewport
from bodycast.hmr.geometry.camera import Intrinsics


def render_scaled(
    renderer: Renderer, image: U8, vertices: F32, person_id: I32, intrinsics: Intrinsics, scale: float
) -> U8:
    """As `Renderer.render`, with meshes drawn at `scale` (0..1] of the resolution and enlarged.

    Only the rectangle that the meshes cover is made smaller, drawn and enlarged; what the renderer has left as it was
    there is taken from the picture itself.
    """
    viewport = people_viewport(vertices, intrinsics, intrinsics.image_wh)
    if scale >= 1 or viewport is None:
        return renderer.render(image, vertices, person_id, intrinsics)
    part = image[viewport.y0 : viewport.y1, viewport.x0 : viewport.x1]
    small_wh = (max(1, round(viewport.width * scale)), max(1, round(viewport.height * scale)))
    small = np.asarray(cv2.resize(part, small_wh, interpolation=cv2.INTER_NEAREST), np.uint8)
    drawn = renderer.render(small, vertices, person_id, _camera_of(intrinsics, viewport.x0, viewport.y0, part, small))
    size = (viewport.width, viewport.height)
    covered = (drawn != small).any(axis=2).astype(np.uint8)
    mask = np.asarray(cv2.resize(covered, size, interpolation=cv2.INTER_NEAREST), np.uint8) > 0
    large = np.asarray(cv2.resize(drawn, size, interpolation=cv2.INTER_LINEAR), np.uint8)
    picture = image.copy()
    np.copyto(picture[viewport.y0 : viewport.y1, viewport.x0 : viewport.x1], large, where=mask[..., None])
    return picture


def _camera_of(intrinsics: Intrinsics, x0: int, y0: int, part: U8, small: U8) -> Intrinsics:
    """The camera of a rectangle that was made smaller. Pixel centres are integers."""
    sx, sy = small.shape[1] / part.shape[1], small.shape[0] / part.shape[0]
    return Intrinsics(
        intrinsics.fx * sx,
        intrinsics.fy * sy,
        (intrinsics.cx - x0 + 0.5) * sx - 0.5,
        (intrinsics.cy - y0 + 0.5) * sy - 0.5,
        (small.shape[1], small.shape[0]),
    )
