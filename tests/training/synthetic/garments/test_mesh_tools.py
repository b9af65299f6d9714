"""Mesh operations that baking is made of, on shapes whose answers are known."""

from __future__ import annotations

import numpy as np

from training.body.decimate import decimate
from training.synthetic.garments.mesh_tools import (
    Surface,
    clip_mesh,
    covered,
    parts_by_size,
    push_out,
    rim_vertices,
    split_seams,
    vertex_normals,
)


def sheet(rows: int, columns: int, size: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """A flat grid in the plane z = 0 that faces +z."""
    y, x = np.mgrid[0:rows, 0:columns]
    vertices = np.stack([x.ravel(), y.ravel(), np.zeros(rows * columns)], 1).astype(float) * size / (columns - 1)
    a = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).ravel()
    faces = np.concatenate(
        [np.stack([a, a + 1, a + columns + 1], 1), np.stack([a, a + columns + 1, a + columns], 1)]
    )  # fmt: skip
    return vertices, faces.astype(np.int64)


def ball(radius: float) -> tuple[np.ndarray, np.ndarray]:
    """A closed sphere, counter-clockwise from outside."""
    rows, columns = 24, 36
    polar, around = np.mgrid[0:rows, 0:columns]
    t, p = (polar + 0.5) / rows * np.pi, around / columns * 2 * np.pi
    vertices = radius * np.stack([np.sin(t) * np.cos(p), np.cos(t), np.sin(t) * np.sin(p)], -1).reshape(-1, 3)
    a, right = polar[:-1] * columns + around[:-1], polar[:-1] * columns + (around[:-1] + 1) % columns
    b, c = a + columns, right + columns
    faces = np.concatenate([np.stack(f, -1).reshape(-1, 3) for f in ((a, right, b), (right, c, b))])
    return vertices, faces.astype(np.int64)


def test_parts_are_counted_from_the_largest() -> None:
    _, big_faces = sheet(3, 3)
    small, small_faces = sheet(2, 2)
    faces = np.concatenate([small_faces, big_faces + len(small)])
    np.testing.assert_array_equal(parts_by_size(faces, 13), [1] * 4 + [0] * 9)


def test_seams_split_vertices_and_nothing_else() -> None:
    faces, uv_faces = np.array([[0, 1, 2], [0, 2, 3]]), np.array([[0, 1, 2], [4, 2, 3]])
    vertex, row, split = split_seams(faces, uv_faces)
    assert len(vertex) == 5  # vertex 0 has two texture coordinates
    np.testing.assert_array_equal(vertex[split], faces)
    np.testing.assert_array_equal(row[split], uv_faces)


def test_cloth_is_pushed_out_of_the_skin() -> None:
    skin = Surface(*ball(0.3))
    cloth, faces = ball(0.295)
    still_in = push_out(cloth, faces, [skin], [np.zeros((1, 3))], clear_m=0.01)
    distance, _ = skin.distance(cloth + still_in)
    assert distance.min() > 0.008
    far = push_out(1.2 * cloth, faces, [skin], [np.zeros((1, 3))], clear_m=0.01)
    np.testing.assert_array_equal(far, 0.0)


def test_covered_is_what_a_ray_along_the_normal_meets() -> None:
    skin, skin_faces = sheet(9, 9)
    cloth, cloth_faces = sheet(5, 5, size=0.5)
    over = covered(skin, vertex_normals(skin, skin_faces), cloth + np.array([0, 0, 0.03]), cloth_faces, reach_m=0.05)
    np.testing.assert_array_equal(over, (skin[:, :2] <= 0.5 + 1e-9).all(1))
    assert not covered(
        skin, vertex_normals(skin, skin_faces), cloth + np.array([0, 0, 0.2]), cloth_faces, reach_m=0.05
    ).any()
    assert not covered(
        skin, -vertex_normals(skin, skin_faces), cloth + np.array([0, 0, 0.03]), cloth_faces, reach_m=0.05
    ).any()


def test_clipping_cuts_through_triangles() -> None:
    vertices, faces = sheet(4, 4)
    clipped, kept = clip_mesh(vertices, faces, 0.5 - vertices[:, 0])
    assert abs(clipped[:, 0].max() - 0.5) < 1e-9
    corners = clipped[kept]
    area = 0.5 * np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])[:, 2]
    assert (area > 0).all() and abs(area.sum() - 0.5) < 1e-9


def test_thinning_keeps_rims_and_surface() -> None:
    vertices, faces = sheet(12, 12)
    kept, thin = decimate(vertices, faces, np.zeros((144, 1)), 70)
    assert len(kept) <= 72
    assert set(rim_vertices(faces)) <= set(kept)
    corners = vertices[kept][thin]
    area = 0.5 * np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])[:, 2]
    assert (area > -1e-12).all() and abs(area.sum() - 1.0) < 1e-9
