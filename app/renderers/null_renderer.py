"""No overlay: the picture as it is."""

from __future__ import annotations

from bodycast.app.records import F32, I32, U8
from bodycast.app.renderers.viewport import check_picture
from bodycast.hmr.geometry.camera import Intrinsics


class NullRenderer:
    """`Renderer` that draws nothing, for runs that only want the motion."""

    @property
    def name(self) -> str:
        """`none`."""
        return "none"

    def render(self, image: U8, vertices: F32, person_id: I32, intrinsics: Intrinsics) -> U8:
        """A copy of `image`."""
        check_picture(image, intrinsics)
        return image.copy()

    def close(self) -> None:
        """Nothing to release."""
