"""Left-right symmetric mesh decimation that keeps a subset of the vertices.

Edge collapse with quadric errors (Garland and Heckbert, "Surface Simplification Using Quadric Error Metrics", SIGGRAPH
1997), in its half-edge form: a vertex moves onto a neighbour and never to a new place. So whatever belongs to a kept
vertex (shape components, skinning weights, texture coordinates) stays exact, and the result maps one to one into the
source mesh.
"""

from __future__ import annotations

import heapq

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Faces = NDArray[np.int64]

_MIDLINE_TOLERANCE_M = 3e-5  # of a model computed in float32
_BOUNDARY_WEIGHT = 100.0
_MIN_NORMAL_COSINE = 0.2


def decimate_symmetric(vertices: Floats, faces: Faces, attributes: Floats, target: int) -> tuple[Faces, Faces]:
    """Reduce a mesh that is symmetric in x to at most `target` vertices, symmetrically.

    vertices (V,3), metres; faces (F,3); attributes (V,A): quantities whose change along a collapsed edge costs as much
    as a geometric error of one edge length per unit (skinning weights: keeps the joints finely meshed).
    Returns the kept vertices as indices into the source, ascending, (K,), and the faces (G,3) as source indices.
    Raises ValueError when the mesh is not symmetric.
    """
    twin = mirror_vertices(vertices)
    used = np.unique(faces)
    on_midline = np.abs(vertices[:, 0]) < _MIDLINE_TOLERANCE_M
    half = faces[(vertices[faces, 0] > -_MIDLINE_TOLERANCE_M).all(axis=1)]
    if 2 * len(half) != len(faces):
        raise ValueError(f"faces cross the midline: {2 * len(half)} of {len(faces)} lie on one side")
    midline_count = int(on_midline[used].sum())
    # Collapsing an off-midline vertex removes two vertices of the whole mesh; aim from above.
    reduced = _HalfEdgeCollapser(vertices, half, attributes, on_midline).run(target)
    mirrored = twin[reduced][:, ::-1]
    whole = np.concatenate([reduced, mirrored])
    kept = np.unique(whole)
    if midline_count == 0 or len(kept) > target:
        raise ValueError(f"expected at most {target} vertices, got {len(kept)}")
    return kept, whole


def decimate(vertices: Floats, faces: Faces, attributes: Floats, target: int) -> tuple[Faces, Faces]:
    """Reduce any mesh to about `target` vertices; rims stay as they are, so that parts go on meeting at their seams.

    Arguments as for `decimate_symmetric`. Returns the kept vertices (K,) and the faces (G,3) numbered within them.
    Stops above the target where nothing more can go.
    """
    collapser = _HalfEdgeCollapser(vertices, faces, attributes, np.ones(len(vertices), dtype=np.bool_))
    collapser.rims_stay = True
    reduced = collapser.run(target)
    kept = np.unique(reduced)
    return kept, np.searchsorted(kept, reduced)


def mirror_vertices(vertices: Floats) -> NDArray[np.int64]:
    """(V,) index of each vertex's mirror image under x -> -x; ValueError when one has none."""
    from scipy.spatial import cKDTree

    distance, twin = cKDTree(vertices).query(vertices * [-1.0, 1.0, 1.0])
    if distance.max() > _MIDLINE_TOLERANCE_M or not np.array_equal(twin[twin], np.arange(len(vertices))):
        raise ValueError(f"the mesh is not left-right symmetric (off by {distance.max():.2g} m)")
    return twin


