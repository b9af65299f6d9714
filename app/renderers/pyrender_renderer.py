"""Stills through pyrender: physically based shading, several times slower than `moderngl` (never the default).

pyrender 0.1.45 is unmaintained and pins PyOpenGL 3.1.0. It runs with numpy 2 as long as no code path asks for the
bounds of an empty mesh (`np.infty` is gone), so the scene here is built without bounds: primitives with given
normals, a camera with a fixed depth range, lights without shadows.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import numpy as np

from bodycast.app.errors import RunError, require
from bodycast.app.records import F32, I32, U8
from bodycast.app.renderers.blending import blend
from bodycast.app.renderers.shading import MeshShading, check_meshes, person_colours
from bodycast.app.renderers.viewport import FAR_M, NEAR_M, check_picture, people_viewport
from bodycast.hmr.geometry.camera import Intrinsics

# pyrender's frame is OpenGL's: y up, z towards the viewer.
_OPENGL_FROM_CAMERA = np.array([1, -1, -1], np.float32)
_GAMMA = 2.2


class PyrenderRenderer:
    """`Renderer` through pyrender. Raises UsageError where it is not installed, RunError where OpenGL is missing."""

    def __init__(self, faces: I32) -> None:
        """`faces` (F,3) int32, counter-clockwise seen from outside."""
        self._shading = MeshShading(faces)
        self._faces = faces.astype(np.uint32)
        if sys.platform.startswith("linux") and not os.environ.get("DISPLAY"):
            # PyOpenGL reads this once, when it is imported; without a display only EGL gives a context.
            os.environ.setdefault("PYOPENGL_PLATFORM", "egl")
        self._pyrender: Any = require("pyrender", "export.txt")
        self._offscreen: Any = None
        self._open((64, 64))

    @property
    def name(self) -> str:
        """`pyrender` with its version."""
        return f"pyrender {self._pyrender.__version__}"

    def render(self, image: U8, vertices: F32, person_id: I32, intrinsics: Intrinsics) -> U8:
        """See `Renderer.render`."""
        check_picture(image, intrinsics)
        check_meshes(vertices, person_id, self._shading.vertex_count)
        if self._offscreen is None:
            raise RunError("the renderer is closed")
        picture = image.copy()
        if people_viewport(vertices, intrinsics, intrinsics.image_wh) is None:
            return picture
        self._open(intrinsics.image_wh)
        scene = self._scene(vertices[:, : self._shading.vertex_count], person_id, intrinsics)
        drawn, _ = self._offscreen.render(scene, flags=self._pyrender.RenderFlags.RGBA)
        blend(picture, np.ascontiguousarray(np.asarray(drawn, np.uint8)[..., [2, 1, 0, 3]]), soften=False)
        return picture

    def close(self) -> None:
        """See `Renderer.close`."""
        if self._offscreen is not None:
            self._offscreen.delete()
            self._offscreen = None

    def _open(self, size_wh: tuple[int, int]) -> None:
        """An off-screen buffer of this size."""
        if self._offscreen is None:
            try:
                self._offscreen = self._pyrender.OffscreenRenderer(*size_wh)
            # PyOpenGL and pyglet raise anything from AttributeError to GLError where there is no context.
            except Exception as error:
                raise RunError(
                    f"pyrender: no OpenGL context ({type(error).__name__}: {error}). Use --renderer moderngl or cpu"
                ) from error
        elif (self._offscreen.viewport_width, self._offscreen.viewport_height) != size_wh:
            self._offscreen.viewport_width, self._offscreen.viewport_height = size_wh

    def _scene(self, vertices: F32, person_id: I32, intrinsics: Intrinsics) -> Any:
        pyrender = self._pyrender
        scene = pyrender.Scene(bg_color=(0.0, 0.0, 0.0, 0.0), ambient_light=(0.25, 0.25, 0.25))
        for row, colour_bgr in enumerate(person_colours(person_id)):
            colour = (colour_bgr[::-1] / 255) ** _GAMMA
            material = pyrender.MetallicRoughnessMaterial(
                baseColorFactor=(*colour, 1.0), metallicFactor=0.0, roughnessFactor=0.6
            )
            primitive = pyrender.Primitive(
                positions=vertices[row] * _OPENGL_FROM_CAMERA,
                normals=self._shading.normals(vertices[row]) * _OPENGL_FROM_CAMERA,
                indices=self._faces,
                material=material,
            )
            scene.add(pyrender.Mesh([primitive]))
        # pyrender counts from the corner of the first pixel, we from its centre.
        camera = pyrender.IntrinsicsCamera(
            intrinsics.fx, intrinsics.fy, intrinsics.cx + 0.5, intrinsics.cy + 0.5, znear=NEAR_M, zfar=FAR_M
        )
        scene.add(camera, pose=np.eye(4))
        for direction, intensity in (((0.45, 0.65, 0.62), 3.0), ((-0.75, -0.1, 0.65), 1.0)):
            scene.add(pyrender.DirectionalLight(color=np.ones(3), intensity=intensity), pose=_facing(direction))
        return scene


def _facing(towards_light: tuple[float, float, float]) -> F32:
    """(4,4) pose of a directional light (it shines along its -z) that stands in the given direction."""
    z = np.array(towards_light) / np.linalg.norm(towards_light)
    x = np.cross([0.0, 1.0, 0.0], z)
    x /= np.linalg.norm(x)
    pose = np.eye(4, dtype=np.float32)
    pose[:3, :3] = np.stack([x, np.cross(z, x), z], axis=1)
    return pose
