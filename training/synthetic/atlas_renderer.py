"""Draws many crops into one picture (an atlas) with moderngl: OpenGL 3.3 through EGL, on a GPU or on Mesa's llvmpipe.

One read-back for all crops of a chunk. Three passes: shadow maps, colours half as large again, part maps at a
quarter of it. A renderer belongs to the thread that made it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Concatenate, ParamSpec, TypeVar

import cv2
import moderngl
import numpy as np
from numpy.typing import NDArray

from training.synthetic import atlas_shaders as glsl
from training.synthetic.drawn import VERTEX_FORMAT, VERTEX_NAMES, Mesh
from training.synthetic.window import PART_STRIDE, Window

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
SUPERSAMPLE = 1.5  # per direction; multisampling costs software renderers three times as much for the same edges
SHADOW_PX = 256
AVATARS_UNIT = 6
P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Lighting:
    """Light of one crop, camera frame, linear RGB.

    ambient (9, 3): irradiance / pi in the order 1, y, z, x, xy, yz, 3zz-1, xz, xx-yy. lamp_direction (3,) unit, towards
    the lamp; lamp_colour (3,); blur_texels: radius of the shadow's edge; left_in_shadow: share of the lamp that shadow
    keeps; ambient_lost: share of the ambient light that shadow takes; wrinkles: depth of the cloth's bumps.
    """

    ambient: F32
    lamp_direction: F32
    lamp_colour: F32
    blur_texels: float
    left_in_shadow: float
    ambient_lost: float
    wrinkles: float


@dataclass(frozen=True)
class Drawn:
    """A mesh in a crop. motions (24, 3, 4): rest space -> camera frame per joint; `labelled`: the part map shows it."""

    mesh: UploadedMesh
    motions: F32
    labelled: bool = False


@dataclass(frozen=True)
class CropScene:
    """One crop: what is in it, the window it is seen through, light; centre (3,) and radius of what casts shadows."""

    drawn: list[Drawn]
    window: Window
    lighting: Lighting
    centre_m: F32
    radius_m: float


@dataclass(frozen=True)
class UploadedMesh:
    """A mesh on the GPU: vertex arrays of the passes; `release` frees it. The first `skin_count` indices are skin;
    the first `shadowless_count` throw no shadow. `textured`: `skin` is of the avatars' program."""

    skin: moderngl.VertexArray
    cloth: moderngl.VertexArray
    skin_count: int
    shadowless_count: int
    index_count: int
    shadow: moderngl.VertexArray
    part: moderngl.VertexArray
    look: bytes
    buffers: tuple[moderngl.Buffer, ...]
    context: moderngl.Context
    textured: bool = False

    def release(self) -> None:
        """Free the GPU memory."""
        with self.context:
            for thing in (self.skin, self.cloth, self.shadow, self.part, *self.buffers):
                thing.release()


def _current(method: Callable[Concatenate[AtlasRenderer, P], R]) -> Callable[Concatenate[AtlasRenderer, P], R]:
    """A method that makes its renderer's GL context the current one: a process may hold several."""

    @functools.wraps(method)
    def wrapped(self: AtlasRenderer, *args: P.args, **kwargs: P.kwargs) -> R:
        with self._context:
            return method(self, *args, **kwargs)

    return wrapped


