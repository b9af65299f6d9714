"""The vertical from upright edges of a drawn picture whose camera is known."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from bodycast.app.records import F64, U8
from bodycast.app.world.floor_fit import FloorKnown, FloorSamples, fit_floor
from bodycast.app.world.verticals import Verticals
from bodycast.hmr.geometry.camera import Intrinsics
from bodycast.hmr.geometry.ground import Floor

WH = (960, 540)
LENS = Intrinsics.from_focal(850.0, WH)
NOBODY = np.zeros((0, 4), np.float32)


def room(floor: Floor, posts: list[float], lean_rad: float = 0.0, seed: int = 0) -> U8:
    """Posts at x m, 5 to 7 m away, from the floor to 3 m, each leaning at random by lean_rad."""
    rng = np.random.default_rng(seed)
    to_camera = np.linalg.inv(floor.camera_to_world())
    image = np.full((WH[1], WH[0], 3), 90, np.uint8)
    for x in posts:
        z, leans = -rng.uniform(5, 7), rng.normal(0, lean_rad, 2)
        ends = np.array([[x, 0, z], [x + 3 * leans[0], 3, z + 3 * leans[1]]])
        seen = ends @ to_camera[:3, :3].T + to_camera[:3, 3]
        at = seen[:, :2] / seen[:, 2:] * LENS.focal_px + np.array([LENS.cx, LENS.cy])
        a, b = (tuple(np.round(point * 16).astype(int).tolist()) for point in at)
        cv2.line(image, a, b, tuple(int(c) for c in rng.integers(150, 255, 3)), 9, cv2.LINE_AA, 4)
    return image


def looked(image: U8, turn: F64 | None = None) -> Verticals:
    """What one picture gives."""
    verticals = Verticals()
    verticals.update(image, 0.0, NOBODY, np.eye(3) if turn is None else turn, LENS)
    return verticals


POSTS = [-2.6, -2.0, -1.2, -0.3, 0.7, 1.4, 2.1, 2.7]


@pytest.mark.parametrize(("pitch_deg", "roll_deg"), [(12.0, 2.0), (-6.0, -3.0), (25.0, 0.0)])
def test_posts_say_pitch_and_roll(pitch_deg: float, roll_deg: float) -> None:
    floor = Floor.of_angles(np.radians(pitch_deg), np.radians(roll_deg), 1.5)
    found = looked(room(floor, POSTS)).vertical(LENS.focal_px)
    assert found is not None
    np.testing.assert_allclose(np.degrees(found.angles_rad), [pitch_deg, roll_deg], atol=1.0)
    assert np.degrees(found.pitch_spread) < 5


def test_edges_that_agree_on_nothing_say_nothing() -> None:
    floor = Floor.of_angles(0.1, 0.0, 1.5)
    assert looked(room(floor, POSTS, lean_rad=0.25)).vertical(LENS.focal_px) is None
    assert looked(np.full((WH[1], WH[0], 3), 90, np.uint8)).vertical(LENS.focal_px) is None


def test_edges_in_the_middle_say_nothing_of_the_pitch() -> None:
    floor = Floor.of_angles(0.2, 0.0, 1.5)
    found = looked(room(floor, [-0.05, 0.02, 0.08])).vertical(LENS.focal_px)
    assert found is None or np.degrees(found.pitch_spread) > 10


def test_edges_on_people_do_not_count() -> None:
    verticals = Verticals()
    everywhere = np.array([[0, 0, *WH]], np.float32)
    verticals.update(room(Floor.of_angles(0.2, 0.0, 1.5), POSTS), 0.0, everywhere, np.eye(3), LENS)
    assert verticals.vertical(LENS.focal_px) is None


def test_the_floor_follows_the_edges_unless_the_camera_is_said_to_be_level() -> None:
    vertical = looked(room(Floor.of_angles(0.2, 0.0, 1.5), POSTS)).vertical(LENS.focal_px)
    rays = np.array([[-0.2, 0.3, 1.0], [0.2, 0.31, 1.0]])
    samples = FloorSamples(
        rays, np.array([4.0, 4.0]), np.zeros(2, np.intp), np.ones(2), np.zeros((1, 3)), np.zeros(1), np.array([0.05])
    )
    plain, seen = fit_floor(samples).floor, fit_floor(samples, FloorKnown(vertical=vertical)).floor
    level = fit_floor(samples, FloorKnown(level=True, vertical=vertical)).floor
    assert plain is not None and seen is not None and level is not None
    assert abs(seen.pitch_rad - 0.2) < 0.03 < abs(plain.pitch_rad - 0.2)
    assert abs(level.pitch_rad) < 1e-3
