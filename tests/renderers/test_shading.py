"""Vertex colours, topology, viewport and blending."""

from __future__ import annotations

import numpy as np
import pytest

from bodycast.app.renderers.blending import blend
from bodycast.app.renderers.shading import PALETTE_BGR, MeshShading, person_colours
from bodycast.app.renderers.topology import close_holes, is_closed, winds_outwards
from bodycast.app.renderers.viewport import people_viewport
from bodycast.hmr.geometry.camera import Intrinsics
from tests.meshes import ellipsoid, mannequin

WH = (640, 480)
CAMERA = Intrinsics.default(WH)


def test_normals_of_a_ball_point_away_from_its_centre() -> None:
    vertices, faces = ellipsoid(rings=32, sectors=48)
    normals = MeshShading(faces).normals(vertices)
    assert np.allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-5)
    assert (normals * vertices).sum(axis=1).min() > 0.999


def test_a_ball_is_brightest_where_it_faces_the_key_light() -> None:
    vertices, faces = ellipsoid(rings=32, sectors=48)
    lit = MeshShading(faces).colours(vertices[None], np.array([1], np.int32))[0, :, :3].sum(axis=1)
    brightest = vertices[lit.argmax()]
    # Upper left, on the camera's side: x and y of the camera frame point right and down, z away.
    assert brightest[0] < 0 and brightest[1] < 0 and brightest[2] < 0
    assert vertices[lit.argmin()] @ brightest < 0


def test_colours_depend_on_the_id_alone() -> None:
    ids = np.array([3, 1, 3, 1 + len(PALETTE_BGR)], np.int32)
    colours = person_colours(ids)
    assert np.array_equal(colours[0], colours[2]) and np.array_equal(colours[1], colours[3])
    distance = np.linalg.norm(PALETTE_BGR[:, None] - PALETTE_BGR[None], axis=-1)
    assert distance[~np.eye(len(PALETTE_BGR), dtype=bool)].min() > 50


def test_faces_of_the_wrong_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="Fx3"):
        MeshShading(np.zeros((4, 4), np.int32))


def test_closed_meshes_are_told_from_open_ones() -> None:
    vertices, faces = ellipsoid()
    assert is_closed(faces) and is_closed(mannequin()[1])
    assert not is_closed(faces[1:])
    assert winds_outwards(vertices, faces)
    assert not winds_outwards(vertices, faces[:, ::-1])
    # Where the mesh is does not matter.
    assert winds_outwards(vertices + np.array([5, -3, 9], np.float32), faces)


def test_small_holes_are_closed_and_sheets_are_left_open() -> None:
    _, faces = mannequin()
    # Two holes: one triangle, and the fan of triangles around one vertex.
    around = (faces == 500).any(axis=1)
    holed = faces[~around & (np.arange(len(faces)) != 3000)]
    assert not is_closed(holed)
    closed = close_holes(holed)
    assert is_closed(closed) and np.array_equal(closed[: len(holed)], holed)
    assert len(closed) == len(holed) + (around.sum() - 2) + 1
    assert close_holes(faces) is faces
    sheet = faces[: len(faces) // 14]
    assert close_holes(sheet) is sheet


def test_the_viewport_holds_every_projection_and_little_more() -> None:
    vertices = np.array([[[0.1, -0.2, 2.0], [0.4, 0.3, 2.5]]], np.float32)
    viewport = people_viewport(vertices, CAMERA, WH)
    assert viewport is not None
    u = vertices[0, :, 0] / vertices[0, :, 2] * CAMERA.fx + CAMERA.cx
    v = vertices[0, :, 1] / vertices[0, :, 2] * CAMERA.fy + CAMERA.cy
    assert viewport.x0 <= u.min() and u.max() <= viewport.x1 - 1
    assert viewport.y0 <= v.min() and v.max() <= viewport.y1 - 1
    assert viewport.width <= np.ptp(u) + 5 and viewport.height <= np.ptp(v) + 5


@pytest.mark.parametrize(("z", "whole"), [(-2.0, False), (0.0, False), (2.0, True)])
def test_the_viewport_at_the_near_plane(z: float, whole: bool) -> None:
    vertices = np.array([[[0.0, 0.0, -1.0], [0.1, 0.0, z]]], np.float32)
    viewport = people_viewport(vertices, CAMERA, WH)
    assert (viewport == (0, 0, *WH)) if whole else (viewport is None)


def test_blending_replaces_covered_pixels_and_mixes_the_edge() -> None:
    background = np.full((5, 5, 3), 100, np.uint8)
    drawn = np.zeros((5, 5, 4), np.uint8)
    drawn[:, :2] = (200, 200, 200, 255)
    drawn[:, 2] = (100, 100, 100, 128)
    blend(background, drawn, soften=False)
    assert (background[:, :2] == 200).all() and (background[:, 3:] == 100).all()
    assert np.abs(background[:, 2].astype(int) - 150).max() <= 1


def test_softening_mixes_the_inner_edge_only() -> None:
    background = np.zeros((9, 9, 3), np.uint8)
    drawn = np.zeros((9, 9, 4), np.uint8)
    drawn[2:7, 2:7] = 255
    blend(background, drawn, soften=True)
    assert (background[3:6, 3:6] == 255).all()
    assert (background[2, 3:6] == 170).all()
    assert (background[:2] == 0).all()
