"""Whether the camera moves, and how it turns, from pictures with a known motion."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from bodycast.app.files.motion_file import read_motion
from bodycast.app.records import U8, BodyEstimates, Frame, PosedBodies
from bodycast.app.sinks.motion import MotionSink
from bodycast.app.world.camera_motion import LOOK_EVERY_S, LOST_AFTER_S, CameraMotion, fit_turn
from bodycast.app.world.live import NO_WORLD, LiveWorld
from bodycast.app.world.offline import place_motion
from bodycast.app.world.options import WorldOptions
from bodycast.hmr.geometry.camera import Intrinsics, project_intrinsics
from bodycast.hmr.geometry.rotations import axis_angle_to_matrix, geodesic_distance
from tests.sinks.results import META, embedded_body, result_of

WH = (640, 360)
LENS = Intrinsics.from_focal(600.0, WH)
NOBODY = np.zeros((0, 4), np.float32)
MATRIX = np.array([[LENS.fx, 0, LENS.cx], [0, LENS.fy, LENS.cy], [0, 0, 1.0]])


def texture(height: int, width: int, seed: int = 0) -> U8:
    """(H,W,3) grey patches of many sizes, as a room has them."""
    rng = np.random.default_rng(seed)
    grey = np.zeros((height, width), np.float32)
    for size in (96, 48, 24, 12):
        patches = rng.uniform(-1, 1, (height // size + 2, width // size + 2)).astype(np.float32)
        grey += cv2.resize(patches, (width, height), interpolation=cv2.INTER_CUBIC) * 45
    return np.asarray(cv2.cvtColor(np.clip(128 + grey, 0, 255).astype(np.uint8), cv2.COLOR_GRAY2BGR), np.uint8)


def turned_picture(turn: np.ndarray) -> U8:
    """What a camera sees of something far away once its frame -> the first one's is `turn` (3,3)."""
    wall = texture(3 * WH[1], 3 * WH[0])
    shift = np.array([[1, 0, WH[0]], [0, 1, WH[1]], [0, 0, 1.0]])
    to_wall = shift @ MATRIX @ turn @ np.linalg.inv(MATRIX)
    return np.asarray(cv2.warpPerspective(wall, to_wall, WH, flags=cv2.INTER_AREA | cv2.WARP_INVERSE_MAP), np.uint8)


def walked_picture(metres: float) -> U8:
    """What a camera sees that has gone to its right, of strips that are 1 to 12 m away."""
    wall, out = texture(WH[1], 3 * WH[0], 5), np.empty((WH[1], WH[0], 3), np.uint8)
    depths = (1.0, 12.0, 1.6, 6.0, 2.4, 1.2, 4.0, 9.0, 1.4, 3.0)
    edges = np.linspace(0, WH[1], len(depths) + 1).astype(int)
    for depth, low, high in zip(depths, edges[:-1], edges[1:], strict=True):
        shift = LENS.fx * metres / depth
        move = np.array([[1, 0, -shift - 20], [0, 1, 0]], np.float32)
        out[low:high] = cv2.warpAffine(wall, move, WH, borderMode=cv2.BORDER_WRAP)[low:high]
    return out


def pan(time_s: float) -> np.ndarray:
    """(3,3) float64: to and fro, and some shake."""
    angles = np.array([0.02 * np.sin(5 * time_s), 0.25 * np.sin(1.2 * time_s), 0.01 * np.sin(4 * time_s)])
    return np.asarray(axis_angle_to_matrix(angles), np.float64)


def test_a_pan_is_followed() -> None:
    camera = CameraMotion()
    for index in range(60):
        turn = pan(index / 30)
        got = camera.update(turned_picture(turn), index / 30, NOBODY, LENS)
        if index / 30 > LOOK_EVERY_S:  # until then nobody looks whether it still stands
            assert np.degrees(geodesic_distance(got[None], turn[None])[0]) < 0.2
    assert camera.moves
    assert not camera.lost


def test_people_who_move_are_no_camera() -> None:
    camera, still = CameraMotion(), turned_picture(np.eye(3))
    for index in range(30):
        picture, left = still.copy(), 100 + 10 * index
        picture[60:330, left : left + 150] = texture(270, 150, 3)
        box = np.array([[left, 60, left + 150, 330]], np.float32)
        np.testing.assert_array_equal(camera.update(picture, index / 5, box, LENS), np.eye(3))
    assert not camera.moves


