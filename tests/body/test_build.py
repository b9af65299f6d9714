"""The tools that build the embedded body: decimation and skeleton."""

from __future__ import annotations

import numpy as np
import pytest

from bodycast.hmr.body.joints import MIRROR, NUM_JOINTS, PARENTS, Joint
from training.body.build_embedded_body import Population, keep_largest, shape_components, vertex_areas
from training.body.decimate import decimate_symmetric, mirror_vertices
from training.body.skeleton import frame, joint_of_bones, place_joints, swing


def ball(rings: int = 14, sectors: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """A closed sphere, symmetric in x, with poles on the midline and no edge across it."""
    theta = np.pi * np.arange(1, rings) / rings
    phi = 2 * np.pi * np.arange(sectors) / sectors
    x = np.sin(theta)[:, None] * np.sin(phi)
    grid = np.stack(
        [x, np.broadcast_to(np.cos(theta)[:, None], x.shape), np.sin(theta)[:, None] * np.cos(phi)], axis=-1
    )
    vertices = np.concatenate([[[0, 1, 0]], grid.reshape(-1, 3), [[0, -1, 0]]])
    faces: list[list[int]] = []
    for s in range(sectors):
        after = (s + 1) % sectors
        faces.append([0, 1 + s, 1 + after])
        last = 1 + (rings - 2) * sectors
        faces.append([len(vertices) - 1, last + after, last + s])
        for r in range(rings - 2):
            a, b = 1 + r * sectors + s, 1 + r * sectors + after
            c, d = a + sectors, b + sectors
            # diagonals mirrored between the two halves
            faces += [[a, c, b], [b, c, d]] if s < sectors // 2 else [[a, d, b], [a, c, d]]
    return vertices.astype(np.float64), np.array(faces)


def edge_uses(faces: np.ndarray) -> np.ndarray:
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    return np.unique(edges, axis=0, return_counts=True)[1]


def volume(vertices: np.ndarray, faces: np.ndarray) -> float:
    corners = vertices[faces]
    return float(np.einsum("fi,fi->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) / 6.0)


def test_decimation_keeps_a_closed_symmetric_surface():
    vertices, faces = ball()
    assert (edge_uses(faces) == 2).all()
    kept, thinned = decimate_symmetric(vertices, faces, np.zeros((len(vertices), 1)), 150)
    assert 140 <= len(kept) <= 150 < len(vertices)
    assert np.array_equal(np.unique(thinned), kept)
    assert (edge_uses(thinned) == 2).all()  # still closed, still a surface
    mirror_vertices(vertices[kept])  # raises unless symmetric
    assert volume(vertices, thinned) == pytest.approx(volume(vertices, faces), rel=0.08)


def test_decimation_spares_places_where_the_attributes_change():
    vertices, faces = ball()
    upper = vertices[:, 1] > 0.1
    plain, _ = decimate_symmetric(vertices, faces, np.zeros_like(vertices), 150)
    spared, _ = decimate_symmetric(vertices, faces, 20.0 * vertices * upper[:, None], 150)
    assert upper[spared].sum() > 1.3 * upper[plain].sum()


def test_decimation_refuses_a_lopsided_mesh():
    vertices, faces = ball()
    vertices[5, 0] += 0.01
    with pytest.raises(ValueError, match="not left-right symmetric"):
        decimate_symmetric(vertices, faces, np.zeros((len(vertices), 1)), 150)


def test_keep_largest_is_even_handed():
    weights = np.array([[0.3, 0.2, 0.2, 0.1, 0.1, 0.1], [0.6, 0.4, 0.0, 0.0, 0.0, 0.0]])
    kept = keep_largest(weights, 4)
    assert np.allclose(kept.sum(axis=1), 1.0) and (kept > 0).sum(axis=1).max() <= 4
    assert np.allclose(kept[0], [3 / 7, 2 / 7, 2 / 7, 0, 0, 0])  # the three that tie go together
    assert np.allclose(kept[1], weights[1])


def test_swing_and_frame_are_rotations():
    generator = np.random.default_rng(0)
    source, target = generator.normal(size=(2, 10, 3))
    turn = swing(source, target)
    moved = np.einsum("nij,nj->ni", turn, source / np.linalg.norm(source, axis=1, keepdims=True))
    assert np.allclose(moved, target / np.linalg.norm(target, axis=1, keepdims=True))
    axes = frame(source, target)
    for rotation in (turn, axes):
        assert np.allclose(rotation @ rotation.swapaxes(-1, -2), np.eye(3))
        assert np.allclose(np.linalg.det(rotation), 1.0)


def test_bones_go_to_their_nearest_ancestor():
    bones = ["root", "spine05", "spine04", "spine03", "spine02", "spine01", "clavicle.L", "shoulder01.L"]
    bones += ["upperarm01.L", "upperarm02.L", "lowerarm01.L", "wrist.L", "metacarpal1.L", "finger2-1.L", "finger2-2.L"]
    joints = joint_of_bones(bones, [-1, *range(len(bones) - 1)])
    assert [Joint(joint).name for joint in joints[-8:]] == [
        *["LEFT_COLLAR"],
        *["LEFT_SHOULDER"] * 2,
        "LEFT_ELBOW",
        *["LEFT_WRIST"] * 2,
        *["LEFT_HAND"] * 2,
    ]


def test_place_joints_puts_the_pelvis_at_the_origin_and_keeps_lengths():
    generator = np.random.default_rng(1)
    joints = generator.normal(size=(3, NUM_JOINTS, 3))
    turns = frame(generator.normal(size=(3, NUM_JOINTS, 3)), generator.normal(size=(3, NUM_JOINTS, 3)))
    placed = place_joints(joints, turns)
    assert np.allclose(placed[:, 0], 0.0)
    bones = [np.linalg.norm(j[:, 1:] - j[:, PARENTS[1:]], axis=-1) for j in (joints, placed)]
    assert np.allclose(*bones)
    assert len(MIRROR) == NUM_JOINTS


def test_shape_components_recover_a_known_subspace():
    """People made from known unit-variance coefficients: ten components explain them, at their true size."""
    generator = np.random.default_rng(2)
    vertices, faces = ball(6, 8)
    basis = 0.02 * generator.normal(size=(3, *vertices.shape)) * np.array([3.0, 2.0, 1.0])[:, None, None]
    coefficients = generator.normal(size=(400, 3))
    people = vertices + np.einsum("nk,kvc->nvc", coefficients, basis)
    mean, components, share = shape_components(Population(people, np.zeros((400, NUM_JOINTS, 3))), faces)
    assert share[:3].sum() == pytest.approx(1.0, abs=1e-9)
    spread = np.sqrt((components**2).sum())
    assert spread == pytest.approx(np.sqrt(((people - mean) ** 2).sum() / 399), rel=0.1)
    assert vertex_areas(vertices, faces).sum() == pytest.approx(4 * np.pi, rel=0.15)
