"""Renders the embedded body in many poses and shapes on one sheet, to be looked at.

    python -m training.body.contact_sheet OUT.png --clips DIR

DIR holds `.bvh` or `.bvh.gz` clips on CMU's Daz-friendly skeleton. Needs `moderngl` with EGL (software rendering will
do).
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from bodycast.hmr.body.body_model import EMBEDDED_BODY, BodyModel
from bodycast.hmr.body.joints import NUM_JOINTS
from training.mocap.retarget import load_smpl_motion

TILE_WH = (200, 230)
COLUMNS = 10
SEED = 3
FIELD_OF_VIEW_RAD = np.deg2rad(32.0)
DISTANCE_M = 4.2
FLOOR_HALF_M = 1.2

_VERTEX_SHADER = """
#version 330
uniform mat4 clip_from_world;
in vec3 place; in vec3 normal; in vec3 tint;
out vec3 surface_normal; out vec3 colour;
void main() { gl_Position = clip_from_world * vec4(place, 1.0); surface_normal = normal; colour = tint; }
"""
_FRAGMENT_SHADER = """
#version 330
uniform vec3 light;
in vec3 surface_normal; in vec3 colour;
out vec4 shade;
void main() {
    vec3 n = normalize(surface_normal);
    float key = max(dot(n, light), 0.0);
    float fill = 0.5 + 0.5 * n.y;
    shade = vec4(colour * (0.25 + 0.6 * key + 0.25 * fill), 1.0);
}
"""


@dataclass(frozen=True)
class Tile:
    """One picture of the sheet: pose (24,3,3), betas (10,), transl (3,), azimuth_rad of the camera, caption."""

    pose: NDArray[np.float32]
    betas: NDArray[np.float32]
    transl: NDArray[np.float32]
    azimuth_rad: float
    caption: str


class SheetRenderer:
    """Draws one body and a square of floor at y = 0 into a small picture."""

    def __init__(self, body: BodyModel) -> None:
        import moderngl

        self.body = body
        self.context = moderngl.create_context(standalone=True, backend="egl")
        self.context.enable(moderngl.DEPTH_TEST)
        self.program = self.context.program(vertex_shader=_VERTEX_SHADER, fragment_shader=_FRAGMENT_SHADER)
        self.target = self.context.simple_framebuffer(TILE_WH, samples=4)
        self.resolved = self.context.simple_framebuffer(TILE_WH)
        self.tint = side_colours(body)

    def draw(self, tile: Tile) -> NDArray[np.uint8]:
        """(H,W,3) uint8 BGR."""
        vertices = self.body(tile.pose[None], tile.betas[None], tile.transl[None]).vertices[0]
        middle = vertices.mean(axis=0)
        centre = np.array([middle[0], max(0.8, float(middle[1])), middle[2]])
        self.target.use()
        self.target.clear(0.93, 0.94, 0.95, 1.0)
        clip_from_world = camera_matrix(centre, tile.azimuth_rad)
        light = rotation_about_y(tile.azimuth_rad) @ [-0.45, 0.65, 0.6]  # from above the camera's left shoulder
        self.program["light"].value = tuple(light)
        self.program["clip_from_world"].write(clip_from_world.T.astype("f4").tobytes())
        body = np.concatenate([vertices, vertex_normals(vertices, self.body.faces), self.tint], axis=1)
        self._draw_triangles(body, self.body.faces)
        self._draw_triangles(*floor(centre))
        self.context.copy_framebuffer(self.resolved, self.target)
        pixels = np.frombuffer(self.resolved.read(components=3), np.uint8).reshape(TILE_WH[1], TILE_WH[0], 3)
        picture = np.ascontiguousarray(pixels[::-1, :, ::-1])
        cv2.putText(picture, tile.caption, (5, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.36, (60, 60, 60), 1, cv2.LINE_AA)
        return picture

    def _draw_triangles(self, corners: NDArray[np.float32], faces: NDArray[np.int32]) -> None:
        vertex_buffer = self.context.buffer(corners.astype("f4").tobytes())
        index_buffer = self.context.buffer(faces.astype("i4").tobytes())
        layout = [(vertex_buffer, "3f 3f 3f", "place", "normal", "tint")]
        mesh = self.context.vertex_array(self.program, layout, index_buffer)
        mesh.render()
        for item in (mesh, vertex_buffer, index_buffer):
            item.release()


def side_colours(body: BodyModel) -> NDArray[np.float32]:
    """(V,3): the left arm and leg reddish, the right bluish, so that a swap of sides shows."""
    side = np.zeros(NUM_JOINTS)
    side[[1, 4, 7, 10, 16, 18, 20, 22]] = 1.0
    side[[2, 5, 8, 11, 17, 19, 21, 23]] = -1.0
    lean = (body.weights @ side)[:, None]
    skin = np.array([0.80, 0.74, 0.68])
    left, right = np.maximum(lean, 0) * [0.12, -0.22, -0.22], np.maximum(-lean, 0) * [-0.30, -0.10, 0.20]
    return (skin + left + right).astype(np.float32)


def floor(centre: NDArray[np.float64]) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """A chequered square under the body, as corners with normals and colours, and triangles."""
    count = 6
    steps = np.linspace(-FLOOR_HALF_M, FLOOR_HALF_M, count + 1)
    corners: list[list[float]] = []
    faces: list[list[int]] = []
    for i in range(count):
        for j in range(count):
            grey = 0.55 if (i + j) % 2 else 0.68
            first = len(corners)
            for x, z in ((i, j), (i, j + 1), (i + 1, j + 1), (i + 1, j)):
                corners.append([centre[0] + steps[x], 0.0, centre[2] + steps[z], 0, 1, 0, grey, grey, grey])
            faces += [[first, first + 1, first + 2], [first, first + 2, first + 3]]
    return np.array(corners, dtype=np.float32), np.array(faces, dtype=np.int32)


def vertex_normals(vertices: NDArray[np.float32], faces: NDArray[np.int32]) -> NDArray[np.float32]:
    """(V,3) unit normals, each triangle counted by its area."""
    a, b, c = (vertices[faces[:, corner]] for corner in range(3))
    cross = np.cross(b - a, c - a)
    normals = np.zeros_like(vertices)
    for corner in range(3):
        np.add.at(normals, faces[:, corner], cross)
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)


def camera_matrix(centre: NDArray[np.float64], azimuth_rad: float) -> NDArray[np.float64]:
    """(4,4) clip-from-world matrix of a camera that looks at `centre` from a little above."""
    towards = np.array([np.sin(azimuth_rad), 0.22, np.cos(azimuth_rad)])
    back = towards / np.linalg.norm(towards)
    right = np.cross([0.0, 1.0, 0.0], back)
    right /= np.linalg.norm(right)
    view = np.eye(4)
    view[:3, :3] = np.stack([right, np.cross(back, right), back])
    view[:3, 3] = -view[:3, :3] @ (centre + DISTANCE_M * back)
    near, far, scale = 0.1, 20.0, 1.0 / np.tan(FIELD_OF_VIEW_RAD / 2)
    projection = np.zeros((4, 4))
    projection[0, 0], projection[1, 1] = scale * TILE_WH[1] / TILE_WH[0], scale
    projection[2, 2:] = (far + near) / (near - far), 2 * far * near / (near - far)
    projection[3, 2] = -1.0
    return projection @ view


def rotation_about_y(angle_rad: float) -> NDArray[np.float64]:
    """(3,3) rotation that takes +z towards +x."""
    c, s = np.cos(angle_rad), np.sin(angle_rad)
    return np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])


def motion_tiles(body: BodyModel, clips: list[Path], count: int, generator: np.random.Generator) -> list[Tile]:
    """Frames drawn from the clips, seen from the front quarter of where the person walks."""
    tiles: list[Tile] = []
    # Every so many clips first, the others after them in case some of the first hold no plausible frame.
    stride = max(1, len(clips) // count)
    for path in [clip for start in range(stride) for clip in clips[start::stride]]:
        if len(tiles) == count:
            break
        motion = load_smpl_motion(path, body)
        if not motion.plausible.any():
            continue
        frame = int(generator.choice(np.flatnonzero(motion.plausible)))
        forward = motion.pose[frame, 0] @ np.array([0.0, 0.0, 1.0])
        azimuth = float(np.arctan2(forward[0], forward[2]) + generator.choice([-0.7, 0.5, 1.3]))
        tiles.append(
            Tile(
                motion.pose[frame], np.zeros(10, np.float32), motion.transl_m[frame], azimuth, f"{motion.name} {frame}"
            )
        )
    return tiles


def shape_tiles(body: BodyModel, count: int, generator: np.random.Generator) -> list[Tile]:
    """Random people in the T-pose, their feet on the floor."""
    rest = np.broadcast_to(np.eye(3, dtype=np.float32), (NUM_JOINTS, 3, 3))
    tiles: list[Tile] = []
    for number in range(count):
        betas = generator.normal(size=10).astype(np.float32)
        lift = -float(body.rest_vertices(betas[None])[0, :, 1].min())
        tiles.append(Tile(rest, betas, np.array([0, lift, 0], np.float32), 0.35, f"shape {number}"))
    return tiles


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Render the embedded body in many poses and shapes.")
    parser.add_argument("output", type=Path)
    parser.add_argument("--clips", type=Path, required=True, help="folder of .bvh or .bvh.gz clips")
    parser.add_argument("--body", type=Path, default=EMBEDDED_BODY)
    parser.add_argument("--poses", type=int, default=30)
    parser.add_argument("--shapes", type=int, default=10)
    options = parser.parse_args(arguments)
    body = BodyModel.load(options.body)
    generator = np.random.default_rng(SEED)
    tiles = motion_tiles(body, sorted(options.clips.glob("*.bvh*")), options.poses, generator)
    tiles += shape_tiles(body, options.shapes, generator)
    renderer = SheetRenderer(body)
    pictures = [renderer.draw(tile) for tile in tiles]
    while len(pictures) % COLUMNS:
        pictures.append(np.full_like(pictures[0], 255))
    rows = [np.hstack(pictures[start : start + COLUMNS]) for start in range(0, len(pictures), COLUMNS)]
    cv2.imwrite(str(options.output), np.vstack(rows), [cv2.IMWRITE_PNG_COMPRESSION, 9])
    print(f"{options.output}: {len(tiles)} pictures")
    return 0


if __name__ == "__main__":
    sys.exit(main())
