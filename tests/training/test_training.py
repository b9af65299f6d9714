"""The trainer: recipes are closed, a run learns, stops in time, resumes, and outlives a network that fails."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.toy import JOINT_QUERIES, toy_crops, toy_recipe, write_set
from training.config import Phase, load_recipe, phase_at
from training.crop_set import Crops, CropSet
from training.loop import RunOptions, Training
from training.optimiser import FlatGradients, GroupedMuon, orthogonalised
from training.running_means import RunningMeans
from training.trainee import Trainee


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of 30 crops."""
    return write_set(tmp_path_factory.mktemp("crops"), toy_crops(30))


def options(folder: Path, out: Path, steps: int, **changes) -> RunOptions:
    values = {"steps": steps, "validate_limit": 4, "tensorboard": False, "threads": 1}
    return RunOptions(folder, folder, out, 10.0, **(values | changes))


def test_recipes_are_closed(tmp_path: Path) -> None:
    recipe = load_recipe("swin-t-s2")
    assert tuple(side * recipe.pool for side in recipe.phases[-1].image_hw) == (256, 192)
    bad = tmp_path / "bad.toml"
    bad.write_text('name = "x"\nmodel = "swin-t-s2"\nlearning = 3\n')
    with pytest.raises(ValueError, match="unknown learning"):
        load_recipe(str(bad))
    with pytest.raises(ValueError, match=r"there are .*swin-t-s2"):
        load_recipe("no-such-recipe")
    tiny = toy_recipe()
    with pytest.raises(ValueError, match="shares must add to 1"):
        replace(tiny, phases=tiny.phases[:1])
    with pytest.raises(ValueError, match="optimiser must be one of"):
        replace(tiny, optimiser="sgd")
    with pytest.raises(ValueError, match="no phase without `merge`"):
        replace(tiny, phases=(replace(tiny.phases[0], merge=True), tiny.phases[1]))


def test_phases_follow_the_clock() -> None:
    tiny = toy_recipe()
    assert phase_at(tiny, 0.0)[0] is tiny.phases[0]
    assert phase_at(tiny, 0.25) == (tiny.phases[0], 0.5)
    assert phase_at(tiny, 0.999)[0] is tiny.phases[1]


def test_losses_are_smoothed_from_the_first_step_on() -> None:
    means = RunningMeans()
    assert means.read() == {}
    for value in (8.0, 4.0, float("nan"), 3.0):
        means.add({"total": torch.tensor(value)})
    assert means.read()["total"] == pytest.approx((8 + 4) / 2 * 3 / 4 + 3 / 4)
    again = RunningMeans()
    again.restore(means.read())
    assert again.read() == means.read()
    again.add({"total": torch.tensor(5.25)})
    assert again.read()["total"] == pytest.approx(5.25)
    for _ in range(200):
        again.add({"total": torch.tensor(1.0)})
    assert again.read()["total"] == pytest.approx(1.0, abs=0.1)


def test_a_trainee_fits_one_batch_and_keeps_its_weights_when_resized() -> None:
    crops = Crops(toy_crops(6))
    batch = crops.rows(np.arange(6), (72, 56))
    recipe = toy_recipe()
    trainee = Trainee(recipe, {}, torch.device("cpu"))
    losses = [float(trainee.step(batch, recipe.phases[0], 0.0)["total"]) for _ in range(30)]
    assert losses[-1] < 0.85 * losses[0]
    weight = trainee.net.smpl_head.decpose.weight.clone()
    trainee.resize((96, 72))
    torch.testing.assert_close(trainee.net.smpl_head.decpose.weight, weight)
    terms = trainee.step(crops.rows(np.arange(4), (96, 72)), recipe.phases[1], 0.0)
    assert np.isfinite(float(terms["total"]))


