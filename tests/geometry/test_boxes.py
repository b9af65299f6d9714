"""Boxes: overlap, clipping, padding, boxes from points."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bodycast.hmr.geometry import boxes

corner = arrays(np.float64, (4, 2), elements=st.floats(-100, 100))
extent = arrays(np.float64, (4, 2), elements=st.floats(0.5, 100))


@given(corner, extent, corner, extent)
def test_iou_is_symmetric_and_bounded(corner_a, size_a, corner_b, size_b):
    a = np.concatenate([corner_a, corner_a + size_a], axis=-1)
    b = np.concatenate([corner_b, corner_b + size_b], axis=-1)
    iou = boxes.iou_matrix(a, b)
    assert iou.shape == (4, 4) and (iou >= 0).all() and (iou <= 1 + 1e-12).all()
    np.testing.assert_allclose(iou, boxes.iou_matrix(b, a).T)
    np.testing.assert_allclose(np.diagonal(boxes.iou_matrix(a, a)), 1.0)
    whole = boxes.union(a, b)
    assert (boxes.area(whole) >= np.maximum(boxes.area(a), boxes.area(b)) - 1e-9).all()


def test_iou_by_hand():
    iou = boxes.iou_matrix([[0, 0, 2, 2]], [[1, 1, 3, 3], [2, 2, 3, 3], [0, 0, 2, 2], [4, 4, 4, 4]])
    np.testing.assert_allclose(iou, [[1 / 7, 0, 1, 0]])
    assert boxes.iou_matrix(np.zeros((0, 4)), np.zeros((3, 4))).shape == (0, 3)


def test_clip_and_pad():
    np.testing.assert_allclose(boxes.clip([-5.0, 3.0, 700.0, 500.0], (640, 480)), [0, 3, 640, 480])
    np.testing.assert_allclose(boxes.pad([0.0, 0.0, 10.0, 20.0], 0.1), [-1, -2, 11, 22])
    centre, size = boxes.centre_size([0.0, 10.0, 10.0, 40.0])
    np.testing.assert_allclose(centre, [5, 25])
    np.testing.assert_allclose(size, [10, 30])


def test_box_from_points_leaves_out_the_invalid():
    points = np.array([[[0, 0], [4, 2], [100, 100]], [[1, 1], [3, np.nan], [2, 5]]], dtype=np.float32)
    valid = np.array([[True, True, False], [True, True, True]])
    box = boxes.from_points(points, valid, padding=0.5)
    assert box.dtype == np.float32
    np.testing.assert_allclose(box, [[-2, -1, 6, 3], [0.5, -1, 2.5, 7]])
    assert np.isnan(boxes.from_points(points, np.zeros((2, 3), bool))).all()
