"""Training on SMPL: a set of 3DPW's layout keeps every loss alive, up to the package and the protocol's score."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from bodycast.engines.package import load_package
from bodycast.export import __main__ as export
from bodycast.hmr.body.body_model import BodyModel
from bodycast.hmr.networks.encoders.swin import SIZES, SwinSize
from evaluation import boxes, predict, score
from tests.evaluation.test_protocols import regressor
from tests.training.datasets.layouts import write_3dpw, write_smpl_folder
from training import __main__ as training
from training.crop_set import CropSet
from training.datasets import as_crops
from training.datasets.sample import PersonSample
from training.datasets.smpl_files import SmplFiles
from training.datasets.target_body import TargetBody
from training.losses import Labels, SurfaceBody
from training.tasks import make_task

RECIPE = """
name = "tiny"
model = "swin-t-s2"
warmup_steps = 2
ramp = 0.0

[arguments]
drop_path = 0.0
decoder = { width = 64, depth = 1, heads = 2, head_width = 16, mlp_width = 64 }

[[phases]]
image_hw = [96, 72]
share = 1.0
batch = 3
lr = 2e-3
lr_end = 1e-3
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """smpl/, 3dpw/ and a crop set of it on the neutral body."""
    folder = tmp_path_factory.mktemp("smpl-training")
    write_smpl_folder(folder / "smpl")
    write_3dpw(folder / "3dpw", folder / "smpl")
    return folder


def neutral(data: Path) -> Path:
    return data / "smpl" / "SMPL_NEUTRAL.npz"


def crops(data: Path, out: Path, *more: object) -> Path:
    words = ["3dpw", data / "3dpw", "--split", "test", "--out", out, *more]
    assert as_crops.main([str(word) for word in words]) == 0
    return out


def test_gendered_shapes_become_the_neutral_bodys(data: Path) -> None:
    smpl = SmplFiles(data / "smpl")
    target = TargetBody(BodyModel.load(neutral(data)), smpl)
    shape = np.random.default_rng(0).normal(size=10)
    place = {"dataset": "x", "split": "y", "sequence": "s", "subject": "a", "frame": 0, "betas": shape}
    found = target.betas(PersonSample(**place, body="smpl-male"))
    assert found is not None
    male, ours = smpl.body("male").arrays, target.model.arrays
    wanted = male.v_template + male.shapedirs @ shape
    away = np.linalg.norm(ours.v_template + ours.shapedirs @ found - wanted, axis=1)
    plain = np.linalg.norm(ours.v_template + ours.shapedirs @ shape - wanted, axis=1)
    assert away.mean() < 0.5 * plain.mean()
    np.testing.assert_array_equal(target.betas(PersonSample(**place, body="smpl-neutral")), shape)
    assert target.betas(PersonSample(**place, body="bodycast-adult")) is None
    assert TargetBody(BodyModel.load(neutral(data))).betas(PersonSample(**place, body="smpl-male")) is None


def test_every_loss_of_a_3dpw_set_is_alive(data: Path, tmp_path: Path) -> None:
    body = ("--body", neutral(data), "--smpl", data / "smpl")
    alive = CropSet(crops(data, tmp_path / "smpl", *body))
    dead = CropSet(crops(data, tmp_path / "embedded"))
    assert alive.meta["body"] == "smpl-neutral" and dead.meta["body"] == "bodycast-adult"
    assert np.all(alive.stored["known_betas"] == 1) and np.all(dead.stored["known_betas"] == 0)
    batch = alive.rows(np.arange(6), (96, 72))
    from bodycast.hmr.body.torch_body import TorchBody

    truth = Labels(SurfaceBody(TorchBody.load(neutral(data))))(batch)
    for name in ("pose", "betas", "camera", "surface_weight"):
        assert float(getattr(truth, name).min()) == 1, name
    assert float(truth.joint_weight.min()) == 1 and float(truth.point_weight.sum()) > 0
    # The camera label places the body of the labels where its joints are labelled.
    from training.validate import placed_joints

    placed, _ = placed_joints(TorchBody.load(neutral(data)), batch.pose, batch.betas, batch.camera, batch)
    np.testing.assert_allclose(placed[:, 0], batch.joints[:, 0], atol=2e-3)
    assert float((placed - batch.joints).norm(dim=-1).mean()) < 0.05  # the neutral body's bones, not the man's