def test_joint_queries_learn_their_heat_maps_and_early_joints() -> None:
    batch = Crops(toy_crops(6)).rows(np.arange(6), (72, 56))
    recipe = toy_recipe()
    recipe = replace(recipe, arguments={**recipe.arguments, "decoder": JOINT_QUERIES})
    trainee = Trainee(recipe, {}, torch.device("cpu"))
    terms = [trainee.step(batch, recipe.phases[0], 0.0) for _ in range(30)]
    for name, share in (("total", 0.85), ("early_joints", 0.95), ("heatmap", 0.9)):
        assert float(terms[-1][name]) < share * float(terms[0][name])
    assert not any("heatmaps" in name for name in trainee.helper.state_dict()), "they are the network's own"
    again = Trainee(recipe, {}, torch.device("cpu"))
    again.restore(trainee.state())
    seen = torch.zeros(1, 3, 72, 56)
    torch.testing.assert_close(again.ema(seen).pose6d, trainee.ema(seen).pose6d)


def test_grouped_muon_steps_as_muon_does() -> None:
    torch.manual_seed(0)
    shapes = [(8, 24), (8, 24), (24, 8), (16, 16)]
    ours = [torch.nn.Parameter(torch.randn(s)) for s in shapes]
    theirs = [torch.nn.Parameter(p.detach().clone()) for p in ours]
    settings = {"lr": 0.01, "momentum": 0.95, "weight_decay": 0.05, "adjust_lr_fn": "match_rms_adamw"}
    grouped, single = GroupedMuon(ours, **settings), torch.optim.Muon(theirs, **settings)
    for _ in range(3):
        for a, b in zip(ours, theirs, strict=True):
            a.grad = torch.randn_like(a)
            b.grad = a.grad.clone()
        grouped.step()
        single.step()
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, atol=2e-3, rtol=0)  # bfloat16 inside
    single.load_state_dict(grouped.state_dict())
    values = torch.linalg.svdvals(orthogonalised(torch.randn(2, 6, 20)).float())
    assert (values > 0.5).all() and (values < 1.4).all()


def test_clipping_shortens_and_survives_what_is_not_finite() -> None:
    parameter = torch.nn.Parameter(torch.zeros(4))
    gradients = FlatGradients([parameter])
    (parameter * 30).sum().backward()
    norm, finite = gradients.clip(10.0)
    assert finite and float(norm) == pytest.approx(60)
    assert float(parameter.grad.norm()) == pytest.approx(10, rel=1e-4)
    gradients.zero()
    (parameter * float("nan")).sum().backward()
    _, finite = gradients.clip(10.0)
    assert not finite and (parameter.grad == 0).all()


def test_a_run_learns_two_networks_from_one_stream_and_resumes(folder: Path, tmp_path: Path) -> None:
    """Networks of different sizes, optimisers and batches; killed in the middle, then gone on."""
    second = toy_recipe("small", phases=(Phase((72, 56), 1.0, 2, 1e-3, 1e-4),), optimiser="adamw")
    recipes = [toy_recipe(), second]
    first = Training(recipes, options(folder, tmp_path, 3))
    scores = first.run()
    assert {"mpjpe_mm", "mean_pose_mpjpe_mm", "error_2d_percent"} <= set(scores["tiny"]) and "small" in scores
    with (tmp_path / "log.jsonl").open("a") as log:  # it had gone on after the checkpoint, and died while it wrote
        log.write('{"recipe": "tiny", "minutes": 9.0, "step": 77, "total": 1.0}\n{"recipe": "ti')
    again = Training(recipes, options(folder, tmp_path, 8, validate_every_s=0.0))
    assert [t.steps for t in again.trainees] == [3, 3] and again.clock.spent_s > 0
    assert again.means["tiny"].read() == pytest.approx(first.means["tiny"].read())
    assert again.trainees[0].image_hw == (96, 72)
    again.run()
    assert [t.steps for t in again.trainees] == [8, 8]
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert {entry["recipe"] for entry in log} == {"tiny", "small"} and all("total" in e for e in log)
    minutes = [entry["minutes"] for entry in log]
    assert minutes == sorted(minutes) and max(minutes) < 9.0
    assert any("mpjpe_mm" not in entry for entry in log), "losses are noted between the checks"
    assert (tmp_path / "curves.png").stat().st_size > 1000
    saved = torch.load(tmp_path / "tiny.pt", weights_only=True)
    assert saved["model"] == "swin-t-s2" and saved["arguments"]["image_hw"] == [96, 72]
    assert saved["state_dict"]["smpl_head.decpose.weight"].dtype == torch.float16
    with pytest.raises(ValueError, match=r"is a run of tiny, small, not of tiny"):
        Training(recipes[:1], options(folder, tmp_path, 9))


