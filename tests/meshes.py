"""Small closed meshes for tests that draw."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]


def ellipsoid(
    radii_m: tuple[float, float, float] = (1.0, 1.0, 1.0), rings: int = 16, sectors: int = 24
) -> tuple[F32, I32]:
    """Vertices (V,3) and faces (F,3), counter-clockwise seen from outside in a right-handed frame."""
    polar = np.pi * np.arange(1, rings) / rings
    around = 2 * np.pi * np.arange(sectors) / sectors
    grid = np.stack(
        [
            np.sin(polar)[:, None] * np.cos(around),
            np.sin(polar)[:, None] * np.sin(around),
            np.repeat(np.cos(polar)[:, None], sectors, axis=1),
        ],
        axis=-1,
    ).reshape(-1, 3)
    vertices = np.concatenate([grid, [[0, 0, 1], [0, 0, -1]]]) * np.array(radii_m)
    north, south = len(grid), len(grid) + 1
    faces: list[tuple[int, int, int]] = []
    for sector in range(sectors):
        after = (sector + 1) % sectors
        faces.append((north, sector, after))
        last = (rings - 2) * sectors
        faces.append((south, last + after, last + sector))
        for ring in range(rings - 2):
            a, b = ring * sectors + sector, ring * sectors + after
            c, d = a + sectors, b + sectors
            faces += [(a, c, b), (b, c, d)]
    return vertices.astype(np.float32), np.array(faces, np.int32)


def mannequin() -> tuple[F32, I32]:
    """A standing figure of about 7,000 vertices and 14,000 faces, y down, feet at +0.9 m, as a body would be."""
    parts = [
        ((0.0, -0.68, 0.0), (0.10, 0.14, 0.11)),
        ((0.0, -0.22, 0.0), (0.19, 0.33, 0.13)),
        ((-0.34, -0.38, 0.0), (0.22, 0.05, 0.05)),
        ((0.34, -0.38, 0.0), (0.22, 0.05, 0.05)),
        ((-0.12, 0.47, 0.0), (0.08, 0.43, 0.08)),
        ((0.12, 0.47, 0.0), (0.08, 0.43, 0.08)),
        ((0.0, 0.10, 0.0), (0.17, 0.15, 0.13)),
    ]
    vertices: list[F32] = []
    faces: list[I32] = []
    first = 0
    for centre, radii in parts:
        part, part_faces = ellipsoid(radii, rings=32, sectors=32)
        vertices.append((part + np.array(centre)).astype(np.float32))
        faces.append((part_faces + first).astype(np.int32))
        first += len(part)
    return np.concatenate(vertices), np.concatenate(faces)
