"""`evaluation score-real3d`: exact bodies have no error, scaled ones none after Procrustes, bad input gets one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bodycast.app.records import BodyEstimates
from bodycast.hmr.body.body_model import EMBEDDED_BODY, BodyModel
from bodycast.hmr.body.surface_joints import COCO_JOINT_NAMES, POINT_NAMES
from bodycast.hmr.geometry.camera import Intrinsics
from bodycast.hmr.geometry.rotations import axis_angle_to_matrix
from evaluation.predict_rows import write_estimates
from evaluation.predictions import empty_columns, write_predictions
from evaluation.score_real3d import main

NAMES = [
    f"{side}_{name}" for name in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle") for side in ("left", "right")
]
INDEX = [COCO_JOINT_NAMES.index(name) for name in NAMES]
POINTS = [POINT_NAMES.index(name) for name in NAMES]
PICTURES = 4


@pytest.fixture(scope="module")
def columns() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    body = BodyModel.load(EMBEDDED_BODY)
    columns = empty_columns(PICTURES)
    columns["image_id"][:] = columns["annotation_id"][:] = [3, 1, 2, 4]
    estimates = BodyEstimates(
        np.arange(1, PICTURES + 1, dtype=np.int32),
        axis_angle_to_matrix(rng.normal(0, 0.3, (PICTURES, 24, 3))).astype(np.float32),
        rng.normal(0, 1, (PICTURES, 10)).astype(np.float32),
        np.array([[0.1, 0.0, 3.0]] * PICTURES, np.float32),
        np.ones(PICTURES, np.float32),
        np.zeros((PICTURES, 1), np.float32),
    )
    write_estimates(columns, np.arange(PICTURES), estimates, body, Intrinsics.from_focal(800, (540, 960)))
    return columns


def run(
    tmp_path: Path,
    columns: dict[str, np.ndarray],
    capsys: pytest.CaptureFixture[str],
    scale: float = 1.0,
    focal: float = 800,
) -> dict[str, float]:
    order = np.argsort(columns["image_id"])
    intrinsics = np.tile(np.array([[focal, 0, 270], [0, focal, 480], [0, 0, 1]], np.float32), (PICTURES, 1, 1))
    intrinsics[PICTURES // 2 :, 0, 2] += 1  # another camera
    truth = tmp_path / "truth.npz"
    np.savez(
        truth, joints_m=scale * columns["coco_3d"][order][:, INDEX], joint_names=np.array(NAMES),
        keypoints_px=columns["points_2d"][order][:, POINTS], intrinsics=intrinsics,
    )  # fmt: skip
    predicted = tmp_path / "pred.npz"
    write_predictions(predicted, columns, {"body": "bodycast-adult"})
    code = main([str(predicted), str(truth), "--json"])
    said = capsys.readouterr()
    return json.loads(said.out) if code == 0 else {"code": code, "lines": len(said.err.strip().splitlines())}


def test_true_bodies_have_no_error(
    tmp_path: Path, columns: dict[str, np.ndarray], capsys: pytest.CaptureFixture[str]
) -> None:
    result = run(tmp_path, columns, capsys)
    assert result["mpjpe_mm"] < 0.01 and result["pa_mpjpe_mm"] < 0.01 and result["error_2d_torso"] < 1e-4
    assert {"mpjpe_mm_camera_0", "mpjpe_mm_camera_1", "mpjpe_mm_spread"} <= set(result)


def test_a_wrong_size_is_an_error_until_it_is_aligned(
    tmp_path: Path, columns: dict[str, np.ndarray], capsys: pytest.CaptureFixture[str]
) -> None:
    result = run(tmp_path, columns, capsys, scale=1.2)
    assert result["mpjpe_mm"] > 40 and result["pa_mpjpe_mm"] < 0.01


def test_another_camera_or_other_people_are_refused(
    tmp_path: Path, columns: dict[str, np.ndarray], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, columns, capsys, focal=1000) == {"code": 2, "lines": 1}
    twice = {name: values.copy() for name, values in columns.items()}
    twice["image_id"][:] = 1
    assert run(tmp_path, twice, capsys) == {"code": 2, "lines": 1}
