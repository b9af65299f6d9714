"""Cameras: HMR2.0's and CLIFF's published functions, inverses, projection through crop and full image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bodycast.hmr.geometry import camera as cam
from bodycast.hmr.geometry.crop import CropTransform


@pytest.fixture(scope="module")
def goldens(goldens_dir: Path):
    names = ("hmr2_camera", "geometry", "hmr2_s")
    return {name: np.load(goldens_dir / f"{name}.npz", allow_pickle=False) for name in names}


def test_crop_to_full_matches_hmr2(goldens):
    g = goldens["hmr2_camera"]
    args = (g["in/cam"], g["in/box_center"], g["in/box_size"], g["in/img_size"])
    np.testing.assert_allclose(cam.cam_crop_to_full(*args, 5000.0), g["out/full_cam_focal5000"], rtol=1e-5)
    focal = cam.hmr2_demo_focal(g["in/img_size"])
    np.testing.assert_allclose(focal, g["out/focal_scaled"], rtol=1e-6)
    np.testing.assert_allclose(cam.cam_crop_to_full(*args, focal), g["out/full_cam_scaled"], rtol=1e-5)
    np.testing.assert_allclose(cam.cam_crop_to_full(*args, focal.max()), g["out/full_cam_batchfocal"], rtol=1e-5)


def test_crop_translation_and_keypoints_match_hmr2(goldens):
    g = goldens["hmr2_s"]
    transl = cam.crop_camera_translation(g["out/cam"])
    np.testing.assert_allclose(transl, g["out/cam_t"], rtol=1e-4)
    keypoints = cam.project(g["in/joints3d"] + g["out/cam_t"][:, None], 5000.0 / 256.0, np.zeros(2))
    np.testing.assert_allclose(keypoints, g["out/keypoints2d"], rtol=1e-4, atol=1e-5)


def test_cliff_camera_and_projection_match(goldens):
    g = goldens["geometry"]
    np.testing.assert_allclose(cam.cliff_focal(g["in/img_wh"]), g["out/cliff_focal"], rtol=1e-6)
    full = cam.cam_crop_to_full(
        g["in/cam"],
        g["out/cliff_center"],
        200.0 * g["out/cliff_scale"],
        g["in/img_wh"],
        g["out/cliff_focal"],
    )
    np.testing.assert_allclose(full, g["out/cliff_cam_full"], rtol=2e-5, atol=1e-5)
    points = g["in/points"] + g["in/translation"][:, None]
    pixels = cam.project(points, g["in/focal"][:, None], g["in/camera_center"][:, None])
    np.testing.assert_allclose(pixels, g["out/projected"], rtol=1e-4, atol=1e-3)


boxes = st.tuples(st.floats(-50, 2000), st.floats(-50, 1200), st.floats(20, 1500))


@given(boxes, st.floats(0.2, 3), st.floats(-1, 1), st.floats(-1, 1), st.floats(300, 5000))
def test_crop_to_full_and_back(box, s, tx, ty, focal):
    camera = np.array([[s, tx, ty]])
    args = (np.array([box[:2]]), np.array([box[2]]), (1920, 1080), focal)
    transl = cam.cam_crop_to_full(camera, *args)
    np.testing.assert_allclose(cam.cam_full_to_crop(transl, *args), camera, rtol=1e-6, atol=1e-6)


@given(boxes, st.floats(0.2, 3), st.floats(-1, 1), st.floats(-400, 400), st.floats(-300, 300))
def test_a_shifted_principal_point_moves_the_body_not_its_image(box, s, tx, dx, dy):
    camera, wh, focal = np.array([[s, tx, -0.3]]), (1280, 720), 1200.0
    args = (camera, np.array([box[:2]]), np.array([box[2]]), wh, focal)
    centred, principal = np.array([640.0, 360.0]), np.array([640.0 + dx, 360.0 + dy])
    usual, shifted = cam.cam_crop_to_full(*args), cam.cam_crop_to_full(*args, principal_px=principal)
    np.testing.assert_allclose(
        cam.project(shifted, focal, principal), cam.project(usual, focal, centred), rtol=1e-6, atol=1e-4
    )


def test_full_camera_puts_the_origin_where_the_crop_camera_says():
    """The body's origin projects to the same image pixel through either camera."""
    camera, wh, focal = np.array([[0.9, 0.15, -0.2]]), (1280, 720), 1468.6
    crop = CropTransform((400.0, 300.0), 350.0, (256, 256))
    transl = cam.cam_crop_to_full(camera, [crop.centre_px], [crop.size_px], wh, focal)
    full = cam.project(transl, focal, np.array([640.0, 360.0]))
    in_crop = camera[:, 0:1] * camera[:, 1:] * 0.5 * 256 + 128
    np.testing.assert_allclose(full, crop.to_image(in_crop), atol=1e-3)


def test_field_of_view_and_default_intrinsics():
    wh = (1280, 720)
    for axis in ("diagonal", "horizontal", "vertical"):
        focal = cam.focal_from_fov(0.9, wh, axis)
        np.testing.assert_allclose(cam.fov_from_focal(focal, wh, axis), 0.9)
    default = cam.Intrinsics.default(wh)
    assert default.focal_px == pytest.approx(np.hypot(*wh))
    assert np.degrees(cam.fov_from_focal(default.fx, wh)) == pytest.approx(53.13, abs=0.01)
    assert (default.cx, default.cy) == (640, 360)
    np.testing.assert_allclose(
        cam.project_intrinsics([0.1, -0.2, 2.0], default),
        (default.matrix @ [0.1, -0.2, 2.0])[:2] / 2.0,
    )
    wide = cam.Intrinsics.default(wh, fov_rad=np.radians(90))
    assert wide.fx == pytest.approx(0.5 * np.hypot(*wh))


def test_bad_values_are_refused():
    with pytest.raises(ValueError, match="between 0 and pi"):
        cam.focal_from_fov(4.0, (640, 480))
    with pytest.raises(ValueError, match="positive and finite"):
        cam.Intrinsics(0.0, 1.0, 0.0, 0.0, (4, 4))
    with pytest.raises(ValueError, match="in front of the camera"):
        cam.cam_full_to_crop([[0, 0, -1.0]], [[0, 0]], [1.0], (4, 4), 100.0)
    assert cam.cam_crop_to_full(np.zeros((0, 3)), np.zeros((0, 2)), np.zeros(0), (4, 4), 1.0).shape == (0, 3)
