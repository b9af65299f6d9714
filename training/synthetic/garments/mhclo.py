"""MakeHuman clothes files: a mesh (`.obj`) whose vertices hang on triangles of the base mesh (`.mhclo`).

A line of the binding gives three base vertices, their weights, and an offset in decimetres that is scaled along x, y
and z by how far two named base vertices lie apart, over how far they lay apart on the body that the garment was made
for (MakeHuman's file format, static.makehumancommunity.org, "mhclo").
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
_METRES_PER_UNIT = 0.1


class GarmentFileError(ValueError):
    """A garment file that does not say what it should; the message names the file and the line."""


@dataclass(frozen=True)
class ObjMesh:
    """Vertices (V, 3), triangles (F, 3), texture coordinates (T, 2) and each triangle's rows of them (F, 3)."""

    vertices: Floats
    faces: Ints
    uv: Floats
    uv_faces: Ints


@dataclass(frozen=True)
class Binding:
    """How V garment vertices follow the base mesh.

    corners (V, 3) base vertices; weights (V, 3); offsets (V, 3) m; scales: per axis (base vertex, base vertex, m);
    deleted: base vertices that the garment hides.
    """

    corners: Ints
    weights: Floats
    offsets: Floats
    scales: tuple[tuple[int, int, float], ...]
    deleted: Ints

    def fit(self, base: Floats) -> Floats:
        """(N, V, 3) garment on base meshes (N, 19158, 3), metres, y up, in the pose of those meshes."""
        placed = np.einsum("nvkc,vk->nvc", base[:, self.corners], self.weights)
        for axis, (first, second, reference) in enumerate(self.scales):
            size = np.abs(base[:, first, axis] - base[:, second, axis]) / reference
            placed[..., axis] += size[:, None] * self.offsets[:, axis]
        return placed


def read_obj(path: Path) -> ObjMesh:
    """Vertices and faces of an `.obj` (polygons become fans). Raises GarmentFileError."""
    vertices: list[list[float]] = []
    uv: list[list[float]] = []
    faces: list[tuple[int, ...]] = []
    uv_faces: list[tuple[int, ...]] = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        words = line.split()
        if not words:
            continue
        try:
            if words[0] == "v":
                vertices.append([float(w) for w in words[1:4]])
            elif words[0] == "vt":
                uv.append([float(w) for w in words[1:3]])
            elif words[0] == "f":
                corner = [[int(p) if p else 0 for p in w.split("/")] + [0] for w in words[1:]]
                for k in range(1, len(corner) - 1):
                    faces.append(tuple(c[0] - 1 for c in (corner[0], corner[k], corner[k + 1])))
                    uv_faces.append(tuple(c[1] - 1 for c in (corner[0], corner[k], corner[k + 1])))
        except ValueError as error:
            raise GarmentFileError(f"{path.name}, line {number}: cannot read {line!r}") from error
    mesh = ObjMesh(
        np.array(vertices).reshape(-1, 3), np.array(faces, np.int64).reshape(-1, 3),
        np.array(uv).reshape(-1, 2), np.array(uv_faces, np.int64).reshape(-1, 3),
    )  # fmt: skip
    if not len(mesh.faces) or mesh.faces.min() < 0 or mesh.faces.max() >= len(vertices):
        raise GarmentFileError(f"{path.name}: expected faces over {len(vertices)} vertices, found none or others")
    return mesh


def read_mhclo(path: Path) -> Binding:
    """The binding in an `.mhclo`. Raises GarmentFileError."""
    rows: list[list[float]] = []
    scales: dict[str, tuple[int, int, float]] = {}
    deleted: list[int] = []
    section = ""
    for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
        words = line.split("#")[0].split()
        if not words:
            continue
        try:
            if words[0] in ("x_scale", "y_scale", "z_scale"):
                scales[words[0][0]] = (int(words[1]), int(words[2]), float(words[3]) * _METRES_PER_UNIT)
            elif words[0] in ("verts", "delete_verts"):
                section = words[0]
            elif not words[0].lstrip("-").isdigit():
                continue  # `material` and the like may stand between `verts` and the numbers
            elif section == "verts":
                rows.append(_binding_row(words))
            elif section == "delete_verts":
                deleted += _ranges(words)
        except (ValueError, IndexError) as error:
            raise GarmentFileError(f"{path.name}, line {number}: cannot read {line!r}") from error
    if not rows or set(scales) != {"x", "y", "z"}:
        raise GarmentFileError(f"{path.name}: expected a verts section and x, y, z scales; got {sorted(scales)}")
    table = np.array(rows)
    return Binding(
        table[:, :3].astype(np.int64), table[:, 3:6], table[:, 6:] * _METRES_PER_UNIT,
        (scales["x"], scales["y"], scales["z"]), np.array(sorted(set(deleted)), np.int64),
    )  # fmt: skip


def _binding_row(words: list[str]) -> list[float]:
    if len(words) == 1:  # sits on one base vertex
        return [float(words[0])] * 3 + [1.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    if len(words) < 9:
        raise ValueError("a binding has one or nine numbers")
    return [float(w) for w in words[:9]]


def _ranges(words: list[str]) -> list[int]:
    """Numbers and `a - b` ranges, both ends included."""
    out: list[int] = []
    at = 0
    while at < len(words):
        if at + 2 < len(words) and words[at + 1] == "-":
            out += range(int(words[at]), int(words[at + 2]) + 1)
            at += 3
        else:
            out.append(int(words[at]))
            at += 1
    return out
