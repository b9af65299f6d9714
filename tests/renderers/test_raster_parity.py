"""The CPU rasteriser against OpenGL, on a figure as large as a body."""

from __future__ import annotations

import numpy as np
import pytest

from bodycast.app.errors import BodycastError
from bodycast.app.renderers import open_renderer
from bodycast.app.renderers.cpu_renderer import CpuRenderer
from bodycast.hmr.geometry.camera import Intrinsics
from tests.meshes import mannequin

WH = (640, 360)
CAMERA = Intrinsics.default(WH)
BLACK = np.zeros((WH[1], WH[0], 3), np.uint8)
IDS = np.array([1, 2], np.int32)


def two_people(vertices: np.ndarray) -> np.ndarray:
    """One behind the other, overlapping."""
    places = np.array([[-0.2, 0.1, 2.6], [0.25, 0.0, 3.2]], np.float32)
    return vertices[None] + places[:, None]


@pytest.fixture(scope="module")
def gl_picture() -> np.ndarray:
    """Two people drawn by OpenGL over black."""
    vertices, faces = mannequin()
    try:
        renderer = open_renderer("moderngl", faces)
    except BodycastError as error:
        pytest.skip(str(error))
    picture = renderer.render(BLACK, two_people(vertices), IDS, CAMERA)
    renderer.close()
    return picture


@pytest.mark.parametrize(("pixel_budget", "least_iou"), [(10_000_000, 0.995), (30_000, 0.97)])
def test_silhouettes_agree(gl_picture: np.ndarray, pixel_budget: int, least_iou: float) -> None:
    vertices, faces = mannequin()
    picture = CpuRenderer(faces, pixel_budget=pixel_budget).render(BLACK, two_people(vertices), IDS, CAMERA)
    # Over black a pixel's brightness grows with its coverage; 40 is about half of the darkest lit side.
    ours, theirs = picture.max(axis=-1) > 40, gl_picture.max(axis=-1) > 40
    iou = (ours & theirs).sum() / (ours | theirs).sum()
    assert iou > least_iou


def test_colours_agree(gl_picture: np.ndarray) -> None:
    vertices, faces = mannequin()
    picture = CpuRenderer(faces, pixel_budget=10_000_000).render(BLACK, two_people(vertices), IDS, CAMERA)
    both = (picture.max(axis=-1) > 40) & (gl_picture.max(axis=-1) > 40)
    difference = np.abs(picture[both].astype(int) - gl_picture[both]).max(axis=-1)
    # Worst seen: 1 in the 99th percentile (rounding); pixels where two surfaces meet may go to either.
    assert np.percentile(difference, 99) <= 3


def test_an_open_surface_is_drawn_from_both_sides() -> None:
    corners = np.array([[-0.3, -0.2, 2.0], [0.3, -0.2, 2.0], [0.0, 0.4, 2.0]], np.float32)[None]
    for order in ([0, 1, 2], [2, 1, 0]):
        drawn = CpuRenderer(np.array([order], np.int32)).render(BLACK, corners, IDS[:1], CAMERA)
        assert drawn.any()


def test_a_closed_mesh_that_winds_inwards_looks_the_same() -> None:
    vertices, faces = mannequin()
    meshes = two_people(vertices)
    shapes = [
        CpuRenderer(np.ascontiguousarray(order)).render(BLACK, meshes, IDS, CAMERA).max(axis=-1) > 0
        for order in (faces, faces[:, ::-1])
    ]
    assert (shapes[0] != shapes[1]).mean() < 1e-3
