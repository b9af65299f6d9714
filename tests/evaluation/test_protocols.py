"""Protocols of the papers on tiny data sets: exact predictions score zero, moved ones the move, on the right frames."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bodycast.hmr.body.body_model import BodyModel
from bodycast.hmr.body.surface_joints import body_points
from bodycast.hmr.geometry.rotations import matrix_to_axis_angle
from evaluation import boxes, predict
from evaluation.predictions import COLUMNS, empty_columns, write_predictions
from evaluation.protocols import PROTOCOLS, digest, protocol_samples
from evaluation.score import main
from tests.training.datasets.layouts import write_3dpw, write_emdb, write_smpl_folder, write_spin_h36m
from training.datasets.sample import PersonSample
from training.datasets.smpl_files import SmplFiles


@pytest.fixture(scope="module")
def smpl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_smpl_folder(tmp_path_factory.mktemp("smpl"))


def exact_predictions(path: Path, samples: list[PersonSample], body: BodyModel, protocol: str) -> dict:
    """What a network without error would say on `body`; the truth must be of that body."""
    columns = empty_columns(len(samples))
    for row, sample in enumerate(samples):
        assert sample.pose is not None and sample.betas is not None and sample.transl_m is not None
        posed = body(sample.pose[None], sample.betas[None], sample.transl_m[None])
        columns["annotation_id"][row] = row
        columns["valid"][row] = True
        columns["poses"][row] = matrix_to_axis_angle(sample.pose).reshape(72)
        columns["betas"][row] = sample.betas
        columns["trans"][row] = sample.transl_m
        columns["joints_3d"][row] = posed.joints[0]
        columns["points_3d"][row] = body_points(body, posed.vertices, posed.joints)[0]
    write_predictions(path, columns, {"body": body.name, "info": {"protocol": protocol, "digest": digest(samples)}})
    return columns


def score(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, float]:
    assert main([*map(str, words), "--json"]) == 0
    (result,) = json.loads(capsys.readouterr().out).values()
    return result


def regressor(folder: Path) -> Path:
    rows = np.random.default_rng(0).uniform(size=(17, 6890))
    path = folder / "J_regressor_h36m.npy"
    np.save(path, rows / rows.sum(1, keepdims=True))
    return path


def test_3dpw_takes_the_frames_of_the_test_split_and_14_regressed_joints(
    tmp_path: Path, smpl: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_3dpw(tmp_path / "3dpw", smpl)
    samples = protocol_samples("3dpw", tmp_path / "3dpw", SmplFiles(smpl))
    # Two actors, four frames, less one without a camera and one without points.
    assert [(s.subject, s.frame) for s in samples] == [("0", 0), ("0", 1), ("0", 2), ("1", 0), ("1", 2), ("1", 3)]
    male = [i for i, s in enumerate(samples) if s.body == "smpl-male"]
    pred = tmp_path / "pred.npz"
    body = BodyModel.load(smpl / "SMPL_MALE.npz")
    columns = exact_predictions(pred, samples, body, "3dpw")
    columns["valid"][[i for i in range(len(samples)) if i not in male]] = False
    meta = {"body": body.name, "info": {"digest": digest(samples)}}
    write_predictions(pred, columns, meta)
    flags = ("--protocol", "3dpw", "--smpl", smpl, "--body", smpl / "SMPL_MALE.npz", "--regressor", regressor(tmp_path))
    got = score(capsys, pred, tmp_path / "3dpw", *flags)
    assert got["joints"] == 14 and got["predicted"] == 3 and got["samples"] == 6
    for name in ("mpjpe_mm", "pa_mpjpe_mm", "pve_mm"):
        assert got[name] == pytest.approx(0, abs=0.01), name
    assert got["acceleration_m_s2"] == pytest.approx(0, abs=0.05)
    # A translation is aligned away at the pelvis; a turned root is not, but Procrustes finds it.
    columns["trans"] += 1.0
    write_predictions(pred, columns, meta)
    assert score(capsys, pred, tmp_path / "3dpw", *flags)["mpjpe_mm"] == pytest.approx(0, abs=0.01)
    columns["poses"][:, :3] = [0.3, 0.5, 0.1]
    write_predictions(pred, columns, meta)
    got = score(capsys, pred, tmp_path / "3dpw", *flags)
    assert got["mpjpe_mm"] > 5 and got["pa_mpjpe_mm"] == pytest.approx(0, abs=0.01) and got["pve_mm"] > 5


def test_emdb_takes_good_frames_and_24_joints(tmp_path: Path, smpl: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_emdb(tmp_path / "emdb", smpl)
    samples = protocol_samples("emdb1", tmp_path / "emdb", SmplFiles(smpl))
    assert [s.frame for s in samples] == [0, 2, 3] and {s.sequence for s in samples} == {"14_outdoor_climb"}
    pred = tmp_path / "pred.npz"
    columns = exact_predictions(pred, samples, BodyModel.load(smpl / "SMPL_FEMALE.npz"), "emdb1")
    flags = ("--protocol", "emdb1", "--smpl", smpl, "--body", smpl / "SMPL_FEMALE.npz")
    got = score(capsys, pred, tmp_path / "emdb", *flags)
    assert got["joints"] == 24 and got["mpjpe_mm"] == pytest.approx(0, abs=0.01)
    assert got["pve_mm"] == pytest.approx(0, abs=0.01) and "acceleration_m_s2" not in got  # 0, then 2, 3: no three
    assert main([str(pred), str(tmp_path / "emdb"), "--protocol", "emdb1"]) == 2
    assert "--smpl" in capsys.readouterr().err
    columns["betas"] += 1
    write_predictions(pred, columns, {"body": "smpl-female", "info": {"digest": digest(samples)}})
    assert score(capsys, pred, tmp_path / "emdb", *flags)["pve_mm"] > 1


def test_human36m_protocols_differ_in_their_cameras(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth = write_spin_h36m(tmp_path)
    labels = tmp_path / "h36m_valid_protocol1.npz"
    everything, front = (protocol_samples(name, labels) for name in ("h36m-p1", "h36m-p2"))
    assert [(s.subject, s.frame) for s in everything] == [("S9", 0), ("S9", 5), ("S9", 0)]
    assert [s.sequence for s in front] == ["Directions_1.60457274"] * 2
    columns = empty_columns(3)
    columns["annotation_id"][:] = np.arange(3)
    columns["valid"][:] = True
    spin_to_points = {0: 8, 1: 5, 2: 2, 3: 1, 4: 4, 5: 7, 6: 21, 7: 19, 8: 17, 9: 16, 10: 18, 11: 20}
    columns["points_3d"][:] = 0
    for spin, point in spin_to_points.items():
        columns["points_3d"][:, point] = truth["S"][:3, spin, :3] + [5, 0, 0]
    columns["points_3d"][:, 8] += [0, 0.12, 0]
    pred = tmp_path / "pred.npz"
    write_predictions(pred, columns, {"body": "bodycast-adult", "info": {"digest": digest(everything)}})
    got = score(capsys, pred, labels, "--protocol", "h36m-p1", "--joints", "limbs12")
    assert got["joints"] == 12 and got["mpjpe_mm"] == pytest.approx(10, abs=0.01)
    assert main([str(pred), str(labels), "--protocol", "h36m-p1"]) == 2
    assert "regressed from SMPL's vertices" in capsys.readouterr().err
    assert main([str(pred), str(labels), "--protocol", "h36m-p2", "--joints", "limbs12"]) == 2
    assert "the predictions are not for h36m-p2" in capsys.readouterr().err


def test_boxes_predict_and_score_fit_together(tmp_path: Path, smpl: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_3dpw(tmp_path / "3dpw", smpl)
    labels, pred = tmp_path / "boxes.json", tmp_path / "pred.npz"
    assert boxes.main([str(tmp_path / "3dpw"), "--protocol", "3dpw", "--out", str(labels)]) == 0
    assert "6 people in 4 pictures" in capsys.readouterr().out
    words = ["hmr-swin-t-s2-lite", "--images", tmp_path / "3dpw", "--coco", labels, "--out", pred, "--quiet"]
    assert predict.main([*map(str, words), "--engine", "onnxruntime", "--device", "cpu", "--threads", "1"]) == 0
    got = score(capsys, pred, tmp_path / "3dpw", "--protocol", "3dpw", "--joints", "smpl24")
    assert got["joints"] == 24 and got["predicted"] == 6 and 1 < got["pa_mpjpe_mm"] < got["mpjpe_mm"] < 2000
    with np.load(pred) as stored:
        assert set(COLUMNS) <= set(stored.files)
        assert stored["focal_px"] == pytest.approx(1962.5)


def test_every_protocol_says_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in PROTOCOLS:
        assert boxes.main([str(tmp_path), "--protocol", name, "--out", str(tmp_path / "b.json")]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and "expected" in error, name