class _HalfEdgeCollapser:
    """Collapses the cheapest half-edge again and again; a heap holds candidate collapses, stale ones are skipped."""

    def __init__(self, vertices: Floats, faces: Faces, attributes: Floats, on_midline: NDArray[np.bool_]) -> None:
        self.vertices = vertices
        self.attributes = attributes
        self.on_midline = on_midline
        self.faces: dict[int, list[int]] = {index: face.tolist() for index, face in enumerate(faces)}
        self.faces_of: dict[int, set[int]] = {int(v): set() for v in np.unique(faces)}
        for index, face in self.faces.items():
            for vertex in face:
                self.faces_of[vertex].add(index)
        self.rims_stay = False
        self.version = dict.fromkeys(self.faces_of, 0)
        self.quadrics = {vertex: np.zeros((4, 4)) for vertex in self.faces_of}
        self.boundary: set[int] = set()
        self._add_quadrics()
        self.heap: list[tuple[float, int, int, int, int]] = []

    def _add_quadrics(self) -> None:
        for face in self.faces.values():
            a, b, c = self.vertices[face]
            cross = np.cross(b - a, c - a)
            area = np.linalg.norm(cross)
            if area == 0:
                continue
            plane = np.append(cross / area, -cross @ a / area)
            for vertex in face:
                self.quadrics[vertex] += area * np.outer(plane, plane)
            for i in range(3):
                start, end = face[i], face[(i + 1) % 3]
                if len(self._shared_faces(start, end)) == 1:
                    self._add_boundary_quadric(start, end, cross / area)

    def _add_boundary_quadric(self, start: int, end: int, normal: Floats) -> None:
        self.boundary.update((start, end))
        edge = self.vertices[end] - self.vertices[start]
        side = np.cross(edge, normal)
        length = np.linalg.norm(side)
        if length == 0:
            return
        plane = np.append(side / length, -side @ self.vertices[start] / length)
        for vertex in (start, end):
            self.quadrics[vertex] += _BOUNDARY_WEIGHT * length**2 * np.outer(plane, plane)

    def _shared_faces(self, first: int, second: int) -> set[int]:
        return self.faces_of[first] & self.faces_of[second]

    def _neighbours(self, vertex: int) -> set[int]:
        around = {other for index in self.faces_of[vertex] for other in self.faces[index]}
        around.discard(vertex)
        return around

    def _cost(self, vertex: int, onto: int) -> float:
        place = np.append(self.vertices[onto], 1.0)
        geometric = place @ (self.quadrics[vertex] + self.quadrics[onto]) @ place
        length_sq = float(((self.vertices[vertex] - self.vertices[onto]) ** 2).sum())
        change_sq = float(((self.attributes[vertex] - self.attributes[onto]) ** 2).sum())
        # The last term prefers short edges where everything is flat: it keeps triangles even.
        return float(geometric) + length_sq * length_sq * (change_sq + 1e-3)

    def _push(self, vertex: int) -> None:
        for onto in self._neighbours(vertex):
            if self._may_collapse(vertex, onto):
                entry = (self._cost(vertex, onto), vertex, onto, self.version[vertex], self.version[onto])
                heapq.heappush(self.heap, entry)

    def _may_collapse(self, vertex: int, onto: int) -> bool:
        """Midline vertices stay on the midline, rims of holes stay on their rim."""
        if (self.on_midline[vertex] and not self.on_midline[onto]) or (self.rims_stay and vertex in self.boundary):
            return False
        return vertex not in self.boundary or len(self._shared_faces(vertex, onto)) == 1

    def _keeps_surface(self, vertex: int, onto: int) -> bool:
        """The link condition (the surface stays a surface) and no triangle that flips or degenerates."""
        shared = self._shared_faces(vertex, onto)
        if len(self._neighbours(vertex) & self._neighbours(onto)) != len(shared):
            return False
        for index in self.faces_of[vertex] - shared:
            before = self.vertices[self.faces[index]]
            after = self.vertices[[onto if v == vertex else v for v in self.faces[index]]]
            old = np.cross(before[1] - before[0], before[2] - before[0])
            new = np.cross(after[1] - after[0], after[2] - after[0])
            if old @ new < _MIN_NORMAL_COSINE * np.linalg.norm(old) * np.linalg.norm(new):
                return False
        return True

    def run(self, target: int) -> Faces:
        for vertex in self.faces_of:
            self._push(vertex)
        count = sum(1 if self.on_midline[vertex] else 2 for vertex in self.faces_of)
        while count > target:
            if not self.heap:
                if self.rims_stay:
                    break
                raise ValueError(f"no further collapse keeps the surface: {count} vertices left, wanted {target}")
            _, vertex, onto, version, onto_version = heapq.heappop(self.heap)
            current = (self.version.get(vertex), self.version.get(onto)) == (version, onto_version)
            if not current or not self._keeps_surface(vertex, onto):
                continue
            self._collapse(vertex, onto)
            count -= 1 if self.on_midline[vertex] else 2
        return np.array(list(self.faces.values()), dtype=np.int64)

    def _collapse(self, vertex: int, onto: int) -> None:
        for index in self._shared_faces(vertex, onto):
            for corner in self.faces.pop(index):
                self.faces_of[corner].discard(index)
        for index in self.faces_of[vertex]:
            self.faces[index] = [onto if v == vertex else v for v in self.faces[index]]
            self.faces_of[onto].add(index)
        self.quadrics[onto] += self.quadrics.pop(vertex)
        del self.faces_of[vertex], self.version[vertex]
        changed = self._neighbours(onto) | {onto}
        for other in changed:
            self.version[other] += 1
        for other in changed:
            self._push(other)
