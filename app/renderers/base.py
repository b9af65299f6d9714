"""What a renderer promises."""

from __future__ import annotations

from typing import Protocol

from bodycast.app.records import F32, I32, U8
from bodycast.hmr.geometry.camera import Intrinsics


class Renderer(Protocol):
    """Draws shaded meshes over a picture. Made, used and closed in one thread: it may own a GL context.
    Topology is given when it is made; only vertices move."""

    @property
    def name(self) -> str:
        """For the HUD, run.json and messages; says when GL is a software renderer."""
        ...

    def render(self, image: U8, vertices: F32, person_id: I32, intrinsics: Intrinsics) -> U8:
        """A new (H,W,3) uint8 BGR picture: `image` with N meshes over it.

        `vertices` (N,V,3) float32 m, camera frame; `person_id` (N,) int32 chooses each person's colour. Nearer
        meshes hide farther ones. Vertices behind the camera are clipped; N = 0 returns a copy of the picture.
        """
        ...

    def close(self) -> None:
        """Release the context. May be called twice, from the thread that made it."""
        ...