def test_a_still_camera_and_a_plain_wall_do_not_move() -> None:
    rng = np.random.default_rng(0)
    plain = np.full((WH[1], WH[0], 3), 90, np.uint8)
    for picture in (turned_picture(np.eye(3)), plain):
        camera = CameraMotion()
        for index in range(20):
            noisy = np.clip(picture + rng.normal(0, 3, picture.shape), 0, 255).astype(np.uint8)
            np.testing.assert_array_equal(camera.update(noisy, index / 5, NOBODY, LENS), np.eye(3))
        assert not camera.moves


def test_a_camera_that_walks_is_lost_until_the_next_cut() -> None:
    camera = CameraMotion()
    for index in range(75):
        got = camera.update(walked_picture(0.03 * index), index / 30, NOBODY, LENS)
        if index / 30 < LOST_AFTER_S:
            assert np.isfinite(got).all()
    assert camera.moves
    assert camera.lost
    assert np.isnan(got).all()
    camera.reset()
    assert np.isfinite(camera.update(walked_picture(0), 9.0, NOBODY, LENS)).all()
    assert not camera.lost


def test_a_rotation_is_found_among_corners_that_go_elsewhere() -> None:
    rng = np.random.default_rng(0)
    turn = np.asarray(axis_angle_to_matrix(np.array([0.02, -0.06, 0.03])), np.float64)
    later = np.concatenate([rng.uniform(-0.5, 0.5, (100, 2)), np.ones((100, 1))], axis=1)
    before = project_intrinsics(later @ turn.T, LENS).astype(np.float32)
    after = project_intrinsics(later, LENS).astype(np.float32)
    after[:30] += rng.uniform(-40, 40, (30, 2)).astype(np.float32)
    got, share = fit_turn(before, after, LENS, 2.0)
    assert np.degrees(geodesic_distance(got[None], turn[None])[0]) < 0.05
    assert share == pytest.approx(0.7, abs=0.05)


def recorded(path: Path, picture: Callable[[float], U8]) -> tuple[LiveWorld, MotionSink, list[str]]:
    """Two and a half seconds of somebody before a camera, through the world's stage into a motion file."""
    body = embedded_body()
    options = WorldOptions(lens_from="--focal-px")
    world = LiveWorld(body, options)
    said: list[str] = []

    def finish(motion, smoothed):
        placed, report = place_motion(motion, smoothed, body, options)
        said.extend(report.lines())
        return placed, report

    sink = MotionSink(path, META, 30.0, finish=finish)
    for index in range(0, 75, 3):
        result = result_of(index, people=[1])
        result = replace(result, frame=Frame(picture(index / 30), index, index / 30), intrinsics=LENS)
        estimates, found = world.place(result.frame, result.estimates, result.xyxy, LENS)
        bodies = _posed(estimates)
        sink.write(replace(result, estimates=estimates, bodies=bodies, world=found, smoothed=result.estimates))
    sink.close()
    return world, sink, said


def _posed(estimates: BodyEstimates) -> PosedBodies:
    posed = embedded_body()(estimates.pose, estimates.betas, estimates.transl_m)
    return PosedBodies(posed.vertices, posed.joints, project_intrinsics(posed.joints, LENS).astype(np.float32))


def test_a_run_whose_camera_walks_says_so_and_has_no_world(tmp_path: Path) -> None:
    world, sink, said = recorded(tmp_path / "motion.npz", lambda time_s: walked_picture(0.9 * time_s))
    assert world.warnings == (NO_WORLD,)
    assert "world coordinates are off" in NO_WORLD
    assert any("the camera moves: world coordinates are off" in line for line in said)
    motion = read_motion(sink.path)
    assert len(motion) == 25
    assert not motion.has_world
    for name in ("joints_world", "trans_world", "root_orient_world", "floor"):
        assert np.isnan(getattr(motion, name)).all(), name
    assert np.isfinite(motion.joints_3d).all()


def test_a_run_whose_camera_pans_keeps_its_world(tmp_path: Path) -> None:
    world, sink, _ = recorded(tmp_path / "motion.npz", lambda time_s: turned_picture(pan(time_s)))
    assert world.camera_moves
    assert world.warnings == ()
    motion = read_motion(sink.path)
    assert motion.has_world
    assert sink.world is not None
    assert sink.world.camera_moves
    assert sink.world.has_world
    # The same world for every frame: the first frame's camera takes a turned frame's joints there.
    last = motion.joints_3d[-1] @ pan(float(motion.time_s[-1])).T
    expected = last @ motion.camera_to_world[:3, :3].T + motion.camera_to_world[:3, 3]
    np.testing.assert_allclose(motion.joints_world[-1], expected, atol=0.03)
