"""Where the next crop is: meshes that fit, move, jump, collapse, leave the picture."""

from __future__ import annotations

import numpy as np
import pytest

from bodycast.app.estimation.projection import mesh_boxes
from tests.app.walkthrough import (
    CAMERA,
    MAN,
    STEP_S,
    Box,
    Walkthrough,
    frame_at,
    moved,
    padded,
)


def test_the_next_crop_is_the_mesh_of_this_frame_padded() -> None:
    walk = Walkthrough()
    walk.detect(MAN)
    walk.see(MAN)
    walk.see(MAN)
    np.testing.assert_allclose(walk.tracks.xyxy[0], padded(MAN), atol=0.1)


def test_constant_motion_is_predicted_one_frame_ahead() -> None:
    walk = Walkthrough()
    walk.detect(MAN)
    for frame in range(25):
        walk.see(moved(MAN, 6.0 * frame))
    walk.tracks = walk.follower.boxes_for(frame_at(walk.time_s))
    np.testing.assert_allclose(walk.tracks.xyxy[0], padded(moved(MAN, 6.0 * 25)), atol=0.5)


def test_the_prediction_goes_by_time_and_not_by_frames() -> None:
    walk = Walkthrough()
    walk.detect(MAN)
    for frame in range(20):
        walk.see(moved(MAN, 4.0 * frame))
    walk.tracks = walk.follower.boxes_for(frame_at(walk.time_s + 2 * STEP_S))
    np.testing.assert_allclose(walk.tracks.xyxy[0], padded(moved(MAN, 4.0 * 22)), atol=1.0)


def test_after_a_long_gap_nobody_is_thrown_across_the_picture() -> None:
    walk = Walkthrough()
    walk.detect(MAN)
    for frame in range(20):
        walk.see(moved(MAN, 6.0 * frame))
    last = moved(MAN, 6.0 * 19)
    walk.tracks = walk.follower.boxes_for(frame_at(walk.time_s + 30.0))
    shift = abs(float(walk.tracks.xyxy[0, 0]) - padded(last)[0])
    assert shift <= 0.25 * (padded(MAN)[2] - padded(MAN)[0]) + 0.1


@pytest.mark.parametrize(
    ("mesh", "what"),
    [
        (moved(MAN, 300), "jumped"),
        ((138, 216, 142, 224), "collapsed"),
        ((0, 0, 640, 480), "exploded"),
        ((0, 215, 600, 225), "became a line"),
        ((float("nan"),) * 4, "is no number"),
    ],
)
def test_a_mesh_not_to_be_believed_does_not_move_the_box(mesh: Box, what: str) -> None:
    del what
    walk = Walkthrough()
    walk.detect(MAN)
    for _ in range(5):
        walk.see(MAN)
    walk.see(mesh)
    walk.see(MAN)
    # The detector's box is the fall-back while it is recent; it lies within the padding of the mesh's own.
    np.testing.assert_allclose(walk.tracks.xyxy[0], MAN, atol=13)
    assert len(walk.follower) == 1


def test_boxes_stay_inside_the_picture() -> None:
    walk = Walkthrough()
    close_up: Box = (-200, 100, 700, 900)
    walk.detect((0, 100, 640, 480))
    for _ in range(3):
        confirmed = walk.see(close_up)
        np.testing.assert_allclose(confirmed.xyxy[0], [0, 60, 640, 480], atol=1)


def test_mesh_boxes_leave_out_what_lies_behind_the_camera() -> None:
    vertices = np.array([[[0, 0, 2], [0.4, 0.8, 2], [9, 9, -1], [0, 0, 0.001]]], np.float32)
    np.testing.assert_allclose(mesh_boxes(vertices, CAMERA), [[320, 240, 420, 440]], atol=1e-3)
    assert np.isnan(mesh_boxes(-vertices[:, :2], CAMERA)).all()
    assert mesh_boxes(np.zeros((0, 4, 3), np.float32), CAMERA).shape == (0, 4)
