"""A body as the smoother's network takes it, and trajectories of bodies."""

from __future__ import annotations

import numpy as np

from bodycast.app.smoothers.diffusion.motion_features import (
    SLOT_AGES_S,
    WIDTH,
    bodies_of,
    continued,
    group_squares,
    motion_rows,
    per_number,
    read,
)
from bodycast.app.smoothers.rays import off_ray
from bodycast.hmr.geometry.rotations import axis_angle_to_matrix

AGES = np.array(SLOT_AGES_S)


def rising(count: int = 3) -> np.ndarray:
    """Trajectories whose numbers grow by 1 a second, 0 at the newest slot."""
    return np.tile(-AGES[None, :, None], (count, 1, WIDTH)).astype(np.float32)


def test_bodies_go_and_come_back() -> None:
    transl = np.array([[0.3, -0.2, 2.5], [1.0, 0.5, 8.0]], np.float32)
    pose = axis_angle_to_matrix(np.random.default_rng(0).normal(0, 1, (2, 24, 3))).astype(np.float32)
    rows = motion_rows(pose, transl)
    assert rows.shape == (2, 147)
    assert motion_rows(np.tile(np.eye(3, dtype=np.float32), (1, 24, 1, 1)), transl[:1])[0, :6].tolist() == [
        1,
        0,
        0,
        0,
        1,
        0,
    ]
    np.testing.assert_allclose(off_ray(rows[:, 144:]), transl, rtol=1e-5)
    back, place = bodies_of(rows)
    np.testing.assert_allclose(back, pose, atol=1e-5)
    np.testing.assert_allclose(place, transl, rtol=1e-5)


def test_groups_are_joints_direction_and_depth() -> None:
    rows = np.zeros((1, WIDTH), np.float32)
    rows[0, [6, 7, 144, 146]] = [3, 4, 2, 5]
    squares = group_squares(rows)[0]
    assert squares[1] == 25 and squares[24] == 4 and squares[25] == 25 and squares.sum() == 54
    assert per_number(squares[None])[0, [0, 6, 11, 145, 146]].tolist() == [0, 25, 25, 4, 25]


def test_a_trajectory_is_read_between_its_slots_and_held_at_its_end() -> None:
    found = read(rising(4), AGES, np.array([0.0, 0.05, 0.9, 5.0]))
    np.testing.assert_allclose(found[:, 0], [0, -0.05, -0.9, -1.3], atol=1e-6)


def test_a_movement_goes_on_ever_more_slowly() -> None:
    found = continued(rising(4), AGES, np.array([0.0, 0.01, 0.3, 9.0]))
    joint, place = found[:, 0], found[:, 146]
    assert joint[0] == place[0] == 0
    np.testing.assert_allclose([joint[1], place[1]], 0.01, rtol=0.1)
    np.testing.assert_allclose([joint[3], place[3]], [0.05, 0.3], rtol=1e-3)
    assert place[2] < 0.2