class AtlasRenderer:
    """Draws up to columns * rows crops of crop_hw at a time."""

    def __init__(
        self,
        columns: int = 8,
        rows: int = 4,
        crop_hw: tuple[int, int] = (256, 192),
        shadow_px: int = SHADOW_PX,
        fold_m: float = 0.0,
    ) -> None:
        """crop_hw: size of a crop, px. fold_m: height of the folds in the most wrinkled cloth, m."""
        self._fold_m = fold_m
        self.columns, self.rows, self.crop_hw, self.shadow_px = columns, rows, crop_hw, shadow_px
        self._fine_hw = (round(crop_hw[0] * SUPERSAMPLE), round(crop_hw[1] * SUPERSAMPLE))
        ctx = moderngl.create_context(standalone=True, backend="egl", require=330)
        self._context = ctx
        ctx.front_face = "cw"  # the projection puts row 0 on top, which mirrors the winding
        self._skin = ctx.program(vertex_shader=glsl.COLOUR_VERTEX, fragment_shader=glsl.SKIN_FRAGMENT)
        self._cloth = ctx.program(vertex_shader=glsl.COLOUR_VERTEX, fragment_shader=glsl.CLOTH_FRAGMENT)
        self._avatar: moderngl.Program | None = None  # made for the first pool of avatars
        self._shadow = ctx.program(vertex_shader=glsl.SHADOW_VERTEX, fragment_shader=glsl.SHADOW_FRAGMENT)
        self._part = ctx.program(vertex_shader=glsl.PART_VERTEX, fragment_shader=glsl.PART_FRAGMENT)
        width, height = columns * crop_hw[1], rows * crop_hw[0]
        coarse = (width // PART_STRIDE, height // PART_STRIDE)
        fine = (columns * self._fine_hw[1], rows * self._fine_hw[0])
        self._canvas = ctx.framebuffer([ctx.renderbuffer(fine, 4)], ctx.depth_renderbuffer(fine))
        self._part_canvas = ctx.framebuffer([ctx.renderbuffer(coarse, 1)], ctx.depth_renderbuffer(coarse))
        self._shadow_map = ctx.depth_texture((columns * self.shadow_px, rows * self.shadow_px))
        self._shadow_map.compare_func = "<="
        self._shadow_map.filter = (moderngl.LINEAR, moderngl.LINEAR)
        self._shadow_canvas = ctx.framebuffer(depth_attachment=self._shadow_map)
        self._textures: dict[str, moderngl.Texture | moderngl.TextureArray] = {}
        for unit, name in enumerate(("cloth", "prints", "heads", "grain", "shadow", "folds")):
            for program in (self._skin, self._cloth):
                if name in program:
                    program[name].value = unit
        self._set_tile("grain", tileable_grain())
        self._set_tile("folds", tileable_folds())
        self.set_head_box((0.0, 0.0, 1.0, 0.5))

    @_current
    def set_head_box(self, box: tuple[float, float, float, float]) -> None:
        """Where painted heads lie in the template: axis x, axis z, top and low in metres."""
        self._skin["head_box"].value = box

    @_current
    def set_textures(self, name: str, pictures: U8) -> None:
        """Replace the pool `cloth` or `avatars` (N, h, w, 3), `prints` or `heads` (N, h, w, 4)."""
        if name == "avatars" and self._avatar is None:
            self._avatar = self._context.program(vertex_shader=glsl.COLOUR_VERTEX, fragment_shader=glsl.AVATAR_FRAGMENT)
            for unit, pool in ((3, "grain"), (4, "shadow"), (AVATARS_UNIT, "avatars")):
                if pool in self._avatar:
                    self._avatar[pool].value = unit
        if name in self._textures:
            self._textures[name].release()
        count, height, width, channels = pictures.shape
        array = self._context.texture_array(
            (width, height, count), channels, np.ascontiguousarray(pictures).tobytes(), alignment=1
        )
        if name != "heads":
            array.build_mipmaps()
        array.repeat_x = True
        array.repeat_y = name != "heads"
        self._textures[name] = array

    def _set_tile(self, name: str, picture: U8) -> None:
        tile = self._context.texture((256, 256), 4, picture.tobytes())
        tile.build_mipmaps()
        self._textures[name] = tile

    @_current
    def upload(self, mesh: Mesh) -> UploadedMesh:
        """Put a mesh on the GPU."""
        ctx = self._context
        skin = self._avatar if mesh.textured else self._skin
        if skin is None:
            raise ValueError("a textured mesh needs the pool of avatars: set_textures comes first")
        buffer = ctx.buffer(np.ascontiguousarray(mesh.vertices).tobytes())
        index = ctx.buffer(np.ascontiguousarray(mesh.faces, np.int32).tobytes())
        body_index = ctx.buffer(np.ascontiguousarray(mesh.body_faces, np.int32).tobytes())

        def array(program: moderngl.Program, indices: moderngl.Buffer) -> moderngl.VertexArray:
            used = {name for name in program if name in VERTEX_NAMES}
            formats, names = [], []
            for name, layout in zip(VERTEX_NAMES, VERTEX_FORMAT.split(), strict=True):
                if name in used:
                    formats.append(layout)
                    names.append(name)
                else:
                    formats.append(f"{4 * int(layout[0]) if layout.endswith('f4') else 4}x")
            return ctx.vertex_array(program, [(buffer, " ".join(formats), *names)], indices)

        return UploadedMesh(
            array(skin, index), array(self._cloth, index), 3 * mesh.skin_faces, 3 * mesh.shadowless,
            3 * len(mesh.faces),
            array(self._shadow, index), array(self._part, body_index),
            np.ascontiguousarray(mesh.look, np.float32).tobytes(), (buffer, index, body_index), ctx, mesh.textured,
        )  # fmt: skip

    @_current
    def render(self, scenes: list[CropScene]) -> tuple[U8, U8]:
        """(N, h, w, 4) uint8 colours, alpha premultiplied, sRGB, and (N, h/4, w/4) uint8 parts: 0 nobody labelled, else
        1 + joint that holds the skin."""
        if len(scenes) > self.columns * self.rows:
            raise ValueError(f"an atlas holds {self.columns * self.rows} crops, got {len(scenes)}")
        ctx = self._context
        ctx.enable_only(moderngl.DEPTH_TEST)
        lights = [shadow_projection(s.lighting.lamp_direction, s.centre_m, s.radius_m) for s in scenes]
        self._draw_shadows(scenes, lights)
        self._draw_colours(scenes, lights)
        self._draw_parts(scenes)
        height, width = self.crop_hw
        size = self.rows * height, self.columns * width
        fine = np.frombuffer(self._canvas.read(components=4), np.uint8)
        fine = fine.reshape(self.rows * self._fine_hw[0], self.columns * self._fine_hw[1], 4)
        colours = cv2.resize(fine, (size[1], size[0]), interpolation=cv2.INTER_AREA)
        parts = np.frombuffer(self._part_canvas.read(components=1, alignment=1), np.uint8)
        h, w = height // PART_STRIDE, width // PART_STRIDE
        colours = colours.reshape(self.rows, height, self.columns, width, 4).swapaxes(1, 2)
        parts = parts.reshape(self.rows, h, self.columns, w).swapaxes(1, 2)
        count = len(scenes)
        return colours.reshape(-1, height, width, 4)[:count], parts.reshape(-1, h, w)[:count]

    def _cell(self, number: int, width: int, height: int) -> tuple[int, int, int, int]:
        row, column = divmod(number, self.columns)
        return column * width, row * height, width, height

    def _draw_shadows(self, scenes: list[CropScene], lights: list[F32]) -> None:
        self._shadow_canvas.use()
        self._shadow_canvas.clear(depth=1.0)
        for number, (scene, light) in enumerate(zip(scenes, lights, strict=True)):
            self._shadow_canvas.viewport = self._cell(number, self.shadow_px, self.shadow_px)
            self._shadow["projection"].write(np.ascontiguousarray(light.T).tobytes())
            for drawn in scene.drawn:
                mesh = drawn.mesh
                if mesh.index_count > mesh.shadowless_count:
                    self._bind(self._shadow, drawn, look=True)
                    mesh.shadow.render(vertices=mesh.index_count - mesh.shadowless_count, first=mesh.shadowless_count)

    def _draw_colours(self, scenes: list[CropScene], lights: list[F32]) -> None:
        for unit, name in enumerate(("cloth", "prints", "heads", "grain")):
            self._textures[name].use(unit)
        self._shadow_map.use(4)
        self._textures["folds"].use(5)
        if self._avatar is not None:
            self._textures["avatars"].use(AVATARS_UNIT)
        self._canvas.use()
        self._canvas.clear(0.0, 0.0, 0.0, 0.0)
        for number, (scene, light) in enumerate(zip(scenes, lights, strict=True)):
            self._canvas.viewport = self._cell(number, self._fine_hw[1], self._fine_hw[0])
            for program in (self._skin, self._cloth, self._avatar):
                if program is not None:
                    self._set_window(program, number, scene, light)
            for drawn in scene.drawn:
                self._draw_dressed(drawn)

    def _draw_dressed(self, drawn: Drawn) -> None:
        """Outsides of clothes, then skin, then insides of clothes: what is hidden comes late and costs little."""
        ctx, mesh = self._context, drawn.mesh
        if mesh.textured and self._avatar is not None:  # hair is cards that are seen from both sides
            self._bind(self._avatar, drawn, look=True)
            mesh.skin.render(vertices=mesh.index_count)
            return
        rest = mesh.index_count - mesh.skin_count
        ctx.enable(moderngl.CULL_FACE)
        ctx.cull_face = "back"
        if rest:
            self._bind(self._cloth, drawn, look=True)
            mesh.cloth.render(vertices=rest, first=mesh.skin_count)
        if mesh.skin_count:
            self._bind(self._skin, drawn, look=True)
            mesh.skin.render(vertices=mesh.skin_count)
        if rest:
            ctx.cull_face = "front"
            mesh.cloth.render(vertices=rest, first=mesh.skin_count)
        ctx.disable(moderngl.CULL_FACE)

    def _set_window(self, program: moderngl.Program, number: int, scene: CropScene, light: F32) -> None:
        """Camera, place in the shadow map and light of one crop."""
        program["projection"].write(finer(scene.window).projection().tobytes())
        row, column = divmod(number, self.columns)
        edge = 1.5 / self.shadow_px
        low = np.array([column / self.columns, row / self.rows])
        span = np.array([1 / self.columns, 1 / self.rows])
        to_cell = np.eye(4, dtype=np.float32)
        to_cell[:2, :2], to_cell[:2, 3] = np.diag(span / 2), low + span / 2
        to_cell[2, 2:] = 0.5, 0.5
        program["to_shadow"].write(np.ascontiguousarray((to_cell @ light).T).tobytes())
        program["atlas"].value = tuple(span)
        program["cell"].value = (*(low + span * edge), *(low + span * (1 - edge)))
        lamp = scene.lighting
        program["ambient"].write(np.ascontiguousarray(lamp.ambient, np.float32).tobytes())
        program["lamp_direction"].value = tuple(map(float, lamp.lamp_direction))
        program["lamp_colour"].value = tuple(map(float, lamp.lamp_colour))
        if "fold_m" in program:
            program["fold_m"].value = self._fold_m * lamp.wrinkles
        program["softness"].value = (
            lamp.blur_texels / self.shadow_px, lamp.left_in_shadow, lamp.ambient_lost, lamp.wrinkles,
        )  # fmt: skip

    def _draw_parts(self, scenes: list[CropScene]) -> None:
        program = self._part
        self._part_canvas.use()
        self._part_canvas.clear(0.0, 0.0, 0.0, 0.0)
        height, width = (n // PART_STRIDE for n in self.crop_hw)
        for number, scene in enumerate(scenes):
            self._part_canvas.viewport = self._cell(number, width, height)
            program["projection"].write(scene.window.scaled(PART_STRIDE).projection().tobytes())
            for drawn in scene.drawn:
                program["labelled"].value = float(drawn.labelled)
                self._bind(program, drawn, look=False)
                drawn.mesh.part.render()

    @staticmethod
    def _bind(program: moderngl.Program, drawn: Drawn, look: bool) -> None:
        program["motion"].write(np.ascontiguousarray(drawn.motions, np.float32).tobytes())
        if look:
            program["look"].write(drawn.mesh.look)

    def close(self) -> None:
        """Release the GL context."""
        self._context.release()


def finer(window: Window) -> Window:
    """The same rectangle at SUPERSAMPLE times the pixels in each direction."""
    shift = (SUPERSAMPLE - 1) / 2
    return Window(
        window.focal * SUPERSAMPLE, window.u0 * SUPERSAMPLE + shift, window.v0 * SUPERSAMPLE + shift,
        round(window.width * SUPERSAMPLE), round(window.height * SUPERSAMPLE),
    )  # fmt: skip


def shadow_projection(direction: F32, centre: F32, radius: float) -> F32:
    """(4, 4) orthographic view along -direction of a ball (centre (3,), radius), camera frame -> clip space -1..1."""
    z = -np.asarray(direction, np.float64)
    side = np.array([1.0, 0.0, 0.0]) if abs(z[0]) < 0.9 else np.array([0.0, 1.0, 0.0])
    x = np.cross(side, z)
    x /= np.linalg.norm(x)
    rotation = np.stack([x, np.cross(z, x), z])
    out = np.eye(4, dtype=np.float32)
    out[:3, :3] = rotation / radius
    out[:3, 3] = -(rotation @ centre) / radius
    return out


def tileable_grain(size: int = 256, seed: int = 12) -> U8:
    """(size, size, 4) uint8 noise of several octaves that repeats without a seam: wrinkles in rgb, shade in alpha."""
    rng = np.random.default_rng(seed)
    out = np.zeros((size, size, 4), np.float32)
    for cells, weight in ((4, 1.0), (9, 0.8), (20, 0.45), (48, 0.2)):
        out += weight * _tileable_noise(rng, size, (cells, cells, 4))
    return np.clip(127.5 + 127.5 * out / (2.5 * out.std()), 0, 255).astype(np.uint8)


def tileable_folds(size: int = 256, seed: int = 21) -> U8:
    """(size, size, 4) uint8 creased cloth that repeats without a seam: height in rgb, how deep in a fold in alpha.

    Sharp ridges where noise changes its sign (Musgrave's ridged noise), bent by coarser noise, so that they run on.
    """
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size].astype(np.float32)
    bend = [_unit_noise(rng, size, 5) * size * 0.06 for _ in range(2)]
    height = np.zeros((size, size), np.float32)
    for cells, weight in ((4, 1.0), (9, 0.5), (20, 0.2)):
        ridge = 1 - np.minimum(np.abs(_unit_noise(rng, size, cells)), 1)
        height += weight * np.square(ridge)
    height = cv2.remap(height, (x + bend[0]) % size, (y + bend[1]) % size, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    height = (height - height.min()) / np.ptp(height)
    # In single precision OpenCV's running sums differ by its number of threads, and so would the pixels of a seed.
    around = cv2.blur(np.pad(height.astype(np.float64), 16, mode="wrap"), (25, 25))[16:-16, 16:-16]
    deep = np.clip(4 * (around - height), 0, 1)
    return np.round(255 * np.dstack([height, height, height, deep])).astype(np.uint8)


def _tileable_noise(rng: np.random.Generator, size: int, grains: tuple[int, ...]) -> F32:
    """(size, size, ...) smooth noise with so many grains a side; `grains` may have channels."""
    small = rng.normal(0, 1, grains).astype(np.float32)
    small = np.pad(small, [(2, 2), (2, 2), (0, 0)][: small.ndim], mode="wrap")
    step = size / grains[0]
    wide = cv2.resize(small, None, fx=step, fy=step, interpolation=cv2.INTER_CUBIC)
    edge = round(2 * step)
    return wide[edge : edge + size, edge : edge + size]


def _unit_noise(rng: np.random.Generator, size: int, cells: int) -> F32:
    """(size, size) smooth noise of unit variance."""
    noise = _tileable_noise(rng, size, (cells, cells))
    return (noise / noise.std()).astype(np.float32)
