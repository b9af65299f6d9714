"""What is drawn of a frame's people: meshes, skeletons, both, or the meshes from the side."""

from __future__ import annotations

from typing import Literal, get_args

import cv2
import numpy as np

from bodycast.app.records import U8, FrameResult
from bodycast.app.renderers.base import Renderer
from bodycast.app.renderers.scaled import render_scaled
from bodycast.app.renderers.side_view import SideView
from bodycast.app.renderers.skeleton import draw_skeletons

Draw = Literal["mesh", "skeleton", "both", "side"]
DRAWS: tuple[Draw, ...] = get_args(Draw)


class PeoplePicture:
    """Draws with one renderer, in the thread that made it."""

    def __init__(self, renderer: Renderer) -> None:
        self._renderer = renderer
        self._side = SideView()

    def draw(self, result: FrameResult, what: Draw, opacity: float = 1.0, scale: float = 1.0) -> U8:
        """A new (H,W,3) uint8 BGR picture: `result.overlay` and its people. opacity: of the meshes, 0..1. scale: of
        the resolution at which the meshes over the picture are drawn, (0, 1]."""
        if what == "side":
            return self._side.draw(self._renderer, result)
        picture = result.overlay
        if what != "skeleton":
            people = result.bodies.vertices, result.estimates.id, result.intrinsics
            drawn = render_scaled(self._renderer, picture, *people, scale)
            if opacity < 1:
                drawn = np.asarray(cv2.addWeighted(drawn, opacity, picture, 1 - opacity, 0), np.uint8)
            picture = drawn
        return picture if what == "mesh" else draw_skeletons(picture, result)
