"""Draws painted people with moderngl, headless; on a machine without a GPU through Mesa's software renderer.

Works in crop windows: any rectangle of the virtual picture at any size, so that a training crop costs only its own
pixels. One renderer belongs to one thread.
"""

from __future__ import annotations

from dataclasses import dataclass

import moderngl
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from hmr.body.body_model import BodyModel
from training.synthetic.appearance import Appearance
from training.synthetic.limb_coordinates import LimbCoordinates, limb_coordinates
from training.synthetic.shaders import PART_FRAGMENT, PEOPLE_FRAGMENT, PEOPLE_VERTEX
from training.synthetic.window import PART_STRIDE, Window

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
SAMPLES = 4


@dataclass(frozen=True)
class Light:
    """`direction` towards the light and `up`, unit, camera frame; colours linear RGB."""

    direction: F32
    colour: F32
    ambient_up: F32
    ambient_down: F32
    up: F32
    shine: float


@dataclass(frozen=True)
class Person:
    """`vertices` (V, 3) float32 m in the camera frame, bare; `labelled`: whether the part map shows it."""

    vertices: F32
    appearance: Appearance
    labelled: bool = True


class PeopleRenderer:
    """Draws into windows of any size; the canvas of each size is kept."""

    def __init__(self, body: BodyModel) -> None:
        self.limbs: LimbCoordinates = limb_coordinates(body)
        self.faces = np.asarray(body.faces, np.int32)
        count, faces = len(self.limbs.arm), self.faces
        ones = np.ones(len(faces) * 3, np.float32)
        self._gather = sparse.csr_matrix(
            (ones, (faces.ravel(), np.repeat(np.arange(len(faces)), 3))), shape=(count, len(faces))
        )
        self._context = moderngl.create_context(standalone=True, backend="egl", require=330)
        ctx = self._context
        ctx.enable(moderngl.DEPTH_TEST | moderngl.CULL_FACE)
        # The projection puts row 0 on top, which mirrors the winding.
        ctx.front_face = "cw"
        self._people = ctx.program(vertex_shader=PEOPLE_VERTEX, fragment_shader=PEOPLE_FRAGMENT)
        self._parts = ctx.program(vertex_shader=PEOPLE_VERTEX, fragment_shader=PART_FRAGMENT)
        static = np.column_stack(
            [self.limbs.canonical, self.limbs.arm, self.limbs.leg, self.limbs.head, self.limbs.part]
        ).astype("f4")
        static_buffer = ctx.buffer(np.ascontiguousarray(static).tobytes())
        self._moving = ctx.buffer(reserve=count * 24, dynamic=True)
        index = ctx.buffer(faces.astype("i4").tobytes())
        content = [(self._moving, "3f 3f", "in_position", "in_normal")]
        self._people_mesh = ctx.vertex_array(
            self._people, [*content, (static_buffer, "3f 3f 4x", "in_canonical", "in_limb")], index
        )
        self._part_mesh = ctx.vertex_array(
            self._parts, [(self._moving, "3f 12x", "in_position"), (static_buffer, "24x 1f", "in_part")], index
        )
        self._canvases: dict[tuple[int, int, int], tuple[moderngl.Framebuffer, moderngl.Framebuffer]] = {}
        self._photograph: moderngl.Texture | None = None

    def dressed(self, person: Person) -> tuple[F32, F32]:
        """Vertices pushed out by clothes and hair, and their unit normals; both (V, 3)."""
        bare = person.vertices
        normals = self._normals(bare)
        vertices = bare + normals * person.appearance.displacement(self.limbs)[:, None]
        return vertices, normals

    def _normals(self, vertices: F32) -> F32:
        a, b, c = (vertices[self.faces[:, k]] for k in range(3))
        normals = self._gather @ np.cross(b - a, c - a)
        return (normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)).astype(np.float32)

    def render(
        self, people: list[Person], window: Window, light: Light, photograph: U8 | None = None
    ) -> tuple[F32, U8]:
        """Draw `people` in `window`.

        Returns (rgba (h, w, 4) float32 in 0..1, alpha premultiplied; parts (h/4, w/4) uint8, 0 = nobody labelled,
        else 1 + joint that holds the skin).
        """
        with self._context:  # a process may hold several
            return self._render(people, window, light, photograph)

    def _render(self, people: list[Person], window: Window, light: Light, photograph: U8 | None) -> tuple[F32, U8]:
        canvas, resolved = self._canvas(window.width, window.height, SAMPLES)
        coarse = window.scaled(PART_STRIDE)
        part_canvas, part_resolved = self._canvas(coarse.width, coarse.height, 0)
        self._set_light(light)
        if photograph is not None:
            self._set_photograph(photograph)
        for target in (canvas, part_canvas):
            target.use()
            target.clear(0.0, 0.0, 0.0, 0.0)
        for person in people:
            vertices, normals = self.dressed(person)
            self._moving.write(np.ascontiguousarray(np.hstack([vertices, normals]), np.float32).tobytes())
            canvas.use()
            self._people["projection"].write(window.projection().tobytes())
            self._set_appearance(person.appearance)
            self._people_mesh.render()
            part_canvas.use()
            self._parts["projection"].write(coarse.projection().tobytes())
            self._parts["labelled"].value = float(person.labelled)
            self._part_mesh.render()
        self._context.copy_framebuffer(resolved, canvas)
        rgba = np.frombuffer(resolved.read(components=4), np.uint8).reshape(window.height, window.width, 4)
        parts = np.frombuffer(part_resolved.read(components=1, alignment=1), np.uint8)
        return rgba.astype(np.float32) / 255.0, parts.reshape(coarse.height, coarse.width).copy()

    def _canvas(self, width: int, height: int, samples: int) -> tuple[moderngl.Framebuffer, moderngl.Framebuffer]:
        key = (width, height, samples)
        if key not in self._canvases:
            ctx = self._context
            plain = ctx.framebuffer([ctx.renderbuffer((width, height), 4)], ctx.depth_renderbuffer((width, height)))
            multi = plain
            if samples:
                multi = ctx.framebuffer(
                    [ctx.renderbuffer((width, height), 4, samples=samples)],
                    ctx.depth_renderbuffer((width, height), samples=samples),
                )
            self._canvases[key] = (multi, plain)
        return self._canvases[key]

    def _set_light(self, light: Light) -> None:
        p = self._people
        for name, value in (
            ("light_direction", light.direction),
            ("light_colour", light.colour),
            ("ambient_up", light.ambient_up),
            ("ambient_down", light.ambient_down),
            ("up", light.up),
        ):
            p[name].value = tuple(float(v) for v in value)
        p["shine"].value = float(light.shine)

    def _set_photograph(self, photograph: U8) -> None:
        if self._photograph is not None:
            self._photograph.release()
        height, width = photograph.shape[:2]
        self._photograph = self._context.texture(
            (width, height), 3, np.ascontiguousarray(photograph).tobytes(), alignment=1
        )
        self._photograph.use(0)

    def _set_appearance(self, look: Appearance) -> None:
        p = self._people
        p["colour_a"].value = [tuple(map(float, f.colours[0])) for f in look.fabrics]
        p["colour_b"].value = [tuple(map(float, f.colours[1])) for f in look.fabrics]
        p["weave"].value = [
            (float(f.pattern), f.scale, float(np.cos(f.angle_rad)), float(np.sin(f.angle_rad))) for f in look.fabrics
        ]
        p["cut_top"].value = (look.sleeve, look.neckline, look.neck_v, look.hem)
        p["cut_bottom"].value = (look.waist, look.trouser, look.sock, float(look.logo))
        p["cut_hair"].value = (look.hairline, look.hair_length)
        p["photo_uv"].value = look.photo_uv

    def close(self) -> None:
        """Release the GL context."""
        self._context.release()
