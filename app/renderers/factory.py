"""Renderers by name."""

from __future__ import annotations

from typing import Any, Literal, assert_never, cast, get_args

import numpy as np
from numpy.typing import NDArray

from bodycast.app.errors import RunError, UsageError
from bodycast.app.records import I32
from bodycast.app.renderers.base import Renderer

RendererName = Literal["auto", "moderngl", "cpu", "pyrender", "none"]
RENDERER_NAMES: tuple[str, ...] = get_args(RendererName)


def open_renderer(name: str, faces: NDArray[np.integer[Any]]) -> Renderer:
    """The renderer of that name, to be used and closed in the calling thread.

    `auto` is moderngl, or the CPU rasteriser where this machine has no OpenGL: its `name` then says so and why.

    Args:
        faces: (F,3) vertex indices of the body, counter-clockwise seen from outside.

    Raises:
        UsageError: unknown name, or a package that is not installed.
        RunError: the renderer that was asked for cannot run here.
    """
    if name not in RENDERER_NAMES:
        raise UsageError(f"unknown renderer {name!r}; choose one of {', '.join(RENDERER_NAMES)}")
    chosen = cast(RendererName, name)
    triangles = np.ascontiguousarray(faces, np.int32)
    match chosen:
        case "auto":
            return _moderngl_or_cpu(triangles)
        case "moderngl":
            from bodycast.app.renderers.moderngl_renderer import ModernglRenderer

            return ModernglRenderer(triangles)
        case "cpu":
            from bodycast.app.renderers.cpu_renderer import CpuRenderer

            return CpuRenderer(triangles)
        case "pyrender":
            from bodycast.app.renderers.pyrender_renderer import PyrenderRenderer

            return PyrenderRenderer(triangles)
        case "none":
            from bodycast.app.renderers.null_renderer import NullRenderer

            return NullRenderer()
        case _:
            assert_never(chosen)


def _moderngl_or_cpu(faces: I32) -> Renderer:
    from bodycast.app.renderers.cpu_renderer import CpuRenderer
    from bodycast.app.renderers.moderngl_renderer import ModernglRenderer

    try:
        return ModernglRenderer(faces)
    except (RunError, UsageError) as error:
        return CpuRenderer(faces, name=f"cpu, since moderngl cannot run here: {error}")
