"""Lens distortion is undone: what a lens with distortion sees comes out where one without sees it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from bodycast.app.errors import UsageError
from bodycast.app.records import F64, U8, Frame
from bodycast.app.sources.calibration import Calibration, Undistorter
from bodycast.hmr.geometry.camera import project_intrinsics

WH = (640, 360)
PEOPLE_M = np.array([[x, y, z] for x in (-1.6, -0.8, 0.0, 0.7, 1.5) for y in (-0.8, 0.1, 0.9) for z in (3.0, 4.5)])
"""Heads, hips and feet of ten people."""


def calibration(
    distortion: tuple[float, ...], fisheye: bool = False, focal: tuple[float, float] = (420.0, 410.0)
) -> Calibration:
    return Calibration("cam.yml", focal, (330.0, 170.0), WH, distortion, fisheye)


LENSES = {
    "barrel": calibration((-0.28, 0.09, 0.0012, -0.0008, -0.01)),
    "pincushion": calibration((0.12, 0.02, -0.001, 0.001)),
    "rational": calibration((0.4, 0.05, 0.0005, 0.0, 0.01, 0.7, 0.1, 0.01)),
    "fisheye": calibration((0.05, -0.02, 0.01, -0.003), fisheye=True, focal=(300.0, 300.0)),
    "equidistant": calibration((0.0, 0.0, 0.0, 0.0), fisheye=True, focal=(300.0, 300.0)),
    "off the middle": calibration(()),
}


def distorted_px(lens: Calibration, points_m: F64) -> F64:
    """The model as OpenCV's documentation states it, (N,3) m -> (N,2) px."""
    x, y = (points_m[:, :2] / points_m[:, 2:]).T
    r = np.hypot(x, y)
    if lens.fisheye:
        theta = np.arctan(r)
        k1, k2, k3, k4 = lens.distortion
        bent = theta * (1 + k1 * theta**2 + k2 * theta**4 + k3 * theta**6 + k4 * theta**8)
        x, y = x * bent / np.maximum(r, 1e-12), y * bent / np.maximum(r, 1e-12)
    else:
        k1, k2, p1, p2, k3, k4, k5, k6 = (*lens.distortion, *[0.0] * 8)[:8]
        radial = (1 + k1 * r**2 + k2 * r**4 + k3 * r**6) / (1 + k4 * r**2 + k5 * r**4 + k6 * r**6)
        x, y = (
            x * radial + 2 * p1 * x * y + p2 * (r**2 + 2 * x**2),
            y * radial + p1 * (r**2 + 2 * y**2) + 2 * p2 * x * y,
        )
    fx, fy = lens.focal_px
    return np.stack([fx * x + lens.principal_px[0], fy * y + lens.principal_px[1]], axis=1)


def dot(at_px: F64, wh: tuple[int, int] = WH) -> U8:
    """A soft dot, the same in all channels, whose centroid is `at_px`."""
    columns, rows = np.meshgrid(np.arange(wh[0]), np.arange(wh[1]))
    bell = np.exp(-((columns - at_px[0]) ** 2 + (rows - at_px[1]) ** 2) / (2 * 2.5**2))
    return np.repeat(np.round(250 * bell)[..., None], 3, axis=2).astype(np.uint8)


def centroid(image: U8) -> F64:
    weight = image[..., 0].astype(np.float64)
    columns, rows = np.meshgrid(np.arange(image.shape[1]), np.arange(image.shape[0]))
    return np.array([(weight * columns).sum(), (weight * rows).sum()]) / weight.sum()


@pytest.mark.parametrize("name", LENSES)
def test_people_come_out_where_a_lens_without_distortion_sees_them(name: str) -> None:
    undistort, errors, moved = Undistorter(LENSES[name]), list[float](), list[float]()
    for point, px in zip(PEOPLE_M, distorted_px(LENSES[name], PEOPLE_M), strict=True):
        if not (8 < px[0] < WH[0] - 8 and 8 < px[1] < WH[1] - 8):
            continue
        frame = undistort(Frame(dot(px), 0, 0.0))
        assert frame.intrinsics is not None and frame.image_wh == WH
        seen = project_intrinsics(point[None], frame.intrinsics)[0]
        if 8 < seen[0] < WH[0] - 8 and 8 < seen[1] < WH[1] - 8:
            errors.append(float(np.linalg.norm(centroid(frame.image) - seen)))
            moved.append(float(np.linalg.norm(px - seen)))
    assert len(errors) > 10 and max(errors) < 0.5, max(errors)
    assert max(moved) > 3, "the test lens is one that matters"


