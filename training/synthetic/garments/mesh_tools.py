"""Small operations on triangle meshes that baking needs: parts, normals, seams, clearance, thinning."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def adjacency(faces: Ints, count: int) -> sparse.csr_matrix:
    """(V, V) 1 where an edge joins two vertices."""
    ends = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    ends = np.concatenate([ends, ends[:, ::-1]])
    graph = sparse.csr_matrix((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(count, count))
    graph.data[:] = 1.0
    return graph


def parts_by_size(faces: Ints, count: int) -> Ints:
    """(V,) number of the connected part of each vertex; part 0 has the most vertices, ties go by first vertex."""
    _, labels = connected_components(adjacency(faces, count), directed=False)
    sizes = np.bincount(labels)
    order = np.argsort(-sizes, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return rank[labels]


def keep_faces(faces: Ints, keep: NDArray[np.bool_]) -> tuple[Ints, Ints]:
    """Indices of the vertices that the kept faces (F,) bool use, and those faces renumbered."""
    kept = faces[keep]
    used = np.unique(kept)
    position = np.full(int(faces.max()) + 1, -1, np.int64)
    position[used] = np.arange(len(used))
    return used, position[kept]


def vertex_normals(vertices: Floats, faces: Ints) -> Floats:
    """(V, 3) unit normals, weighted by area."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    face = np.cross(b - a, c - a)
    out = np.zeros_like(vertices)
    for k in range(3):
        np.add.at(out, faces[:, k], face)
    return out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-12)


def rim_vertices(faces: Ints) -> Ints:
    """Vertices of edges that belong to one triangle only."""
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    unique, count = np.unique(edges, axis=0, return_counts=True)
    return np.unique(unique[count == 1])


def smooth(values: Floats, faces: Ints, rounds: int) -> Floats:
    """Values (V, K) averaged with their neighbours, `rounds` times, half and half."""
    graph = adjacency(faces, len(values))
    degree = np.maximum(np.asarray(graph.sum(1)), 1.0)
    for _ in range(rounds):
        values = 0.5 * values + 0.5 * (graph @ values) / degree
    return values


def split_seams(faces: Ints, uv_faces: Ints) -> tuple[Ints, Ints, Ints]:
    """One vertex for each pair of vertex and texture coordinate: source vertex (W,), source uv (W,), faces (F, 3)."""
    pairs = np.stack([faces.ravel(), uv_faces.ravel()], axis=1)
    unique, index = np.unique(pairs, axis=0, return_inverse=True)
    return unique[:, 0], unique[:, 1], index.reshape(-1, 3)


class Surface:
    """A closed surface that tells how far outside of it points lie; densely sampled, so good to about a millimetre."""

    def __init__(self, vertices: Floats, faces: Ints) -> None:
        corners = vertices[faces]
        normals = vertex_normals(vertices, faces)[faces]
        mixes = np.array([[1, 1, 1], [4, 1, 1], [1, 4, 1], [1, 1, 4]], np.float64)
        mixes /= mixes.sum(1, keepdims=True)
        self.points = np.concatenate([vertices, np.einsum("sk,fkc->sfc", mixes, corners).reshape(-1, 3)])
        direction = np.concatenate(
            [vertex_normals(vertices, faces), np.einsum("sk,fkc->sfc", mixes, normals).reshape(-1, 3)]
        )
        self.normals = direction / np.maximum(np.linalg.norm(direction, axis=1, keepdims=True), 1e-12)
        self.tree = cKDTree(self.points)

    def distance(self, points: Floats) -> tuple[Floats, Floats]:
        """Signed distance (P,), positive outside, and the surface's normal (P, 3) there."""
        _, nearest = self.tree.query(points, workers=1)
        offset = points - self.points[nearest]
        return (offset * self.normals[nearest]).sum(1), self.normals[nearest]


def push_out(points: Floats, faces: Ints, surfaces: list[Surface], shapes: list[Floats], clear_m: float) -> Floats:
    """Displacements (V, 3) that keep `points` + shapes[k] at least `clear_m` outside of each surfaces[k].

    What one vertex needs its neighbours share, so that cloth does not dent.
    """
    moved = np.zeros_like(points)
    graph = adjacency(faces, len(points))
    degree = np.maximum(np.asarray(graph.sum(1)).ravel(), 1.0)
    for _ in range(4):
        need, towards = np.zeros(len(points)), np.zeros_like(points)
        for surface, shape in zip(surfaces, shapes, strict=True):
            distance, normal = surface.distance(points + shape + moved)
            lack = np.clip(clear_m - distance, 0.0, 0.03)
            towards = np.where((lack > need)[:, None], normal, towards)
            need = np.maximum(need, lack)
        if need.max() < 2e-4:
            break
        step = need[:, None] * towards
        spread = (graph @ step) / degree[:, None]
        moved += np.where(need[:, None] > 1e-5, step, 0.7 * spread)
    return moved


def covered(points: Floats, normals: Floats, vertices: Floats, faces: Ints, reach_m: float) -> NDArray[np.bool_]:
    """(P,) whether a ray from each point along its normal meets the mesh within `reach_m` (or 1 cm behind)."""
    corners = vertices[faces]
    longest = np.linalg.norm(corners - corners.mean(1, keepdims=True), axis=2).max()
    near = cKDTree(corners.mean(1)).query_ball_point(points + normals * (reach_m / 2), reach_m / 2 + 0.01 + longest)
    counts = np.array([len(n) for n in near])
    if not counts.sum():
        return np.zeros(len(points), bool)
    ray = np.repeat(np.arange(len(points)), counts)
    face = np.concatenate([np.asarray(n, np.int64) for n in near if n])
    a, edge_b, edge_c = corners[face, 0], corners[face, 1] - corners[face, 0], corners[face, 2] - corners[face, 0]
    direction = normals[ray]
    cross = np.cross(direction, edge_c)
    determinant = (edge_b * cross).sum(1)
    inverse = 1.0 / np.where(np.abs(determinant) < 1e-14, 1e-14, determinant)
    start = points[ray] - a
    u = (start * cross).sum(1) * inverse
    side = np.cross(start, edge_b)
    v = (direction * side).sum(1) * inverse
    t = (edge_c * side).sum(1) * inverse
    hit = (u >= -0.01) & (v >= -0.01) & (u + v <= 1.01) & (t > -0.01) & (t < reach_m)
    out = np.zeros(len(points), bool)
    out[ray[hit]] = True
    return out


def clip_mesh(values: Floats, faces: Ints, field: Floats) -> tuple[Floats, Ints]:
    """The part of a mesh where `field` (V,) > 0, cut through its triangles: per-vertex `values` (V, K) and faces."""
    rows, out = list(values), []
    on_edge: dict[tuple[int, int], int] = {}

    def crossing(a: int, b: int) -> int:
        key = (min(a, b), max(a, b))
        if key not in on_edge:
            share = field[a] / (field[a] - field[b])
            on_edge[key] = len(rows)
            rows.append(values[a] + share * (values[b] - values[a]))
        return on_edge[key]

    for face in faces[(field[faces] > 0).any(1)]:
        corner = [int(v) for v in face]
        ring: list[int] = []
        for k in range(3):
            a, b = corner[k], corner[(k + 1) % 3]
            if field[a] > 0:
                ring.append(a)
            if (field[a] > 0) != (field[b] > 0):
                ring.append(crossing(a, b))
        out += [(ring[0], ring[k], ring[k + 1]) for k in range(1, len(ring) - 1)]
    used, kept = keep_faces(np.array(out, np.int64), np.ones(len(out), bool))
    return np.array(rows)[used], kept
