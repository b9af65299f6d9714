"""The live renderer: OpenGL through moderngl, with a window system or without one (EGL).

Topology is uploaded once; each frame streams vertices and colours, draws all people in one call into a frame buffer
as large as their rectangle, and reads that rectangle back.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from bodycast.app.errors import RunError, require
from bodycast.app.records import F32, I32, U8
from bodycast.app.renderers.blending import blend
from bodycast.app.renderers.shading import MeshShading, check_meshes
from bodycast.app.renderers.topology import closed_surface, winds_outwards
from bodycast.app.renderers.viewport import FAR_M, NEAR_M, Viewport, check_picture, people_viewport
from bodycast.hmr.geometry.camera import Intrinsics

if TYPE_CHECKING:
    import moderngl

# Multisampling doubles the time of a software rasteriser; there the edge is softened after the read-back instead.
_HARDWARE_SAMPLES = 4
_SOFTWARE_NAMES = ("llvmpipe", "softpipe", "swiftshader", "software")
# Frame buffers grow in steps of this many pixels, so that a person who walks nearer does not reallocate every frame.
_SIZE_STEP_PX = 128

# The pinhole projection as a clip-space position: w = z, so that the division by w is the division by depth.
# Row 0 of the frame buffer is the top row of the picture: nothing has to be flipped after the read-back.
_VERTEX_SHADER = """
#version 330
uniform vec4 pinhole;  // x: scale, offset; y: scale, offset
uniform vec2 depth;    // scale, offset
in vec3 position_m;
in vec4 colour;
out vec3 lit;
void main() {
    float z = position_m.z;
    lit = colour.rgb;
    gl_Position = vec4(pinhole.x * position_m.x + pinhole.y * z,
                       pinhole.z * position_m.y + pinhole.w * z,
                       depth.x * z + depth.y,
                       z);
}
"""
_FRAGMENT_SHADER = """
#version 330
in vec3 lit;
out vec4 fragment;
void main() { fragment = vec4(lit, 1.0); }
"""


def create_context() -> moderngl.Context:
    """A GL context without a window, current in this thread.

    On Linux through EGL, which needs no display, else through X; elsewhere through the system's own way.
    Raises: RunError with every reason where there is no usable OpenGL 3.3, UsageError where moderngl is missing.
    """
    moderngl = require("moderngl", "live.txt")
    backends: list[dict[str, str]] = [{"backend": "egl"}, {}] if sys.platform.startswith("linux") else [{}]
    reasons: list[str] = []
    for arguments in backends:
        try:
            return moderngl.create_context(standalone=True, require=330, **arguments)
        # moderngl and glcontext raise bare Exception for every missing library, display and version.
        except Exception as error:
            reasons.append(f"{arguments.get('backend', 'window system')}: {str(error).strip() or type(error).__name__}")
    raise RunError(
        f"no OpenGL 3.3 ({'; '.join(reasons)}). Install a driver or Mesa (Debian, Ubuntu: apt-get install libegl1 "
        f"libgl1 libgl1-mesa-dri), or use --renderer cpu"
    )


def is_software(gl_renderer: str) -> bool:
    """Whether a GL_RENDERER string names a rasteriser that runs on the CPU."""
    return any(name in gl_renderer.lower() for name in _SOFTWARE_NAMES)


class ModernglRenderer:
    """`Renderer` through OpenGL 3.3. Raises RunError where there is none (`create_context`)."""

    def __init__(self, faces: I32) -> None:
        """`faces` (F,3) int32, counter-clockwise seen from outside."""
        self._shading = MeshShading(faces)
        self._faces, self._closed = closed_surface(faces)
        self._hidden_side: str | None = None
        self._context: moderngl.Context | None = create_context()
        gl = self._context
        gl_renderer = str(gl.info["GL_RENDERER"])
        software = is_software(gl_renderer)
        self._samples = 0 if software else min(_HARDWARE_SAMPLES, gl.max_samples)
        self._name = f"moderngl ({gl_renderer.split(' (')[0]}{', software' if software else ''})"
        self._program = gl.program(vertex_shader=_VERTEX_SHADER, fragment_shader=_FRAGMENT_SHADER)
        self._program["depth"] = ((FAR_M + NEAR_M) / (FAR_M - NEAR_M), -2 * FAR_M * NEAR_M / (FAR_M - NEAR_M))
        self._capacity = 0
        self._buffers: list[moderngl.Buffer] = []
        self._mesh: moderngl.VertexArray | None = None
        self._size_px = (0, 0)
        self._targets: list[moderngl.Framebuffer] = []

    @property
    def name(self) -> str:
        """E.g. `moderngl (NVIDIA GeForce RTX 3090/PCIe/SSE2)` or `moderngl (llvmpipe, software)`."""
        return self._name

    def render(self, image: U8, vertices: F32, person_id: I32, intrinsics: Intrinsics) -> U8:
        """See `Renderer.render`."""
        check_picture(image, intrinsics)
        check_meshes(vertices, person_id, self._shading.vertex_count)
        if self._context is None:
            raise RunError("the renderer is closed")
        picture = image.copy()
        viewport = people_viewport(vertices, intrinsics, intrinsics.image_wh)
        if viewport is None:
            return picture
        colours = self._shading.colours(vertices, person_id)
        # Another context of this thread is made current again afterwards.
        with self._context:
            drawn = self._draw(self._context, vertices, colours, viewport, intrinsics)
        blend(picture[viewport.y0 : viewport.y1, viewport.x0 : viewport.x1], drawn, soften=self._samples == 0)
        return picture

    def close(self) -> None:
        """See `Renderer.close`."""
        if self._context is None:
            return
        with self._context:
            self._release_targets()
            self._release_mesh()
            self._program.release()
        self._context.release()
        self._context = None

    def _draw(self, gl: moderngl.Context, vertices: F32, colours: U8, viewport: Viewport, intrinsics: Intrinsics) -> U8:
        """(h,w,4) BGRA of the viewport, colours premultiplied by coverage."""
        mesh = self._mesh_for(gl, len(vertices))
        for buffer, data in zip(self._buffers, (vertices[:, : self._shading.vertex_count], colours), strict=False):
            buffer.orphan()
            buffer.write(np.ascontiguousarray(data))
        self._program["pinhole"] = pinhole_to_clip(intrinsics, viewport)
        target = self._target_for(gl, viewport)
        size = (viewport.width, viewport.height)
        gl.enable_only(gl.DEPTH_TEST)
        if self._closed:
            gl.enable(gl.CULL_FACE)
            gl.cull_face = self._side_to_cull(vertices[0])
        target.use()
        target.viewport = (0, 0, *size)
        target.clear(0.0, 0.0, 0.0, 0.0, viewport=(0, 0, *size))
        mesh.render(vertices=len(vertices) * self._faces.size)
        if len(self._targets) > 1:
            gl.copy_framebuffer(self._targets[1], target)
        drawn = np.empty((viewport.height, viewport.width, 4), np.uint8)
        self._targets[-1].read_into(drawn, viewport=(0, 0, *size), components=4, alignment=1)
        return drawn

    def _side_to_cull(self, vertices: F32) -> str:
        """OpenGL's name of the side that faces inwards. Its window's rows go up, ours down: that mirrors winding."""
        if self._hidden_side is None:
            self._hidden_side = "front" if winds_outwards(vertices, self._faces) else "back"
        return self._hidden_side

    def _mesh_for(self, gl: moderngl.Context, people: int) -> moderngl.VertexArray:
        """Buffers for at least this many people: the topology repeated, each copy with its own vertices."""
        if self._mesh is not None and people <= self._capacity:
            return self._mesh
        self._release_mesh()
        # Grown by half again, so that a crowd that fills up one by one does not reallocate at each arrival.
        self._capacity = max(people, self._capacity * 3 // 2)
        count = self._shading.vertex_count
        first = (np.arange(self._capacity, dtype=np.uint32) * np.uint32(count))[:, None, None]
        positions = gl.buffer(reserve=self._capacity * count * 12, dynamic=True)
        colours = gl.buffer(reserve=self._capacity * count * 4, dynamic=True)
        index = gl.buffer((self._faces.astype(np.uint32)[None] + first).tobytes())
        layout = [(positions, "3f", "position_m"), (colours, "4f1", "colour")]
        self._buffers = [positions, colours, index]
        mesh: moderngl.VertexArray = cast("Any", gl).vertex_array(self._program, layout, index)
        self._mesh = mesh
        return mesh

    def _target_for(self, gl: moderngl.Context, viewport: Viewport) -> moderngl.Framebuffer:
        """The frame buffer to draw into, at least as large as the viewport."""
        wanted = tuple(-(-size // _SIZE_STEP_PX) * _SIZE_STEP_PX for size in (viewport.width, viewport.height))
        if not self._targets or wanted[0] > self._size_px[0] or wanted[1] > self._size_px[1]:
            self._release_targets()
            self._size_px = (max(wanted[0], self._size_px[0]), max(wanted[1], self._size_px[1]))
            # A multisampled buffer cannot be read: it is resolved into a second, plain one.
            per_target = (self._samples, 0) if self._samples else (0,)
            self._targets = [_framebuffer(gl, self._size_px, samples) for samples in per_target]
        return self._targets[0]

    def _release_mesh(self) -> None:
        if self._mesh is not None:
            self._mesh.release()
        for buffer in self._buffers:
            buffer.release()
        self._mesh, self._buffers = None, []

    def _release_targets(self) -> None:
        for target in self._targets:
            for attachment in (*target.color_attachments, target.depth_attachment):
                attachment.release()
            target.release()
        self._targets = []


def _framebuffer(gl: moderngl.Context, size_px: tuple[int, int], samples: int) -> moderngl.Framebuffer:
    colour = gl.renderbuffer(size_px, 4, samples=samples)
    return gl.framebuffer(colour, gl.depth_renderbuffer(size_px, samples=samples))


def pinhole_to_clip(intrinsics: Intrinsics, viewport: Viewport) -> tuple[float, float, float, float]:
    """Scale and offset for x, then for y, that take camera-frame metres to clip space over the viewport.

    A pixel (u, v) has its centre at integers (OpenCV); the frame buffer has it at u + 0.5 from its left edge. So
    ndc_x = 2 (fx x / z + cx + 0.5 - x0) / width - 1, multiplied by z since clip space still divides by it.
    """
    return (
        2 * intrinsics.fx / viewport.width,
        2 * (intrinsics.cx + 0.5 - viewport.x0) / viewport.width - 1,
        2 * intrinsics.fy / viewport.height,
        2 * (intrinsics.cy + 0.5 - viewport.y0) / viewport.height - 1,
    )