@pytest.mark.parametrize("name", LENSES)
def test_the_camera_is_what_the_files_of_a_run_take_it_to_be(name: str) -> None:
    camera = Undistorter(LENSES[name])(Frame(np.zeros((WH[1], WH[0], 3), np.uint8), 0, 0.0)).intrinsics
    assert camera is not None
    assert camera.fx == camera.fy and (camera.cx, camera.cy) == (WH[0] / 2, WH[1] / 2)
    assert 0.75 * 295 <= camera.fx <= 421


def test_lines_of_a_board_are_straight_again() -> None:
    lens = LENSES["barrel"]
    line_m = np.stack([np.linspace(-2.6, 2.6, 400), np.full(400, -0.95), np.full(400, 3.0)], axis=1)
    px = distorted_px(lens, line_m)
    image = np.zeros((WH[1], WH[0], 3), np.uint8)
    cv2.polylines(image, [np.round(px * 16).astype(np.int32)], False, (255, 255, 255), 3, cv2.LINE_AA, 4)
    bend = {}
    for name, shown in (("before", image), ("after", Undistorter(lens)(Frame(image, 0, 0.0)).image)):
        columns = np.arange(100, WH[0] - 100)
        weight = shown[:, columns, 0].astype(np.float64)
        rows = (weight * np.arange(WH[1])[:, None]).sum(axis=0) / weight.sum(axis=0)
        bend[name] = float(np.abs(rows - np.polyval(np.polyfit(columns, rows, 1), columns)).max())
    assert bend["before"] > 4 and bend["after"] < 0.5, bend


def test_a_calibration_without_distortion_leaves_the_picture_alone() -> None:
    image = np.random.default_rng(0).integers(0, 255, (WH[1], WH[0], 3), np.uint8)
    frame = Undistorter(Calibration("a", (500.0, 500.2), (319.5, 179.5), WH, (0.0,) * 5))(Frame(image, 3, 0.5))
    assert frame.image is image and frame.index == 3
    assert frame.intrinsics is not None and frame.intrinsics.fx == pytest.approx(500.1)


def test_pictures_of_another_size_are_the_same_picture() -> None:
    lens, half = LENSES["barrel"], (320, 180)
    whole, point = Undistorter(lens), np.array([[1.0, 0.6, 3.0]])
    small = whole(Frame(dot((distorted_px(lens, point)[0] + 0.5) / 2 - 0.5, half), 0, 0.0))
    large = whole(Frame(dot(distorted_px(lens, point)[0]), 1, 0.1))
    for frame in (small, large):
        assert frame.intrinsics is not None
        assert centroid(frame.image) == pytest.approx(project_intrinsics(point, frame.intrinsics)[0], abs=0.5)


def test_beyond_the_range_of_the_polynomial_is_black() -> None:
    """-0.28 alone turns back at 47 degrees: what lies beyond would be seen twice."""
    lens = Calibration("a", (200.0, 200.0), (320.0, 180.0), WH, (-0.28, 0.0, 0.0, 0.0))
    image = Undistorter(lens)(Frame(np.full((WH[1], WH[0], 3), 200, np.uint8), 0, 0.0)).image
    assert image[180, 320, 0] == 200 and image[0, 0, 0] == 0 and image[-1, -1, 0] == 0


@pytest.mark.parametrize(
    ("lens", "wh", "message"),
    [
        (LENSES["barrel"], (360, 640), "calibrated at 640x360, the picture is 360x640"),
        (LENSES["barrel"], (640, 480), "another aspect ratio"),
        (Calibration("a", (500.0, 500.0), (960.0, 540.0)), WH, "add image_width and image_height"),
        (Calibration("a", (5.0, 5.0), (320.0, 180.0), WH), WH, "field of view of 178"),
        (Calibration("a", (50000.0, 50000.0), (320.0, 180.0), WH), WH, "field of view of 0.8"),
    ],
)
def test_a_picture_that_is_not_the_calibrated_one_is_refused(
    lens: Calibration, wh: tuple[int, int], message: str
) -> None:
    with pytest.raises(UsageError, match=message) as failure:
        Undistorter(lens)(Frame(np.zeros((wh[1], wh[0], 3), np.uint8), 0, 0.0))
    assert "\n" not in str(failure.value)
