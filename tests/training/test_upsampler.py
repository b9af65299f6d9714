"""FeatUp's training: consistency over views, beside bilinear enlarging, on flat and hierarchical encoders."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.toy import SWIN, VIT, toy_crops
from training.config import Phase, Recipe
from training.crop_set import as_batch
from training.initialise import weights_from
from training.tasks.upsampler import UpsamplerTask, _normed, move, random_views
from training.trainee import Trainee

DECODER = {"width": 16, "heads": 2, "points": 2, "layers": 1, "ff_width": 12}
HIERARCHICAL = {"family": "swin", "stages": 2, "size": SWIN, "decoder": DECODER}


def recipe(arguments: dict) -> Recipe:
    phase = Phase((96, 72) if "family" in arguments else (96, 64), 1.0, 4, 1e-2, 1e-2)
    return Recipe(
        "up", "deformable-x4", (phase,), task="upsampler", arguments=arguments, freeze=("backbone", "smpl_head"),
        optimiser="adamw", weight_decay=0.0, warmup_steps=1, ema=0.0, clip_norm=1.0,
    )  # fmt: skip


@pytest.mark.parametrize("arguments", [HIERARCHICAL, {"size": VIT, "decoder": DECODER}])
def test_the_views_become_more_consistent_and_only_the_upsampler_changes(arguments: dict) -> None:
    toy = recipe(arguments)
    trainee = Trainee(toy, {}, torch.device("cpu"))
    hw = toy.phases[0].image_hw
    batch = as_batch({k: v[:4] for k, v in toy_crops(4).items()}, hw)
    before = copy.deepcopy(trainee.net.state_dict())
    first = trainee.task.score(trainee.net, [batch])
    assert set(first) == {"consistency", "bilinear", "loss"} and all(np.isfinite(v) for v in first.values())
    for _ in range(25):
        trainee.step(batch, toy.phases[0], 0.0)
    last = trainee.task.score(trainee.net, [batch])
    assert last["loss"] < first["loss"] and last["bilinear"] == pytest.approx(first["bilinear"])
    moved = {k for k, v in trainee.net.state_dict().items() if not torch.equal(v, before[k])}
    assert moved and all(key.startswith("upsampling.") for key in moved)


def test_directions_of_the_maps_are_taken_before_they_are_enlarged() -> None:
    """To the same effect as after: the mean square along random directions is that of all channels."""
    toy = recipe(HIERARCHICAL)
    trainee = Trainee(toy, {}, torch.device("cpu"))
    net, task = trainee.net.eval(), trainee.task.eval()
    for module in (net, task):
        for part in module.modules():
            if isinstance(part, torch.nn.Dropout | torch.nn.Dropout2d):
                part.p = 0.0
    batch = as_batch({k: v[:4] for k, v in toy_crops(4).items()}, toy.phases[0].image_hw)
    grid = random_views(4, torch.device("cpu"), False)
    with torch.no_grad():
        whole = float(task.loss(task.predict(net, batch), batch, None, 1.0)[1]["consistency"])
        maps, wanted = ([_normed(m) for m in net.tapped(x)] for x in (batch.images, move(batch.images, grid)))
        torch.manual_seed(0)
        rows = [task._along_directions(net.upsampling, maps, wanted, batch.images, grid) for _ in range(20)]
    along = np.mean(
        [float((a - b).square().mean()) for found, goals in rows for a, b in zip(found, goals, strict=True)]
    )
    assert along == pytest.approx(whole, rel=0.05)


def test_bilinear_is_what_its_name_says() -> None:
    toy = recipe(HIERARCHICAL)
    trainee = Trainee(toy, {}, torch.device("cpu"))
    batch = as_batch({k: v[:2] for k, v in toy_crops(2).items()}, toy.phases[0].image_hw)
    found, wanted = UpsamplerTask.predict_bilinear(trainee.net.eval(), batch)
    assert [f.shape for f in found] == [w.shape for w in wanted]
    assert [f.shape[1] for f in found] == [16, 32]  # one tap a stage


def test_its_checkpoint_starts_a_decoder_anew(tmp_path: Path) -> None:
    """The upsampler and the encoder go on; the decoder has learned nothing, its mean pose is nobody's."""
    net = Trainee(recipe(HIERARCHICAL), {}, torch.device("cpu")).net
    path = tmp_path / "up.pt"
    torch.save({"state_dict": net.state_dict(), "training": {"task": "upsampler"}}, path)
    assert "smpl_head 0 of" in weights_from(net, path)[1] and "upsampling 0 of" not in weights_from(net, path)[1]
