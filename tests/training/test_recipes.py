"""Every recipe starts, steps and learns: at toy widths here, at full width for one step in the slow tests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from tests.networks.registry_cases import TinyPyramid
from tests.training.toy import DECODER, JOINT_QUERIES, SWIN, VIT, toy_crops
from training.batch import Batch
from training.config import Phase, Recipe, load_recipe, recipe_names
from training.crop_set import Crops
from training.trainee import Trainee

TINY_SIZES: dict[str, dict[str, Any]] = {
    "swin": SWIN,
    "gmf": {"dims": [40, 40, 40], "depths": [1, 1, 1], "mlp_ratios": [2.0, 2.0, 2.0], "drop_path": 0.0},
    "vmamba": {"dim": 8, "depths": [1, 1, 1], "ssm_ratio": 1.0, "drop_path": 0.0},
    "hmr2": VIT,
    "deformable": VIT,
    "dense26": VIT,
    "vit": VIT,
}
TINY_DEFORMABLE = {"width": 32, "heads": 2, "points": 2, "layers": 1, "ff_width": 32}
RESNETS: dict[str, dict[str, Any]] = {
    "cliff-r50": {"channels": 10, "hidden": 12},
    "deformable-detr-r50": {**TINY_DEFORMABLE, "backbone_channels": (6, 8, 10)},
}
HW = (128, 128)  # an eighth and a sixteenth of it still hold a window of seven


def tiny(recipe: Recipe) -> Recipe:
    """The same recipe for a network of a few thousand weights, at once at full rate."""
    family = recipe.model.removeprefix("pose-").split("-")[0]
    if recipe.model in RESNETS:
        phases = tuple(replace(p, image_hw=HW, batch=4, lr=2e-3, lr_end=2e-3) for p in recipe.phases)
        arguments = {**recipe.arguments, **RESNETS[recipe.model]}
        return replace(recipe, arguments=arguments, phases=phases, warmup_steps=1)
    size = 0.25 if recipe.arguments.get("family") == "movenet" else TINY_SIZES[family]
    if isinstance(size, dict) and "depths" in size and recipe.model.endswith("s3"):
        size = {**size, "depths": [1, 1, 1]} | ({"heads": [1, 2, 4]} if "heads" in size else {})
    arguments = {**recipe.arguments, "size": size}
    if recipe.task == "body" or family == "deformable":
        choice = recipe.arguments.get("decoder")
        small = JOINT_QUERIES if choice == "joint-queries" else DECODER
        if choice == "dense26":
            small = {**DECODER, "queries": 26}
        if isinstance(choice, dict):
            small = {**JOINT_QUERIES, "map_width": 32}
        arguments["decoder"] = TINY_DEFORMABLE if family == "deformable" else small
    rate = {"keypoints": 3e-4, "upsampler": 2e-3}.get(recipe.task, 2e-3 if recipe.optimiser == "adamw" else 5e-3)
    phases = tuple(replace(p, image_hw=HW, batch=4, lr=rate, lr_end=rate) for p in recipe.phases)
    schedule = (10, 6) if recipe.schedule else ()
    if "schedule" in arguments:
        arguments["schedule"] = list(schedule)
    return replace(recipe, arguments=arguments, phases=phases, schedule=schedule, warmup_steps=1)


@pytest.fixture(scope="module")
def batch() -> Batch:
    return Crops(toy_crops(5)).rows(np.arange(5), HW)


def test_there_is_a_recipe_for_every_idea() -> None:
    models = {load_recipe(name).model for name in recipe_names()}
    papers = {"swin-t-s2", "swin-t-s3", "swin-l-s3", "gmf-mini-s2", "gmf-t-s2", "gmf-l-s2", "vmamba-t-s2"}
    papers |= {"hmr2-s", "hmr2-b", "hmr2-l", "pose-vit-s", "pose-vit-b", "pose-vit-l", "dense26", "cliff-r50"}
    papers |= {"deformable", "deformable-x4", "deformable-x8", "deformable-x16", "deformable-detr-r50"}
    assert papers <= models
    assert {load_recipe(name).task for name in recipe_names()} == {"body", "keypoints", "upsampler"}
    assert any(p.merge for name in recipe_names() for p in load_recipe(name).phases)


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_learns_at_toy_width(name: str, batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("builders", "decoders.deformable_detr_baseline"):
        monkeypatch.setattr(f"bodycast.hmr.networks.{module}.resnet50", TinyPyramid)
    recipe = tiny(load_recipe(name))
    trainee = Trainee(recipe, {}, torch.device("cpu"))
    phase = recipe.phases[-1]
    trainee.enter(phase, lambda: [batch])
    frozen = {n: p.clone() for n, p in trainee.net.named_parameters() if not p.requires_grad}
    losses = [float(trainee.step(batch, phase, 0.0)["total"]) for _ in range(10)]
    assert np.isfinite(losses).all() and min(losses[-3:]) < losses[0]
    for parameter, before in frozen.items():
        torch.testing.assert_close(trainee.net.get_parameter(parameter), before)
    assert bool(frozen) == bool(recipe.freeze)
    assert trainee.merged == phase.merge
    scores = trainee.task.score(trainee.ema, [batch])
    assert np.isfinite(scores[trainee.task.main_score])
    again = Trainee(recipe, {}, torch.device("cpu"))
    again.restore(trainee.state())
    for a, b in zip(again.ema.parameters(), trainee.ema.parameters(), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in recipe_names() if name not in ("deformable-x4", "dense26")])
def test_a_recipe_steps_at_full_width(name: str) -> None:
    """deformable-x4 and dense26 have ViT-H: 10 GB with its moments, on no small machine."""
    recipe = load_recipe(name)
    trainee = Trainee(recipe, {}, torch.device("cpu"))
    crops = Crops(toy_crops(2))
    phase = replace(recipe.phases[-1], merge=False)
    trainee.enter(phase, list)
    terms = trainee.step(crops.rows(np.arange(2), phase.image_hw), phase, 0.0)
    assert np.isfinite(float(terms["total"])) and np.isfinite(float(terms["gradient"]))


def test_layers_and_tokens_merge_within_a_run(batch: Batch) -> None:
    """First half whole; then ECLM drops the layers that do nothing, and tokens merge by the person's mask."""
    recipe = tiny(load_recipe("hmr-vit-s-merged"))
    trainee = Trainee(recipe, {}, torch.device("cpu"))
    trainee.enter(recipe.phases[0], list)
    assert not trainee.merged
    with torch.no_grad():
        for net in (trainee.net, trainee.ema):
            block = net.backbone.blocks[1]  # a block that adds nothing
            for layer in (block.attn.proj, block.mlp.fc2):
                layer.weight.zero_()
                layer.bias.zero_()
    trainee.enter(recipe.phases[1], lambda: [batch])
    assert trainee.net.takes_mask and trainee.arguments["schedule"] == [10, 6]
    assert trainee.layer_merge is not None and len(trainee.net.encoder.blocks) == trainee.arguments["blocks"] == 3
    assert trainee.package_arguments()["blocks"] == trainee.arguments["blocks"]
    trainee.step(batch, recipe.phases[1], 0.0)


def test_phases_of_fine_tuning_say_what_they_need() -> None:
    for name in recipe_names():
        recipe = load_recipe(name)
        assert recipe.needs_init or not recipe.freeze, f"{name}: a frozen part with random weights teaches nothing"
        assert all(isinstance(phase, Phase) and len(phase.image_hw) == 2 for phase in recipe.phases)


def test_a_recipe_is_its_base_but_for_what_it_says(tmp_path: Any) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('base = "deformable-s"\nname = "mine"\nmodel = "deformable-x8"\nweights = { vertices = 2.0 }\n')
    mine, base = load_recipe(str(path)), load_recipe("deformable-s")
    assert (mine.name, mine.model, mine.weights.vertices) == ("mine", "deformable-x8", 2.0)
    assert (mine.phases, mine.arguments, mine.freeze) == (base.phases, base.arguments, base.freeze)
    assert mine.weights.joints_3d == base.weights.joints_3d
    path.write_text(f'base = "{path}"\nname = "mine"\n')
    with pytest.raises(ValueError, match=r"no recipe|another recipe's name"):
        load_recipe(str(path))
