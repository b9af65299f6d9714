"""Light and faults of the picture."""

from __future__ import annotations

import numpy as np

from training.synthetic.atlas_renderer import shadow_projection, tileable_grain
from training.synthetic.faults import noise_sheet, spoil
from training.synthetic.framing import visible_box
from training.synthetic.lighting import _basis, ambient_of, sample_lighting
from training.synthetic.scene import FLIP_YZ, Camera
from training.synthetic.things import BALL, CUBE, CYLINDER, Materials, Things, add_held, add_room


def _lit(ambient: np.ndarray, normal: tuple[float, float, float]) -> np.ndarray:
    n = np.array(normal, np.float32)
    return _basis(n / np.linalg.norm(n)) @ ambient


def test_even_surroundings_light_every_side_alike() -> None:
    up = np.array([0, -1, 0], np.float32)
    ambient = ambient_of(np.full((40, 30, 3), 128, np.uint8), up, sky=0.0)
    for normal in ((1, 0, 0), (0, 1, 0), (0, 0, -1), (1, 1, 1)):
        np.testing.assert_allclose(_lit(ambient, normal), (128 / 255) ** 2, rtol=0.03)


def test_light_comes_from_the_bright_side() -> None:
    picture = np.zeros((40, 40, 3), np.uint8)
    picture[:, 20:] = 250
    ambient = ambient_of(picture, np.array([0, -1, 0], np.float32), sky=0.0)
    assert (_lit(ambient, (1, 0, 0)) > 3 * np.maximum(_lit(ambient, (-1, 0, 0)), 0.02)).all()


def test_sampled_light_is_usable() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        light = sample_lighting(rng, rng.integers(0, 256, (16, 16, 3), np.uint8), np.array([0, -1, 0], np.float32))
        assert np.isclose(np.linalg.norm(light.lamp_direction), 1, atol=1e-5)
        assert 0.1 < light.ambient[0].mean() < 1.5 and (light.lamp_colour >= 0).all()


def test_shadow_view_holds_its_ball() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        direction, centre = rng.normal(0, 1, 3), rng.normal(0, 3, 3)
        direction /= np.linalg.norm(direction)
        view = shadow_projection(direction, centre, 1.3)
        points = rng.normal(0, 1, (50, 3))
        points = centre + 1.3 * points / np.linalg.norm(points, axis=1, keepdims=True)
        seen = points @ view[:3, :3].T + view[:3, 3]
        assert np.abs(seen).max() <= 1 + 1e-4
        nearer = view[:3, :3] @ (centre + direction) + view[:3, 3]
        assert nearer[2] < 0, "towards the lamp is nearer"


def test_faults_keep_shape_and_seed() -> None:
    noise = noise_sheet()
    pixels = np.random.default_rng(0).uniform(0, 255, (256, 192, 3)).astype(np.float32)
    first, again = (spoil(np.random.default_rng(5), pixels.copy(), 300.0, noise) for _ in range(2))
    assert first.shape == (256, 192, 3) and first.dtype == np.uint8
    np.testing.assert_array_equal(first, again)
    # A crop of 40 source pixels has lost its detail.
    small = spoil(np.random.default_rng(6), pixels.copy(), 40.0, noise).astype(float)
    assert np.abs(np.diff(small, axis=0)).mean() < 0.5 * np.abs(np.diff(pixels, axis=0)).mean()


def test_box_is_cut_at_the_picture() -> None:
    camera = Camera(FLIP_YZ, 500.0, (640, 480))
    points = np.array([[0, 0, 2], [0.2, 0.1, 2], [3.0, 0, 2], [0, 0, -1]], np.float32)
    box, share = visible_box(points, camera)
    assert share == 0.5
    np.testing.assert_allclose(box, [320, 240, 370, 265], atol=1e-3)
    assert visible_box(points - np.array([0, 0, 9], np.float32), camera)[1] == 0.0


def test_grain_has_no_seam() -> None:
    grain = tileable_grain().astype(float)
    for axis in (0, 1):
        seam = np.abs(np.take(grain, 0, axis) - np.take(grain, -1, axis)).mean()
        inside = np.abs(np.diff(grain, axis=axis)).mean()
        assert seam < 2.5 * inside


def test_solids_are_closed_and_face_outwards() -> None:
    for solid in (CUBE, CYLINDER, BALL):
        corners = solid.vertices[solid.faces]
        flat = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        area = np.linalg.norm(flat, axis=1)
        wide = area > 1e-6
        middle = corners.mean(1)
        outwards = np.einsum("fk,fk->f", solid.normals[solid.faces].mean(1), middle)
        assert (outwards[wide] > 0).all(), "normals point away from the middle"
        assert np.abs(solid.vertices).max() <= 0.5 + 1e-6
        along = np.abs(np.einsum("fk,fk->f", flat, solid.normals[solid.faces].mean(1)))[wide] / area[wide]
        assert along.min() > 0.9, "faces lie across their normals"


def test_held_things_follow_the_hand() -> None:
    rng = np.random.default_rng(2)
    things = Things()
    add_held(things, rng, "left", np.array([0.77, 0.36, 0.05]), Materials(rng, 3, 0, 0))
    mesh = things.mesh()
    assert mesh is not None and set(mesh.vertices["joint"][:, 0]) == {22}
    assert np.linalg.norm(mesh.vertices["position"].mean(0) - [0.79, 0.3, 0.05]) < 0.6
    assert Things().mesh() is None


def test_rooms_hold_their_camera() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        eye = rng.normal(0, 2, 3) + np.array([0, 1, 5])
        things = Things()
        add_room(things, rng, -0.9, Materials(rng, 3, 0, 0), eye.astype(np.float32))
        mesh = things.mesh()
        assert mesh is not None and mesh.shadowless == len(mesh.faces), "scenery throws no shadow"
        corners = mesh.vertices["position"][mesh.faces].astype(float)
        # No wall lies between the camera and the person at the origin.
        for a, b, c in corners:
            assert not _crosses(eye, np.zeros(3), a, b, c)


def _crosses(start: np.ndarray, end: np.ndarray, a: np.ndarray, b: np.ndarray, c: np.ndarray) -> bool:
    matrix = np.stack([b - a, c - a, start - end], axis=1)
    if abs(np.linalg.det(matrix)) < 1e-12:
        return False
    u, v, t = np.linalg.solve(matrix, start - a)
    return bool(u >= 0 and v >= 0 and u + v <= 1 and 0 < t < 1)
