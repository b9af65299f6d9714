"""What every renderer must do (app/renderers/base.py), on all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from bodycast.app.errors import BodycastError
from bodycast.app.renderers import open_renderer
from bodycast.app.renderers.base import Renderer
from bodycast.hmr.geometry.camera import Intrinsics, project_intrinsics
from tests.meshes import ellipsoid

WH = (160, 120)
CAMERA = Intrinsics(fx=150.0, fy=140.0, cx=78.0, cy=62.0, image_wh=WH)
GREY = np.full((WH[1], WH[0], 3), 90, np.uint8)
IDS = np.array([1, 2], np.int32)

Open = Callable[[np.ndarray], Renderer]


@pytest.fixture(params=["moderngl", "cpu", "pyrender"])
def open_drawing(request: pytest.FixtureRequest) -> Iterator[Open]:
    """Opens the renderer under test for some faces; skips where its package or OpenGL is missing."""
    opened: list[Renderer] = []

    def make(faces: np.ndarray) -> Renderer:
        try:
            opened.append(open_renderer(str(request.param), faces))
        except BodycastError as error:
            pytest.skip(str(error))
        return opened[-1]

    yield make
    for renderer in opened:
        renderer.close()


def painted(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Which pixels changed."""
    return np.any(before != after, axis=-1)


def at(vertices: np.ndarray, x: float, y: float, z: float) -> np.ndarray:
    """The mesh moved there, as float32."""
    return (vertices + np.array([x, y, z])).astype(np.float32)


def test_nobody_gives_a_copy_of_the_picture(open_drawing: Open) -> None:
    vertices, faces = ellipsoid()
    picture = GREY.copy()
    drawn = open_drawing(faces).render(picture, np.zeros((0, len(vertices), 3), np.float32), IDS[:0], CAMERA)
    assert np.array_equal(drawn, picture)
    assert not np.shares_memory(drawn, picture)


def test_the_picture_that_went_in_is_left_alone_and_one_like_it_comes_out(open_drawing: Open) -> None:
    vertices, faces = ellipsoid((0.4, 0.4, 0.4))
    picture = np.random.default_rng(0).integers(0, 255, (WH[1], WH[0], 3), dtype=np.uint8)
    before = picture.copy()
    drawn = open_drawing(faces).render(picture, at(vertices, 0, 0, 3)[None], IDS[:1], CAMERA)
    assert np.array_equal(picture, before)
    assert drawn.shape == picture.shape and drawn.dtype == np.uint8
    changed = painted(before, drawn)
    # A ball of 0.4 m at 3 m: about 20 px in radius, and nothing changes outside it.
    assert 1000 < changed.sum() < 1600
    assert not changed[:, :40].any() and not changed[:20].any()


@pytest.mark.parametrize("shift_px", [(0.0, 0.0), (0.3, 0.6), (-0.45, 0.2)])
def test_a_triangle_lands_where_the_camera_projects_it(open_drawing: Open, shift_px: tuple[float, float]) -> None:
    corners_px = np.array([[50.0, 30.0], [70.0, 95.0], [110.0, 45.0]]) + shift_px
    depth = np.array([2.0, 2.0, 2.0])
    xy = (corners_px - [CAMERA.cx, CAMERA.cy]) / [CAMERA.fx, CAMERA.fy] * depth[:, None]
    vertices = np.concatenate([xy, depth[:, None]], axis=1).astype(np.float32)
    assert np.allclose(project_intrinsics(vertices, CAMERA), corners_px, atol=1e-3)
    drawn = open_drawing(np.array([[0, 1, 2]], np.int32)).render(GREY, vertices[None], IDS[:1], CAMERA)
    rows, columns = np.nonzero(painted(GREY, drawn))
    centre = np.array([columns.mean(), rows.mean()])
    # Pixel centres are integers. A renderer that forgot its half pixel would be off by 0.5 in x, in y, or in both.
    assert np.abs(centre - corners_px.mean(axis=0)).max() < 0.2
    # Its area is 1800 px^2; multisampling also paints the pixels that the edge only touches.
    assert 1780 <= len(rows) <= 1920


@pytest.mark.parametrize("near_row", [0, 1])
def test_the_nearer_mesh_hides_the_farther_one(open_drawing: Open, near_row: int) -> None:
    vertices, faces = ellipsoid((0.4, 0.4, 0.4))
    renderer = open_drawing(faces)
    near, far = at(vertices, 0, 0, 2.0), at(vertices, 0, 0, 5.0)
    both = np.stack([near, far] if near_row == 0 else [far, near])
    alone = renderer.render(GREY, near[None], IDS[near_row : near_row + 1], CAMERA)
    together = renderer.render(GREY, both, IDS, CAMERA)
    middle = (slice(int(CAMERA.cy) - 8, int(CAMERA.cy) + 8), slice(int(CAMERA.cx) - 8, int(CAMERA.cx) + 8))
    assert np.abs(together[middle].astype(int) - alone[middle]).max() <= 2