def test_bodies_of_sets_and_run_must_agree(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(RECIPE)
    plain = crops(data, tmp_path / "embedded")
    words = ["--recipe", recipe, "--train", plain, "--test", plain, "--out", tmp_path / "run", "--body", neutral(data)]
    assert training.main([str(word) for word in words]) == 2
    assert "labelled with the body bodycast-adult, this run learns smpl-neutral" in capsys.readouterr().err


LOSSES = ("joints_3d", "joints_2d", "vertices", "root", "pose", "betas", "camera")


def trained(data: Path, tmp_path: Path, *more: object, text: str = RECIPE) -> list[dict[str, float]]:
    """Learn from the set, export to `package`; the log."""
    recipe, run = tmp_path / "tiny.toml", tmp_path / "run"
    recipe.write_text(text)
    folder = crops(data, tmp_path / "set", "--body", neutral(data), "--smpl", data / "smpl")
    words = ["--recipe", recipe, "--train", folder, "--test", folder, "--out", run, "--body", neutral(data)]
    words += ["--threads", 1, "--no-tensorboard", *more]
    assert training.main([str(word) for word in words]) == 0
    assert export.main(["package", str(run / "tiny.pt"), "--out", str(tmp_path / "package")]) == 0
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def protocol_score(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, float]:
    """What 3DPW's protocol says of `package`."""
    truth, boxed, out = data / "3dpw", tmp_path / "boxes.json", tmp_path / "pred.npz"
    assert boxes.main([str(w) for w in (truth, "--protocol", "3dpw", "--out", boxed)]) == 0, capsys.readouterr().err
    words = [tmp_path / "package", "--coco", boxed, "--images", truth, "--out", out, "--body", neutral(data)]
    assert predict.main([str(word) for word in words]) == 0, capsys.readouterr().err
    capsys.readouterr()
    body = ["--smpl", data / "smpl", "--body", neutral(data), "--regressor", regressor(tmp_path)]
    assert score.main([str(w) for w in (out, truth, "--protocol", "3dpw", *body, "--json")]) == 0
    (result,) = json.loads(capsys.readouterr().out).values()
    return result


def test_from_a_3dpw_set_to_its_protocols_score(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SIZES, "t", SwinSize(16, (1, 1), (1, 2), 0.0))
    entries = trained(data, tmp_path, "--minutes", 2, "--epochs", 4)
    for name in LOSSES:
        assert entries[-1][name] > 0, name
    assert entries[-1]["step"] == 8  # four times six crops, three at once
    state = torch.load(tmp_path / "run" / "tiny.pt", weights_only=True)
    assert state["body"] == "smpl-neutral" and np.isfinite(state["metrics"]["mpjpe_mm"])
    assert load_package(tmp_path / "package").info.body == "smpl-neutral"
    result = protocol_score(data, tmp_path, capsys)
    assert result["predicted"] == result["samples"] == 6 and 0 < result["mpjpe_mm"] < 1000
    assert 0 < result["pve_mm"] < 1000
    # And back: the package's weights start another run, on the same body.
    weights = tmp_path / "weights.pt"
    assert export.main(["weights", str(tmp_path / "package"), "--out", str(weights)]) == 0, capsys.readouterr().err
    assert torch.load(weights, weights_only=True)["body"] == "smpl-neutral"


@pytest.mark.slow
def test_two_minutes_lower_every_loss_and_the_protocols_error(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six crops are learned by heart, and scored by the protocol as if they were a test set: 500 steps, two minutes of
    a core. One rate for all weights, since the decoder's is made for days of training."""
    monkeypatch.setitem(SIZES, "t", SwinSize(32, (1, 1), (2, 4), 0.0))
    text = RECIPE.replace("ramp = 0.0", 'ramp = 0.0\noptimiser = "adamw"')
    entries = trained(data, tmp_path, "--minutes", 15, "--steps", 500, "--validate-every", 10, text=text)
    first, last = entries[0], {name: float(np.mean([entry[name] for entry in entries[-3:]])) for name in LOSSES}
    result = protocol_score(data, tmp_path, capsys)
    with capsys.disabled():
        print(f"\n{entries[-1]['step']} steps", *(f"{n} {first[n]:.4f} -> {last[n]:.4f}" for n in LOSSES), sep="; ")
        print("3DPW's protocol:", {name: round(value, 1) for name, value in result.items()})
    for name in LOSSES:
        assert last[name] < 0.9 * first[name], name
    assert result["predicted"] == result["samples"] == 6 and result["pve_mm"] < 200


def test_a_task_scores_with_its_own_body(data: Path) -> None:
    from training.config import load_recipe

    task = make_task(load_recipe("swin-t-s2"), neutral(data))
    assert task.body_file == neutral(data) and task.criterion.body.body.name == "smpl-neutral"
