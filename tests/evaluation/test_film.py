"""Networks alone on films: boxes frame by frame, rows that fit the truth, tracks as boxes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bodycast.app.files.motion_file import read_motion, write_motion
from bodycast.hmr.geometry.rotations import axis_angle_to_matrix
from evaluation import predict
from evaluation.film import as_motion, read_boxes
from evaluation.predictions import read_predictions
from evaluation.score import main

FLAGS = ("--engine", "onnxruntime", "--device", "cpu", "--threads", "1", "--quiet")


def run(film: Path, boxes: Path, out: Path) -> int:
    words = ["hmr-swin-t-s2-lite", "--film", str(film), "--boxes", str(boxes), "--out", str(out), *FLAGS]
    return predict.main(words)


def test_rows_fit_the_truth(tmp_path: Path, repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    demo = repository / "assets" / "demo"
    truth = read_motion(demo / "demo.npz")
    few = truth.select(truth.frame < 5)
    write_motion(tmp_path / "truth.npz", few)
    assert run(demo / "demo.mp4", tmp_path / "truth.npz", tmp_path / "pred.npz") == 0
    predictions = read_predictions(tmp_path / "pred.npz")
    assert predictions.valid.all() and predictions.image_id.tolist() == few.frame.tolist()
    assert predictions.focal_px == pytest.approx(few.focal_px)
    motion = as_motion(predictions, few.person_id)
    np.testing.assert_array_equal(motion.person_id, few.person_id)
    np.testing.assert_allclose(motion.time_s, few.frame / few.fps, atol=1e-6)
    assert main([str(tmp_path / "pred.npz"), str(tmp_path / "truth.npz"), "--json"]) == 0
    (got,) = json.loads(capsys.readouterr().out).values()
    assert got["found_percent"] == 100 and got["id_switches"] == 0 and 10 < got["pa_mpjpe_mm"] < got["mpjpe_mm"] < 500
    assert got["pve_mm"] > 10 and got["acceleration_error_mm_per_frame2"] > 0
    words = [tmp_path / "pred.npz", tmp_path / "truth.npz", "--images", demo / "demo.mp4", "--pictures", tmp_path / "p"]
    assert main([*map(str, words)]) == 0
    assert {path.name for path in (tmp_path / "p").iterdir()} == {f"{i}.jpg" for i in range(5)} | {"sheet.jpg"}


def test_tokens_are_stored_beside_the_true_poses(
    tmp_path: Path, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    demo = repository / "assets" / "demo"
    truth = read_motion(demo / "demo.npz")
    few = truth.select(truth.frame < 3)
    write_motion(tmp_path / "truth.npz", few)
    tokens = tmp_path / "tokens.npz"
    words = ["--film", str(demo / "demo.mp4"), "--boxes", str(tmp_path / "truth.npz"), *FLAGS, "--tokens", str(tokens)]
    assert predict.main(["hmr-swin-t-s2-lite", *words, "--out", str(tmp_path / "pred.npz")]) == 0
    with np.load(tokens) as stored:
        assert stored["token"].shape[0] == len(few.frame) and stored["token"].std() > 0.01
        np.testing.assert_allclose(axis_angle_to_matrix(few.poses.reshape(-1, 24, 3)), stored["pose"], atol=1e-6)
        np.testing.assert_allclose(stored["time_s"], few.frame / few.fps)
        assert str(stored["package"]) == "hmr-swin-t-s2-lite" and stored["person_id"].tolist() == few.person_id.tolist()
    capsys.readouterr()
    words[-1] = str(tmp_path / "other.npz")
    assert predict.main(["fast", *words, "--out", str(tmp_path / "other-pred.npz")]) == 2
    assert "fast gives no token; an hmr package does" in capsys.readouterr().err
    assert predict.main(["fast", "--crops", "x", "--out", str(tmp_path / "p.npz"), "--tokens", "t.npz"]) == 2
    assert "--tokens is for --film" in capsys.readouterr().err


def test_a_track_gives_boxes_around_its_landmarks(tmp_path: Path) -> None:
    marks = np.zeros((4, 33, 3), np.float32)
    marks[:, :, 0] = np.linspace(100, 300, 33)
    marks[:, :, 1] = np.linspace(50, 450, 33)
    marks[:, :, 2] = 0.9
    marks[1, :, 2] = 0  # nobody seen
    marks[2, 20:, 2] = 0  # hidden below
    np.savez(tmp_path / "track.npz", keypoints_px=marks)
    boxes = read_boxes(tmp_path / "track.npz")
    assert boxes.frame.tolist() == [0, 2, 3] and boxes.focal_px is None
    np.testing.assert_allclose(boxes.xyxy[0], [80, 10, 320, 490], atol=1e-3)
    assert boxes.xyxy[1, 3] < 320


def test_what_does_not_go_together_is_said(
    tmp_path: Path, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    film = repository / "assets" / "demo" / "demo.mp4"
    words = ["hmr-swin-t-s2-lite", "--out", str(tmp_path / "p.npz"), *FLAGS]
    np.savez(tmp_path / "track.npz", keypoints_px=np.zeros((3, 17, 3)))
    for more, said in (
        (["--film", str(film)], "--film and --boxes"),
        (["--film", str(film), "--boxes", str(film), "--crops", str(tmp_path)], "--crops alone"),
        (["--film", str(tmp_path / "gone.mp4"), "--boxes", str(film)], "no such file"),
        (["--film", str(film), "--boxes", str(film)], "not a readable .npz"),
        (["--film", str(film), "--boxes", str(tmp_path / "track.npz")], "expected (F, 33, 3)"),
        (["--crops", str(tmp_path)], "no crop set"),
    ):
        assert predict.main([*words, *more]) == 2, said
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1, error
