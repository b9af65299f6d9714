"""A network that learns another one's maps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bodycast.hmr.networks.hmr_net import HmrNet
from tests.training.toy import DECODER, JOINT_QUERIES, SWIN, VIT, toy_crops
from training.batch import Batch
from training.config import LossWeights, Phase, Recipe
from training.crop_set import Crops
from training.initialise import weights_from
from training.loop import RunOptions, Training
from training.network import build_network
from training.teacher import Teacher, begin_like, feature_loss, load_teacher
from training.trainee import Trainee

HW = (128, 96)
NARROW = {**JOINT_QUERIES, "map_width": 32}


@pytest.fixture(scope="module")
def batch() -> Batch:
    return Crops(toy_crops(8)).rows(np.arange(8), HW)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    arguments = {"size": SWIN, "drop_path": 0.0, "decoder": JOINT_QUERIES, "pool": 2}
    net = build_network("swin-t-s2", HW, arguments)
    path = tmp_path_factory.mktemp("teacher") / "teacher.pt"
    state = {"model": "swin-t-s2", "arguments": {**arguments, "image_hw": list(HW)}, "state_dict": net.state_dict()}
    torch.save(state, path)
    return path


def recipe() -> Recipe:
    return Recipe(
        name="taught",
        model="hmr2-s",
        phases=(Phase(HW, 1.0, 8, 5e-3, 5e-3),),
        arguments={"size": VIT, "score": True, "schedule": [10, 6], "decoder": NARROW},
        weights=LossWeights(features=6.0),
        warmup_steps=1,
        ramp=0.0,
        needs_teacher=True,
    )


def taught(checkpoint: Path, batch: Batch) -> Trainee:
    trainee = Trainee(recipe(), {}, torch.device("cpu"))
    trainee.start_from(weights_from(trainee.net, checkpoint)[0])
    trainee.learn_from(load_teacher(checkpoint))
    trainee.enter(trainee.recipe.phases[0], lambda: [batch])
    return trainee


def test_the_learner_begins_with_the_teachers_decoder_and_the_spread_of_its_map(checkpoint: Path, batch: Batch) -> None:
    trainee, teacher = taught(checkpoint, batch), load_teacher(checkpoint)
    for name in ("queries", "readout_pose.weight", "heatmaps.weight"):
        torch.testing.assert_close(trainee.net.smpl_head.get_parameter(name), teacher.net.smpl_head.get_parameter(name))
    net = trainee.net
    with torch.no_grad():
        found = net.smpl_head.read(net.context(batch.images))[1].finest
        wanted = teacher(batch.images)
    assert found.shape[1] == wanted.shape[1] == 32
    torch.testing.assert_close(found.mean((0, 2, 3)), wanted.mean((0, 2, 3)), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(found.std((0, 2, 3)), wanted.std((0, 2, 3)), rtol=1e-2, atol=1e-3)


def test_the_map_comes_closer_and_the_teacher_stays_as_it_is(checkpoint: Path, batch: Batch) -> None:
    trainee = taught(checkpoint, batch)
    before = {name: value.clone() for name, value in trainee.task.teacher.state_dict().items()}
    features = [float(trainee.step(batch, trainee.recipe.phases[0], 0.0)["features"]) for _ in range(25)]
    assert features[-1] < 0.8 * features[0]
    for name, value in trainee.task.teacher.state_dict().items():
        assert torch.equal(before[name], value), name
    assert not trainee.task.teacher.net.training


def test_channels_count_alike_whatever_their_spread() -> None:
    wanted = torch.randn(2, 3, 4, 4) * torch.tensor([0.01, 1.0, 100.0])[:, None, None]
    assert float(feature_loss(wanted, wanted)) == 0
    off = wanted + wanted.std((0, 2, 3))[:, None, None]
    assert float(feature_loss(off, wanted)) == pytest.approx(1.0, rel=1e-4)
    coarse = torch.nn.functional.interpolate(wanted, (2, 2), mode="bilinear")
    assert feature_loss(coarse, wanted).isfinite()


def test_a_teacher_needs_a_map_and_a_recipe_its_teacher(tmp_path: Path, checkpoint: Path) -> None:
    arguments = {"size": SWIN, "drop_path": 0.0, "decoder": DECODER}
    net = build_network("swin-t-s2", HW, arguments)
    other = tmp_path / "other.pt"
    state = {"model": "swin-t-s2", "arguments": {**arguments, "image_hw": list(HW)}, "state_dict": net.state_dict()}
    torch.save(state, other)
    with pytest.raises(ValueError, match="a query a joint"):
        load_teacher(other)
    torch.save({"trainees": []}, other)
    with pytest.raises(ValueError, match=r"not its last\.pt"):
        load_teacher(other)
    folder = tmp_path / "crops"
    folder.mkdir()
    for name, array in toy_crops(6).items():
        np.save(folder / f"{name}.npy", array)
    (folder / "meta.json").write_text('{"finished": 6}')
    with pytest.raises(ValueError, match="give --teacher"):
        Training([recipe()], RunOptions(train=folder, test=folder, out=tmp_path / "out", minutes=0.01))
    assert isinstance(load_teacher(checkpoint), Teacher)


def test_only_a_map_that_is_narrowed_is_changed_at_the_start(checkpoint: Path, batch: Batch) -> None:
    net = build_network("hmr2-s", HW, {"size": VIT, "decoder": JOINT_QUERIES})
    assert isinstance(net, HmrNet)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    begin_like(load_teacher(checkpoint), net, batch.images)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


def test_layers_merge_though_tokens_merged_from_the_start(checkpoint: Path, batch: Batch) -> None:
    plain = recipe()
    phases = (replace(plain.phases[0], share=0.5), replace(plain.phases[0], share=0.5, merge=True))
    trainee = Trainee(replace(plain, phases=phases, schedule=(10, 6), merge_tolerance_mm=50.0), {}, torch.device("cpu"))
    trainee.learn_from(load_teacher(checkpoint))
    trainee.enter(trainee.recipe.phases[0], lambda: [batch])
    assert not trainee.merged
    trainee.enter(trainee.recipe.phases[1], lambda: [batch])
    assert trainee.merged and trainee.net.takes_mask and len(trainee.net.encoder.blocks) == 3
    assert trainee.arguments["blocks"] == 3
    trainee.step(batch, trainee.recipe.phases[1], 0.0)
    again = Trainee(trainee.recipe, {}, torch.device("cpu"))
    again.restore(trainee.state())
    assert again.merged and len(again.net.encoder.blocks) == 3
