"""COCO AP of keypoint networks by the protocol of top-down networks: geometry, flip test, suppression, figures."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("pycocotools", reason="needs requirements/train.txt")

import torch
from torch import Tensor, nn

from bodycast.hmr.body.surface_joints import COCO_MIRROR
from evaluation.coco_protocol import (
    BoxOfPerson,
    HeatmapLook,
    PackageLook,
    look_at_boxes,
    oks_suppression,
    open_network,
    results_of,
)
from evaluation.score_coco_command import boxes_of, main, score
from tests.tiny_packages import pose_package
from training.datasets.coco import read_labels

DOT = (130.0, 90.0)
BOX = BoxOfPerson(1, (80.0, 40.0, 90.0, 160.0), 1.0)


class Brightness(nn.Module):
    """Each keypoint is where the picture is bright: heat maps at a quarter of the size, aligned as UDP wants it."""

    image_hw = (128, 96)

    def forward(self, images: Tensor) -> Tensor:
        grey = images.mean(1, keepdim=True)
        maps = nn.functional.interpolate(grey - grey.amin(), (32, 24), mode="bilinear", align_corners=True)
        return maps.expand(-1, 17, -1, -1)


def picture_with_a_dot() -> np.ndarray:
    y, x = np.mgrid[:240, :320]
    bright = 255 * np.exp(-((x - DOT[0]) ** 2 + (y - DOT[1]) ** 2) / (2 * 6.0**2))
    return np.repeat(bright[..., None], 3, axis=2).astype(np.uint8)


@pytest.mark.parametrize("flip", [False, True])
def test_a_dot_is_found_where_it_is(flip: bool) -> None:
    found = look_at_boxes(HeatmapLook(Brightness()), picture_with_a_dot(), [BOX, BOX], flip)
    assert found.shape == (2, 17, 3)
    np.testing.assert_allclose(found[..., :2], np.broadcast_to(DOT, (2, 17, 2)), atol=0.4)


class Truth:
    """Knows where everybody is in the crop: answers what the labels say."""

    input_hw = (256, 192)

    def __init__(self, points: np.ndarray) -> None:
        self.points = points  # (17, 3) px of the crop

    def look(self, crops: np.ndarray, flip: bool) -> np.ndarray:
        return np.tile(self.points, (len(crops), 1, 1))


@pytest.fixture
def labelled(tmp_path: Path) -> tuple[Path, Path]:
    """One picture of 320 x 240 with one person, the keypoints spread over the box."""
    cv2.imwrite(str(tmp_path / "one.png"), picture_with_a_dot())
    points = keypoints_in_picture()
    labels = {
        "images": [{"id": 1, "file_name": "one.png", "width": 320, "height": 240}],
        "annotations": [
            {
                "id": 5, "image_id": 1, "category_id": 1, "bbox": list(BOX.xywh), "iscrowd": 0, "area": 9000.0,
                "keypoints": points.ravel().tolist(), "num_keypoints": 17,
            }
        ],
        "categories": [{"id": 1, "name": "person"}],
    }  # fmt: skip
    path = tmp_path / "labels.json"
    path.write_text(json.dumps(labels))
    return path, tmp_path


def keypoints_in_picture() -> np.ndarray:
    generator = np.random.default_rng(3)
    at = np.array(BOX.xywh[:2]) + generator.random((17, 2)) * BOX.xywh[2:]
    return np.concatenate([at, np.full((17, 1), 2.0)], axis=1)


def in_crop(points: np.ndarray) -> np.ndarray:
    """By hand: a box of 90 x 160 grows to 120 x 160, 1.25 times that is 150 x 200, seen in 192 x 256 pixels."""
    places = (points[:, :2] - (125, 120)) / (150, 200) + 0.5
    return np.concatenate([places * (191, 255), np.full((17, 1), 0.9)], axis=1)


def test_perfect_answers_score_a_hundred_and_swapped_sides_do_not(labelled: tuple[Path, Path]) -> None:
    path, folder = labelled
    labels = read_labels(path)
    pictures = {1: folder / "one.png"}
    right, results = score(Truth(in_crop(keypoints_in_picture())), labels, pictures, boxes_of(labels), False)
    assert right["ap"] == pytest.approx(100) and right["oks"] == pytest.approx(100, abs=0.01)
    assert results[0]["score"] == pytest.approx(0.9)
    np.testing.assert_allclose(
        np.array(results[0]["keypoints"]).reshape(17, 3)[:, :2], keypoints_in_picture()[:, :2], atol=1e-6
    )
    swapped, _ = score(Truth(in_crop(keypoints_in_picture())[COCO_MIRROR]), labels, pictures, boxes_of(labels), False)
    assert swapped["oks"] < 50 and swapped["ap"] < 50


def test_of_two_alike_the_less_sure_is_left_out() -> None:
    one = np.concatenate([np.random.default_rng(0).uniform(0, 100, (17, 2)), np.ones((17, 1))], axis=1)
    people = np.stack([one, one + np.array([0.1, 0, 0]), one + np.array([60, 60, 0])])
    assert oks_suppression(people, np.array([0.5, 0.8, 0.2]), np.full(3, 1e4)) == [1, 2]
    faint = one.copy()
    faint[5:, 2] = 0.1  # does not count
    (result,) = results_of(faint[None], [BoxOfPerson(3, BOX.xywh, 0.5)])
    assert result["score"] == pytest.approx(0.5) and result["image_id"] == 3


def test_a_packages_keypoints_are_pixels_of_the_crop_and_mirrored_back(tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="needs requirements/export.txt")
    keypoints = np.zeros((17, 3))
    keypoints[:, 0], keypoints[:, 1], keypoints[:, 2] = 0.25, -0.125, 0.5
    package = pose_package(tmp_path / "pose", keypoints, side=64).folder
    look, words = open_network(str(package), None, "onnxruntime", "cpu", 1)
    assert isinstance(look, PackageLook) and "tiny-pose" in words
    crops = np.zeros((2, 64, 64, 3), np.uint8)
    np.testing.assert_allclose(look.look(crops, False), np.tile([48, 24, 0.5], (2, 17, 1)), atol=1e-4)
    # It answers the same to the mirrored crop: that is column 63 - 48, and the mean lies in the middle.
    np.testing.assert_allclose(look.look(crops, True)[..., 0], 31.5, atol=1e-4)


def test_the_command(labelled: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnx", reason="needs requirements/export.txt")
    path, folder = labelled
    package = pose_package(tmp_path / "pose", np.full((17, 3), 0.4), side=64).folder
    words = ["--images", str(folder), "--coco", str(path), "--engine", "onnxruntime", "--threads", "1"]
    assert main([str(package), *words, "--json", str(tmp_path / "out.json")]) == 0
    said = capsys.readouterr()
    assert "labelled boxes, flip test (mean of keypoints)" in said.err and "oks" in said.out
    assert json.loads((tmp_path / "out.json").read_text())["people"] == 1
    found = tmp_path / "boxes.json"
    found.write_text(json.dumps([{"image_id": 1, "category_id": 1, "bbox": [80, 40, 90, 160], "score": 0.5}]))
    assert main([str(package), *words, "--boxes", str(found), "--no-flip-test"]) == 0
    assert "found boxes, no flip test" in capsys.readouterr().err
    for given, said_of_it in [
        ([str(tmp_path / "no"), *words], "no model package"),
        ([str(package), *words, "--boxes", str(path)], "no COCO detection results"),
        (["swin-t-s2", *words], "no model package 'swin-t-s2' for pose"),
    ]:
        assert main(given) == 2
        error = capsys.readouterr().err
        assert said_of_it in error and len(error.splitlines()) == 1, error


def test_a_registered_keypoint_network_gives_heat_maps() -> None:
    look, words = open_network("pose-swin-t-s2", None, "auto", "cpu", 1)
    assert isinstance(look, HeatmapLook) and "random weights" in words and look.input_hw == (256, 192)
    assert torch.get_num_threads() == 1