def test_a_person_keeps_his_colour_whatever_his_row_and_another_has_another(open_drawing: Open) -> None:
    vertices, faces = ellipsoid((0.3, 0.3, 0.3))
    renderer = open_drawing(faces)
    left, right = at(vertices, -0.5, 0, 3), at(vertices, 0.5, 0, 3)
    first = renderer.render(GREY, np.stack([left, right]), np.array([1, 2], np.int32), CAMERA)
    swapped = renderer.render(GREY, np.stack([right, left]), np.array([2, 1], np.int32), CAMERA)
    assert np.array_equal(first, swapped)
    row, left_column, right_column = int(CAMERA.cy), int(CAMERA.cx) - 25, int(CAMERA.cx) + 25
    assert np.abs(first[row, left_column].astype(int) - first[row, right_column]).max() > 30


def test_a_mesh_behind_the_camera_or_beside_the_picture_paints_nothing(open_drawing: Open) -> None:
    vertices, faces = ellipsoid((0.3, 0.3, 0.3))
    renderer = open_drawing(faces)
    for place in ((0.0, 0.0, -3.0), (50.0, 0.0, 3.0)):
        drawn = renderer.render(GREY, at(vertices, *place)[None], IDS[:1], CAMERA)
        assert np.array_equal(drawn, GREY)


def test_a_mesh_that_reaches_behind_the_camera_is_cut_not_folded_over(open_drawing: Open) -> None:
    # A long tube along the view axis, below it, from behind the camera to 4 m in front: it only fills the lower half.
    vertices, faces = ellipsoid((0.2, 0.2, 3.0), rings=40)
    drawn = open_drawing(faces).render(GREY, at(vertices, 0, 0.6, 1.0)[None], IDS[:1], CAMERA)
    changed = painted(GREY, drawn)
    assert changed[int(CAMERA.cy) + 10 :].any()
    assert not changed[: int(CAMERA.cy)].any()


def test_more_people_and_larger_pictures_than_before(open_drawing: Open) -> None:
    vertices, faces = ellipsoid((0.15, 0.15, 0.15), rings=8, sectors=8)
    renderer = open_drawing(faces)
    for count, wh in ((1, WH), (11, (320, 240)), (2, (200, 300))):
        camera = Intrinsics.default(wh)
        xs = np.linspace(-0.8, 0.8, count)
        people = np.stack([at(vertices, x, 0, 3) for x in xs])
        picture = np.full((wh[1], wh[0], 3), 90, np.uint8)
        drawn = renderer.render(picture, people, np.arange(1, count + 1, dtype=np.int32), camera)
        assert drawn.shape == picture.shape
        for centre in project_intrinsics(people.mean(axis=1), camera):
            column, row = np.round(centre).astype(int)
            if 0 <= column < wh[0] and 0 <= row < wh[1]:
                assert painted(picture, drawn)[row, column]


@pytest.mark.parametrize("name", ["moderngl", "cpu", "pyrender", "none"])
def test_a_camera_for_another_picture_size_is_refused(name: str) -> None:
    vertices, faces = ellipsoid()
    try:
        renderer = open_renderer(name, faces)
    except BodycastError as error:
        pytest.skip(str(error))
    with pytest.raises(ValueError, match="intrinsics"):
        renderer.render(GREY, at(vertices, 0, 0, 3)[None], IDS[:1], Intrinsics.default((640, 480)))
    renderer.close()
    renderer.close()


def test_wrong_vertices_and_ids_are_refused(open_drawing: Open) -> None:
    vertices, faces = ellipsoid()
    renderer = open_drawing(faces)
    with pytest.raises(ValueError, match="vertices: expected"):
        renderer.render(GREY, at(vertices, 0, 0, 3)[None, :-1], IDS[:1], CAMERA)
    with pytest.raises(ValueError, match="person_id: expected 1"):
        renderer.render(GREY, at(vertices, 0, 0, 3)[None], IDS, CAMERA)


def test_none_gives_a_copy_of_the_picture_whoever_is_in_it() -> None:
    vertices, faces = ellipsoid()
    drawn = open_renderer("none", faces).render(GREY, at(vertices, 0, 0, 3)[None], IDS[:1], CAMERA)
    assert np.array_equal(drawn, GREY) and not np.shares_memory(drawn, GREY)
