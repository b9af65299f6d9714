"""Calibration files as OpenCV, calibration scripts, ROS, Kalibr, COLMAP and pose2sim write them."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from bodycast.app.errors import UsageError
from bodycast.app.sources.calibration_files import read_calibration

K = np.array([[901.5, 0.0, 633.0], [0.0, 899.5, 365.0], [0.0, 0.0, 1.0]])
D = np.array([-0.21, 0.05, 0.001, -0.002, 0.01])

PYYAML = """camera_matrix:
- - 901.5
  - 0.0
  - 633.0
- - 0.0
  - 899.5
  - 365.0
- - 0.0
  - 0.0
  - 1.0
dist_coeff:
- - -0.21
  - 0.05
  - 0.001
  - -0.002
  - 0.01
image_height: 720
image_width: 1280
"""

ROS = """# made by camera_calibration
image_width: 1280
image_height: 720
camera_name: narrow-stereo
camera_matrix:
  rows: 3
  cols: 3
  data: [901.5, 0, 633,
         0, 899.5, 365, 0, 0, 1]
distortion_model: plumb_bob
distortion_coefficients: {rows: 1, cols: 5, data: [-0.21, 0.05, 0.001, -0.002, 0.01]}
"""

FLAT = """fx: 901.5
fy: 899.5
cx: 633
cy: 365
k1: -0.21
k2: 0.05
p1: 0.001
p2: -0.002
k3: 0.01
w: 1280
h: 720
"""

KALIBR = """cam0:
  cam_overlaps: [1]
  camera_model: pinhole
  distortion_coeffs: [0.02, -0.01, 0.003, -0.0004]
  distortion_model: equidistant
  intrinsics: [461.6, 460.3, 362.6, 248.1]
  resolution: [752, 480]
cam1:
  camera_model: pinhole
  distortion_coeffs: [-0.28, 0.07, 0.0002, 1.8e-05]
  distortion_model: radtan
  intrinsics: [457.5, 456.1, 379.9, 255.2]
  resolution: [752, 480]
"""

POSE2SIM = """[cam_01]
name = "left"
size = [ 1088.0, 1920.0]
matrix = [ [ 1681.24, 0.0, 540.0], [ 0.0, 1681.24, 960.0], [ 0.0, 0.0, 1.0]]
distortions = [ -0.0015, 0.002, 0.0001, 0.0]
rotation = [ 1.2, -1.1, 0.9]
translation = [ -0.2, 0.5, 4.5]
fisheye = false

[cam_02]
name = "right"
size = [ 1088.0, 1920.0]
matrix = [ [ 1676.0, 0.0, 545.0], [ 0.0, 1676.0, 955.0], [ 0.0, 0.0, 1.0]]
distortions = [ 0.01, 0.002, 0.0001, 0.0003]
rotation = [ 1.2, -1.1, 0.9]
translation = [ -0.2, 0.5, 4.5]
fisheye = true

