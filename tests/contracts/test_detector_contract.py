"""What every detector promises, run on all that work without a download."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bodycast.app.detectors.base import Detector
from bodycast.app.records import Frame


def _hog(folder: Path) -> Detector:
    from bodycast.app.detectors import open_detector

    return open_detector("hog")


def _package(folder: Path) -> Detector:
    pytest.importorskip("onnx", reason="tiny graphs are made with onnx (requirements/export.txt)")
    from bodycast.app.detectors import open_detector
    from tests.tiny_packages import detector_package

    package = detector_package(folder / "tiny", [[0, 0, 20, 60], [30, 5, 70, 60], [31, 6, 70, 60]], [0.5, 0.9, 0.8])
    return open_detector(str(package.folder), "onnxruntime", "cpu")


def _ultralytics(folder: Path) -> Detector:
    pytest.importorskip("ultralytics", reason="needs requirements/export.txt")
    from bodycast.app.detectors import open_detector
    from tests.detectors.random_yolo import random_yolo

    return open_detector(str(random_yolo(folder)), device="cpu")


DETECTORS: dict[str, Callable[[Path], Detector]] = {"hog": _hog, "package": _package, "ultralytics": _ultralytics}


@pytest.fixture(scope="module", params=DETECTORS)
def detector(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Detector:
    opened = DETECTORS[request.param](tmp_path_factory.mktemp(request.param))
    yield opened
    opened.close()
    opened.close()


@pytest.mark.parametrize("wh", [(320, 180), (180, 320), (97, 61)])
def test_boxes_lie_in_the_picture_best_first(detector: Detector, wh: tuple[int, int]) -> None:
    image = np.random.default_rng(1).integers(0, 256, (*wh[::-1], 3), dtype=np.uint8)
    before = image.copy()
    found = detector.detect(Frame(image, 0, 0.0))
    np.testing.assert_array_equal(image, before)
    assert np.all(found.xyxy >= 0) and np.all(found.xyxy[:, 2:] <= np.array(wh))
    assert np.all(found.xyxy[:, 2:] > found.xyxy[:, :2])
    assert np.all((found.score >= 0) & (found.score <= 1))
    assert np.all(np.diff(found.score) <= 0)


def test_no_state_between_frames(detector: Detector) -> None:
    first = Frame(np.random.default_rng(2).integers(0, 256, (180, 320, 3), dtype=np.uint8), 0, 0.0)
    other = Frame(np.zeros((120, 160, 3), np.uint8), 1, 0.1)
    before = detector.detect(first)
    detector.detect(other)
    after = detector.detect(first)
    np.testing.assert_array_equal(before.xyxy, after.xyxy)
    np.testing.assert_array_equal(before.score, after.score)


def test_nobody_in_a_black_picture(detector: Detector) -> None:
    # 3:2, the tiny package's own aspect: no border is added.
    assert len(detector.detect(Frame(np.zeros((128, 192, 3), np.uint8), 0, 0.0))) == 0


def test_it_says_what_it_is(detector: Detector) -> None:
    assert detector.name and "\n" not in detector.describe()
