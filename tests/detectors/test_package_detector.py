"""Letterboxing, the way back to the picture, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="tiny graphs are made with onnx (requirements/export.txt)")

from bodycast.app.detectors import open_detector
from bodycast.app.detectors.hog import HogDetector
from bodycast.app.detectors.package_detector import PackageDetector, letterbox
from bodycast.app.errors import RunError, UsageError
from bodycast.app.records import Frame
from bodycast.engines.package import TensorSpec
from bodycast.engines.package_writer import write_package
from tests.tiny_packages import affine_model, detector_info, detector_package, hmr_package


@pytest.fixture
def no_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with no packages but those that a test puts into the folder given."""
    monkeypatch.setattr("bodycast.app.model_packages.REPOSITORY_MODELS", tmp_path / "repository")
    monkeypatch.setenv("BODYCAST_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "models"


@pytest.mark.parametrize("wh", [(96, 64), (960, 640), (200, 640), (1280, 720), (33, 500)])
def test_letterbox_keeps_the_aspect_and_says_where_pixels_went(wh: tuple[int, int]) -> None:
    image = np.zeros((*wh[::-1], 3), np.uint8)
    image[:, : wh[0] // 2, 0] = 250
    picture, scale, (left, top) = letterbox(image, (64, 96))
    assert picture.shape == (64, 96, 3)
    assert 96 in (round(wh[0] * scale), picture.shape[1]) and round(wh[1] * scale) <= 64
    y, x = round(top + wh[1] * scale / 2), left + wh[0] * scale / 4
    assert picture[y, int(x), :2].tolist() == [0, 0] and picture[y, int(x), 2] > 200  # shrunk by averaging
    assert picture[y, int(left + 0.8 * wh[0] * scale)].tolist() == [0, 0, 0]
    if left >= 1:
        assert picture[0, 0].tolist() == [114, 114, 114]


def test_boxes_return_to_the_picture(tmp_path: Path) -> None:
    package = detector_package(tmp_path / "p", [[24, 16, 48, 48], [25, 16, 48, 48], [0, 0, 96, 64]], [0.9, 0.8, 0.1])
    with_border = open_detector(str(package.folder), "onnxruntime", "cpu")
    image = np.full((640, 640, 3), 255, np.uint8)  # scale 0.1, 16 px of border left and right
    found = with_border.detect(Frame(image, 0, 0.0))
    np.testing.assert_allclose(found.xyxy, [[80, 160, 320, 480]], atol=1e-3)
    np.testing.assert_allclose(found.score, [0.9], atol=1e-6)
    assert with_border.name == "tiny-detector" and "onnxruntime" in with_border.describe()
    with_border.close()
    with pytest.raises(RunError, match="not open"):
        with_border.detect(Frame(image, 0, 0.0))


def test_boxes_in_the_border_are_nobody(tmp_path: Path) -> None:
    package = detector_package(tmp_path / "p", [[0, 0, 12, 60]], [0.9])
    detector = PackageDetector(package, "onnxruntime", "cpu")
    assert len(detector.detect(Frame(np.full((640, 640, 3), 255, np.uint8), 0, 0.0))) == 0
    detector.close()


@pytest.mark.parametrize(
    "changes",
    [
        {"crop_rule": "none"},
        {"normalisation": "none"},
        {"outputs": (TensorSpec("boxes", "float32", ("N", 3, 4), "px", "boxes"),)},
        {"inputs": (TensorSpec("crops", "uint8", ("N", 64, 96, 3), "1", "RGB"),)},
        {"inputs": (TensorSpec("images", "float32", ("N", 3, 64, 96), "1", "RGB"),)},
    ],
)
def test_other_graphs_are_refused(tmp_path: Path, changes: dict[str, object]) -> None:
    info = detector_info(**changes)
    inputs = {spec.name: np.zeros(spec.concrete(1), spec.dtype) for spec in info.inputs}
    outputs = {spec.name: np.zeros(spec.concrete(1), spec.dtype) for spec in info.outputs}
    package = write_package(tmp_path / "p", info, affine_model(), inputs, outputs)
    with pytest.raises(UsageError, match=r"a detector package takes images uint8 \(N, H, W, 3\)"):
        PackageDetector(package)


def test_auto_takes_an_installed_package_else_hog(no_packages: Path) -> None:
    opened = open_detector("auto")
    assert isinstance(opened, HogDetector) and "get detector" in opened.describe()
    detector_package(no_packages / "mine", [[0, 0, 9, 9]], [0.5])
    hmr_package(no_packages / "another")
    opened = open_detector("auto", device="cpu")
    assert isinstance(opened, PackageDetector) and opened.name == "tiny-detector"
    opened.close()


def test_a_damaged_package_is_not_passed_over(no_packages: Path) -> None:
    package = detector_package(no_packages / "mine", [[0, 0, 9, 9]], [0.5])
    package.model_path.write_bytes(b"damaged")
    with pytest.raises(UsageError, match="changed or damaged"):
        open_detector("auto")


def test_missing_files_say_what_to_do(no_packages: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no weight file yolo11n\.pt; .*get detector --model yolo11n\.pt"):
        open_detector("yolo11n.pt")
    with pytest.raises(UsageError, match="no model package 'yolo11n' for detector"):
        open_detector("yolo11n")
    with pytest.raises(UsageError, match="is a package for hmr, expected one for detector"):
        open_detector(str(hmr_package(tmp_path / "hmr").folder))
