"""`--flip-test`: a mirrored crop gets the mirrored body, and the mean undoes it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="tiny graphs are made with onnx (requirements/export.txt)")

from bodycast.app.estimation.estimator import Estimator
from bodycast.app.estimation.flip_test import mean_with_mirror, with_mirror_images
from bodycast.app.records import CropBatch
from bodycast.hmr.body.joints import MIRROR
from bodycast.hmr.geometry.camera import Intrinsics
from bodycast.hmr.geometry.crop import CropTransform
from tests.tiny_packages import hmr_package

WH, HW = (640, 480), (256, 192)


def test_a_mirror_image_is_undone() -> None:
    """What a perfect network answers about a crop and its mirror image has the crop's answer as its mean."""
    generator = np.random.default_rng(5)
    places = generator.uniform(-0.4, 0.4, (2, 24, 2)).astype(np.float32)
    sure = np.ones((2, 24, 1), np.float32)
    in_mirror = places[:, MIRROR] * np.array([-1, 1], np.float32)
    camera = np.array([[0.9, 0.1, -0.2], [0.6, 0.0, 0.1]], np.float32)
    answers = {
        "pose": np.tile(np.eye(3, dtype=np.float32), (4, 24, 1, 1)),
        "camera": np.concatenate([camera, camera * np.array([1, -1, 1], np.float32)]),
        "keypoints": np.concatenate(
            [np.concatenate([places, sure], axis=-1), np.concatenate([in_mirror, sure], axis=-1)]
        ),
    }
    mean = mean_with_mirror(answers)
    np.testing.assert_allclose(mean["camera"], camera, atol=1e-6)
    np.testing.assert_allclose(mean["keypoints"][..., :2], places, atol=1e-6)


def test_crops_and_boxes_are_mirrored() -> None:
    """A bright spot right of the middle and above it: left of it in the mirror."""
    crops = np.zeros((1, 64, 48, 3), np.uint8)
    crops[0, 32 - 8, 24 + 10] = 255
    box_info = np.array([[0.1, 0.2, 0.3]], np.float32)
    both = with_mirror_images({"crops": crops, "box_info": box_info})
    np.testing.assert_array_equal(both["crops"][:1], crops)
    bright = both["crops"][1, ..., 0].astype(np.float64)
    rows, columns = np.mgrid[0:64, 0:48]
    spot = np.array([(columns * bright).sum(), (rows * bright).sum()]) / bright.sum()
    np.testing.assert_allclose(spot - (24, 32), np.array([-10, -8]), atol=0.3)
    np.testing.assert_allclose(both["box_info"], [[0.1, 0.2, 0.3], [-0.1, 0.2, 0.3]], rtol=1e-6)


def _one_crop(pixels: np.ndarray) -> CropBatch:
    return CropBatch(pixels[None], (CropTransform((320.0, 240.0), 300.0, HW),), np.array([1], np.int32))


@pytest.mark.parametrize("mirror", [False, True])
def test_both_images_reach_the_network(tmp_path: Path, mirror: bool) -> None:
    """The tiny network answers a camera off the middle for any crop; together with a mirror image, one in it."""
    folder = hmr_package(tmp_path / "hmr", camera=(0.8, 0.1, -0.2)).folder
    opened = Estimator(folder, "onnxruntime", "cpu", flip_test=mirror)
    assert ("flip test" in opened.describe()) == mirror
    bodies = opened.estimate(_one_crop(np.zeros((*HW, 3), np.uint8)), Intrinsics.default(WH), WH)
    opened.close()
    assert len(bodies) == 1
    across = 0.0 if mirror else 0.1
    depth = float(bodies.transl_m[0, 2])
    assert bodies.transl_m[0, 0] == pytest.approx(across, abs=1e-5 * depth)


def test_a_graph_that_mirrors_by_itself_is_asked_once(tmp_path: Path) -> None:
    folder = hmr_package(tmp_path / "hmr", arguments={"mirror": True}).folder
    opened = Estimator(folder, "onnxruntime", "cpu", flip_test=True)
    assert "mirror" not in opened.describe()
    opened.close()
