"""Renderers draw shaded meshes over the picture (`base.Renderer`); `open_renderer` makes one by name."""

from __future__ import annotations

from bodycast.app.renderers.factory import RENDERER_NAMES, open_renderer

__all__ = ["RENDERER_NAMES", "open_renderer"]
