"""Pictures with labelled points: COCO, MPII."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import scipy.io

from tests.training.datasets.layouts import (
    error_of,
    write_picture,
)
from training.datasets.coco import read_coco
from training.datasets.mpii import read_mpii


def test_coco(tmp_path: Path) -> None:
    write_picture(tmp_path / "images" / "a.jpg", (64, 48))
    flat = np.zeros((17, 3))
    flat[5], flat[6] = [10, 20, 2], [30, 21, 1]
    annotation = {"id": 5, "image_id": 1, "category_id": 1, "bbox": [5, 6, 30, 40], "keypoints": flat.ravel().tolist()}
    content = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 64, "height": 48}],
        "annotations": [
            annotation,
            {**annotation, "id": 6, "iscrowd": 1},
            {**annotation, "id": 7, "keypoints": [0] * 51},
        ],
        "categories": [{"id": 1, "name": "person"}],
    }
    (tmp_path / "l.json").write_text(json.dumps(content))
    (sample,) = read_coco(tmp_path / "l.json", tmp_path / "images")
    assert sample.subject == "5" and sample.xyxy is not None and sample.xyxy.tolist() == [5, 6, 35, 46]
    assert sample.keypoints is not None and sample.keypoints.confidence.sum() == 2
    assert sample.present == ("picture", "xyxy", "keypoints")
    boxes = dict(content, annotations=[{k: v for k, v in annotation.items() if k != "keypoints"}])
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    assert list(read_coco(tmp_path / "boxes.json", tmp_path / "images")) == []
    (box,) = read_coco(tmp_path / "boxes.json", tmp_path / "images", min_keypoints=0)
    assert box.present == ("picture", "xyxy")
    (tmp_path / "images" / "a.jpg").unlink()
    assert "1 pictures of l.json are missing" in error_of(read_coco, tmp_path / "l.json", tmp_path / "images")


def test_mpii_json_and_mat_agree(tmp_path: Path) -> None:
    joints = np.arange(32, dtype=float).reshape(16, 2) + 100
    row = {
        "image": "015601864.jpg",
        "joints": joints.tolist(),
        "joints_vis": [1] * 15 + [0],
        "center": [594.0, 257.0],
        "scale": 3.02,
    }
    (tmp_path / "train.json").write_text(json.dumps([row]))
    (from_json,) = read_mpii(tmp_path / "train.json", tmp_path)
    point = np.array(
        [(x, y, i, "1") for i, (x, y) in enumerate(joints[:15])],
        dtype=[("x", "O"), ("y", "O"), ("id", "O"), ("is_visible", "O")],
    )
    person = {"scale": 3.02, "objpos": {"x": 594.0, "y": 257.0}, "annopoints": {"point": point}}
    annolist = np.empty(2, [("image", "O"), ("annorect", "O")])
    annolist[0] = ({"name": "015601864.jpg"}, person)
    annolist[1] = ({"name": "test.jpg"}, np.empty((0, 0)))
    scipy.io.savemat(tmp_path / "mpii.mat", {"RELEASE": {"annolist": annolist, "img_train": np.array([1, 0])}})
    (from_mat,) = read_mpii(tmp_path / "mpii.mat", tmp_path)
    for sample in (from_json, from_mat):
        assert sample.keypoints is not None and sample.xyxy is not None and sample.sequence == "015601864.jpg"
        np.testing.assert_allclose(sample.keypoints.px[:15], joints[:15] - 1)  # MATLAB counts from 1
        assert sample.keypoints.confidence.tolist() == [1] * 15 + [0]
        half = 125 * 3.02
        np.testing.assert_allclose(sample.xyxy, [593 - half, 256 + 45.3 - half, 593 + half, 256 + 45.3 + half])
    (tmp_path / "train.json").write_text(json.dumps([{"image": "a.jpg"}]))
    assert "joints, joints_vis, center, scale missing" in error_of(read_mpii, tmp_path / "train.json", tmp_path)