def test_one_network_that_fails_does_not_stop_the_others(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    training = Training([toy_recipe("bad"), toy_recipe("good")], options(folder, tmp_path, 4))
    bad, good = training.trainees

    def explode(*args):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(bad, "step", explode)
    scores = training.run()
    assert set(scores) == {"good"} and good.steps == 4
    assert "out of memory" in training.failures["bad"]
    assert "bad FAILED" in capsys.readouterr().err
    assert any("failed" in json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines())
    monkeypatch.setattr(good, "step", explode)
    with pytest.raises(RuntimeError, match="out of memory"):
        training._step({"good": good.recipe.phases[0]})


def test_gradients_that_stay_not_finite_are_noticed() -> None:
    recipe = toy_recipe()
    trainee = Trainee(recipe, {}, torch.device("cpu"))
    trainee.streak.fill_(19)
    trainee.check()
    trainee.streak.fill_(20)
    with pytest.raises(FloatingPointError, match="no finite gradient for 20 steps"):
        trainee.check()


def test_fine_tuning_starts_from_a_checkpoint(folder: Path, tmp_path: Path, capsys) -> None:
    recipe = toy_recipe(needs_init=True)
    with pytest.raises(ValueError, match="--init tiny=CHECKPOINT"):
        Training([recipe], options(folder, tmp_path / "a", 1))
    trained = Trainee(toy_recipe(seed=3), {}, torch.device("cpu"))
    torch.save({"state_dict": trained.net.state_dict()}, tmp_path / "w.pt")
    run = Training([recipe], options(folder, tmp_path / "b", 1, init={"tiny": tmp_path / "w.pt"}))
    run.source.close()
    for name, value in trained.net.state_dict().items():
        torch.testing.assert_close(run.trainees[0].net.state_dict()[name], value)
    words = capsys.readouterr().out
    assert "backbone" in words and "smpl_head" in words
    torch.save({"other": torch.zeros(3)}, tmp_path / "x.pt")
    with pytest.raises(ValueError, match="nothing in it fits"):
        Training([recipe], options(folder, tmp_path / "c", 1, init={"": tmp_path / "x.pt"}))


def test_a_folder_without_crops_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"meta\.json is missing.*training\.synthetic\.generate.*--stream"):
        CropSet(tmp_path)


def test_a_set_that_knows_some_of_its_labels_must_say_all_it_knows(folder: Path, tmp_path: Path) -> None:
    partly = tmp_path / "set"
    shutil.copytree(folder, partly)
    np.save(partly / "known_pose.npy", np.ones(30, np.float32))
    with pytest.raises(ValueError, match="all of them or none"):
        CropSet(partly)


def test_compiled_steps_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks are captured whole, helper heads included; code generation is left out, since it takes minutes."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    recipe = toy_recipe()
    batch = Crops(toy_crops(4)).rows(np.arange(4), (72, 56))
    plain, compiled = (Trainee(recipe, {}, torch.device("cpu"), compiled=c) for c in (False, True))
    for _ in range(2):
        ours, theirs = (float(t.step(batch, recipe.phases[0], 0.0)["total"]) for t in (plain, compiled))
        assert theirs == pytest.approx(ours, rel=1e-3)
    assert not torch._dynamo.utils.counters["graph_break"]