[metadata]
adjusted = false
error = 0.0
"""

COLMAP = """# Camera list with one line of data per camera:
#   CAMERA_ID, MODEL, WIDTH, HEIGHT, PARAMS[]
# Number of cameras: 3
1 SIMPLE_RADIAL 3072 2304 2559.81 1536.5 1152.5 -0.0204997
2 OPENCV 1280 720 901.5 899.5 633.5 365.5 -0.21 0.05 0.001 -0.002
3 FOV 100 100 80 80 50 50 0.9
4 OPENCV_FISHEYE 1280 720 500 501 640 360 0.01 0.02 0.03 0.04
"""


def saved(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


@pytest.mark.parametrize("suffix", [".yml", ".yaml", ".xml", ".json"])
@pytest.mark.parametrize("names", [("camera_matrix", "distortion_coefficients"), ("cameraMatrix", "distCoeffs")])
def test_what_opencv_writes(tmp_path: Path, suffix: str, names: tuple[str, str]) -> None:
    path = tmp_path / f"camera{suffix}"
    storage = cv2.FileStorage(str(path), cv2.FILE_STORAGE_WRITE)
    storage.write("calibration_time", "Mon 01 Jan 2024 10:00:00")
    storage.write("image_width", 1280)
    storage.write("image_height", 720)
    storage.write(names[0], K)
    storage.write(names[1], D.reshape(5, 1))
    storage.release()
    check(path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pyyaml.yaml", PYYAML),
        ("ros.yaml", ROS),
        ("plain.json", json.dumps({"K": K.tolist(), "dist": D.tolist(), "width": 1280, "height": 720})),
        ("rows.json", json.dumps({"mtx": K.tolist(), "dist": [D.tolist()], "image_size": [1280, 720]})),
        (
            "numbers.json",
            json.dumps(
                {"intrinsics": {"fx": 901.5, "fy": 899.5, "cx": 633, "cy": 365}, "size": [1280, 720]}
                | {"distortion": {"k1": -0.21, "k2": 0.05, "p1": 0.001, "p2": -0.002, "k3": 0.01}}
            ),
        ),
        ("flat.yml", FLAT),
        ("one.toml", f"[cam]\nmatrix = {K.tolist()}\ndistortions = {D.tolist()}\nsize = [1280, 720]\n"),
    ],
)
def test_what_scripts_write(tmp_path: Path, name: str, text: str) -> None:
    check(saved(tmp_path, name, text))


def check(path: Path) -> None:
    found = read_calibration(path)
    assert found.image_wh == (1280, 720) and not found.fisheye
    assert found.focal_px == (901.5, 899.5) and found.principal_px == (633.0, 365.0)
    assert (*found.distortion, *[0.0] * 8)[:8] == (*D.tolist(), 0.0, 0.0, 0.0)


def test_fisheye_is_seen_by_the_model_or_by_a_flag(tmp_path: Path) -> None:
    kalibr = saved(tmp_path, "chain.yaml", KALIBR)
    assert read_calibration(kalibr, "cam0").fisheye and not read_calibration(kalibr, "cam1").fisheye
    assert read_calibration(kalibr, "cam1").distortion == (-0.28, 0.07, 0.0002, 1.8e-05)
    toml = saved(tmp_path, "Calib.toml", POSE2SIM)
    assert read_calibration(toml, "right").fisheye and not read_calibration(toml, "left").fisheye
    assert read_calibration(toml, "left").image_wh == (1088, 1920)


def test_colmap_counts_pixels_from_their_corner(tmp_path: Path) -> None:
    path = saved(tmp_path, "cameras.txt", COLMAP)
    first, second = read_calibration(path, "1"), read_calibration(path, "2")
    assert first.focal_px == (2559.81, 2559.81) and first.principal_px == (1536.0, 1152.0)
    assert first.distortion[:4] == (-0.0204997, 0.0, 0.0, 0.0) and first.image_wh == (3072, 2304)
    assert second.principal_px == (633.0, 365.0) and second.distortion[:4] == (-0.21, 0.05, 0.001, -0.002)
    fourth = read_calibration(path, "4")
    assert fourth.fisheye and fourth.distortion == (0.01, 0.02, 0.03, 0.04)


def test_a_stereo_calibration_has_two_cameras(tmp_path: Path) -> None:
    path = tmp_path / "intrinsics.yml"
    storage = cv2.FileStorage(str(path), cv2.FILE_STORAGE_WRITE)
    for name, value in (("M1", K), ("D1", D), ("M2", K + np.diag([10.0, 10.0, 0.0])), ("D2", 2 * D)):
        storage.write(name, value)
    storage.release()
    assert read_calibration(path, "2").focal_px == (911.5, 909.5)
    assert read_calibration(path, "2").distortion == tuple((2 * D).tolist())
    assert read_calibration(path, "1").distortion == tuple(D.tolist())


MATRIX = f'{{"K": {K.tolist()}'


@pytest.mark.parametrize(
    ("name", "text", "camera", "message"),
    [
        ("Calib.toml", POSE2SIM, None, "2 cameras; give --calibration-camera, one of left, right"),
        ("Calib.toml", POSE2SIM, "top", "no camera 'top'; --calibration-camera is one of left, right"),
        ("cameras.txt", COLMAP, "3", "the lens model FOV is not known"),
        ("cameras.txt", "1 PINHOLE 100 100 80 80 50", None, "expected width, height and fx fy cx cy"),
        ("notes.txt", "hello", None, "not COLMAP's cameras.txt"),
        ("a.yml", "camera_matrix: [1, 2\nb", None, "cannot be read"),
        ("a.yml", "", None, "no camera matrix in it"),
        ("a.xml", "<?xml version='1.0'?><opencv_storage><a>1</b></opencv_storage>", None, "cannot be read"),
        ("a.json", "{", None, "cannot be read"),
        ("a.json", "[" * 100_000, None, "not a calibration file"),
        ("a.json", "[1, 2]", None, "no camera matrix in it"),
        ("a.json", '{"K": [[900, 50, 320], [0, 900, 180], [0, 0, 1]]}', None, "camera matrix is not"),
        ("a.json", MATRIX + ', "dist": "none"}', None, "not a list of numbers"),
        ("a.json", MATRIX + ', "dist": [1, 2, 3, 4, 5, 6]}', None, "expected 4, 5, 8, 12 or 14"),
        ("a.json", MATRIX + ', "dist": [1, 2, 3, 4, 5], "fisheye": true}', None, "expected 4 fisheye"),
        ("a.json", MATRIX + ', "dist": [NaN, 2, 3, 4, 5]}', None, "expected finite numbers"),
        ("a.json", MATRIX + ', "distortion_model": "omnidirectional"}', None, "'omnidirectional' is not known"),
        ("a.toml", "[cam", None, "not TOML"),
        ("a.npz", "x", None, "not a kind of calibration file"),
    ],
)
def test_what_cannot_be_used_is_one_line(
    tmp_path: Path, name: str, text: str, camera: str | None, message: str
) -> None:
    with pytest.raises(UsageError, match=message) as failure:
        read_calibration(saved(tmp_path, name, text), camera)
    assert "\n" not in str(failure.value)


def test_a_file_that_is_not_there_or_no_text(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        read_calibration(tmp_path / "none.yml")
    with pytest.raises(UsageError, match="directory"):
        read_calibration(tmp_path)
    (tmp_path / "a.yml").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(UsageError, match="not a text file"):
        read_calibration(tmp_path / "a.yml")
