"""Colours of the meshes: one per person, lit per vertex.

Both renderers draw these vertex colours, so that they agree. A body has thousands of small triangles: light computed at
the vertices and interpolated across them (Gouraud 1971) looks the same as light per pixel and costs far less where
OpenGL runs in software.
"""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import NDArray

from bodycast.app.records import F32, I32, U8

# BGR, far apart in hue and alike in lightness, so that neighbours in the list are told apart on any background.
PALETTE_BGR: F32 = np.array(
    [
        [222, 168, 96],  # sky blue
        [80, 150, 240],  # orange
        [138, 200, 110],  # green
        [190, 130, 232],  # pink
        [90, 222, 240],  # yellow
        [214, 132, 140],  # violet
        [150, 160, 20],  # teal
        [90, 80, 224],  # red
        [150, 196, 214],  # sand
        [96, 116, 148],  # brown
    ],
    np.float32,
)

# Directions towards the lights in the camera frame (x right, y down, z forward): both stand on the camera's side.
_KEY_DIRECTION = np.array([-0.45, -0.65, -0.62], np.float32)
_FILL_DIRECTION = np.array([0.75, 0.10, -0.65], np.float32)
_AMBIENT, _KEY, _FILL, _SPECULAR = 0.34, 0.62, 0.16, 0.22
# Light reaches this far past the terminator (wrap lighting): cloth and skin scatter, and no side goes flat black.
_WRAP = 0.25


def person_colours(person_id: I32) -> F32:
    """(N,) ids from 1 -> (N,3) float32 BGR in 0..255; the same id has the same colour in every frame and every run."""
    return PALETTE_BGR[(person_id - 1) % len(PALETTE_BGR)]


class MeshShading:
    """Lit vertex colours for meshes of one topology."""

    def __init__(self, faces: I32) -> None:
        """`faces` (F,3) int32: vertex indices, counter-clockwise seen from outside."""
        if faces.ndim != 2 or faces.shape[1] != 3 or len(faces) == 0 or faces.min() < 0:
            raise ValueError(f"faces: expected Fx3 vertex indices from 0, got {faces.shape}")
        self.vertex_count = int(faces.max()) + 1
        self._corners = tuple(np.ascontiguousarray(faces[:, corner]) for corner in range(3))
        # The faces around each vertex in a row, vertex after vertex: their sums are one `reduceat`.
        corners = faces.reshape(-1)
        by_vertex = np.argsort(corners, kind="stable")
        self._face_of_corner = (by_vertex // 3).astype(np.int32)
        self._used, self._first_corner = np.unique(corners[by_vertex], return_index=True)

    def normals(self, vertices: F32) -> F32:
        """(V,3) -> (V,3) float32 unit normals: mean of the faces around a vertex, weighted by their area."""
        # np.take: the same rows as vertices[corner], four times as fast.
        first, second, third = (np.take(vertices, corner, axis=0) for corner in self._corners)
        face_normals = _cross(second - first, third - first)
        normals = np.zeros((self.vertex_count, 3), np.float32)
        around = np.take(face_normals, self._face_of_corner, axis=0)
        normals[self._used] = np.add.reduceat(around, self._first_corner, axis=0)
        length = np.sqrt(np.einsum("ij,ij->i", normals, normals))
        return cast(F32, normals / np.maximum(length, np.float32(1e-12))[:, None])

    def colours(self, vertices: F32, person_id: I32) -> U8:
        """(N,V,3) m in the camera frame, (N,) ids -> (N,V,4) uint8 BGRA, alpha 255."""
        colours = np.full((len(vertices), self.vertex_count, 4), 255, np.uint8)
        for row, base in enumerate(person_colours(person_id)):
            diffuse, specular = _light(self.normals(vertices[row]))
            lit = diffuse[:, None] * base + specular[:, None]
            colours[row, :, :3] = np.clip(lit, 0, 255)
        return colours


def check_meshes(vertices: F32, person_id: I32, vertex_count: int) -> None:
    """Raise ValueError unless `vertices` is (N, at least vertex_count, 3) float32 and `person_id` (N,) fits it."""
    fits = vertices.ndim == 3 and vertices.shape[2] == 3 and vertices.dtype == np.float32
    if not fits or (len(vertices) > 0 and vertices.shape[1] < vertex_count):
        raise ValueError(f"vertices: expected Nx{vertex_count}x3 float32, got {vertices.shape} {vertices.dtype}")
    if person_id.shape != (len(vertices),):
        raise ValueError(f"person_id: expected {len(vertices)} ids for as many meshes, got {person_id.shape}")


def _cross(first: F32, second: F32) -> F32:
    """Cross product of (F,3) rows; written out, several times faster than numpy.cross."""
    out = np.empty_like(first)
    for i, j, k in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        out[:, i] = first[:, j] * second[:, k] - first[:, k] * second[:, j]
    return out


def _light(normals: F32) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Diffuse factor and specular addend (0..255) per vertex for unit normals (V,3)."""
    key = normals @ _unit(_KEY_DIRECTION)
    wrapped = np.maximum((key + _WRAP) / (1 + _WRAP), 0)
    fill = np.maximum(normals @ _unit(_FILL_DIRECTION), 0)
    diffuse = _AMBIENT + _KEY * wrapped + _FILL * fill
    # Blinn-Phong: the half vector lies between the key light and the viewer, who looks along +z.
    half = _unit(_unit(_KEY_DIRECTION) + np.array([0, 0, -1], np.float32))
    glint = np.maximum(normals @ half, 0)
    specular = 255 * _SPECULAR * glint**32
    return diffuse.astype(np.float32), specular.astype(np.float32)


def _unit(vector: F32) -> F32:
    return (vector / np.linalg.norm(vector)).astype(np.float32)
