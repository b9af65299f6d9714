"""A training step on a GPU, without one: shapes and devices alone (FakeTensor) find every tensor left on the CPU."""

from __future__ import annotations

import warnings
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from tests.training.toy import DECODER, VIT, toy_crops, toy_recipe
from training.augment import AUGMENTATIONS, augment, resized
from training.batch import _mirror_tables, everything_known
from training.config import Phase, Recipe
from training.crop_set import as_batch
from training.trainee import Trainee

CUDA = torch.device("cuda", 0)
FLAT = {"size": VIT, "decoder": DECODER, "score": True, "drop_path": 0.0}
ONE = (Phase((96, 72), 1.0, 4, 1e-3, 1e-4),)
RECIPES = {
    "swin": toy_recipe(phases=ONE),
    "tokens": toy_recipe(model="hmr2-s", arguments={**FLAT, "schedule": [5, 3]}, phases=ONE),
    "deformable": toy_recipe(
        model="deformable-x4", phases=ONE, freeze=("backbone",), optimiser="adamw",
        arguments={"size": VIT, "decoder": {"width": 32, "heads": 2, "points": 2, "layers": 1, "ff_width": 32}},
    ),
    "keypoints": toy_recipe(
        model="pose-vit-s", task="keypoints", phases=ONE, arguments={"size": VIT}, optimiser="adamw"
    ),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _no_tables_of_another_pretence():
    """The mirror's tables are kept by device."""
    _mirror_tables.cache_clear()
    yield
    _mirror_tables.cache_clear()


def _to_fake(module: nn.Module) -> None:
    """Every tensor of a module on the pretended GPU."""
    for part in module.modules():
        for name, value in part._parameters.items():
            if value is not None:
                empty = torch.empty(value.shape, dtype=value.dtype, device=CUDA)
                part._parameters[name] = nn.Parameter(empty, requires_grad=value.requires_grad)
        for name, value in part._buffers.items():
            if value is not None:
                part._buffers[name] = torch.empty(value.shape, dtype=value.dtype, device=CUDA)


def _step(recipe: Recipe, known: bool, patch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    trainee = Trainee(recipe, {}, torch.device("cpu"))
    host = as_batch(toy_crops(4), (128, 96))
    host = replace(host, known=everything_known(host)) if known else host
    with FakeTensorMode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # there is no CUDA to autocast for
        # Autograd's engine asks the driver for streams; gradients live where their tensors do.
        patch.setattr(torch.Tensor, "backward", lambda total: None)
        batch = host.map(lambda tensor: torch.empty(tensor.shape, dtype=tensor.dtype, device=CUDA))
        batch = augment(batch, AUGMENTATIONS["full"])
        for module in (trainee.net, trainee.ema, trainee.task):
            _to_fake(module)
        trainee.device, trainee.streak = CUDA, torch.zeros((), device=CUDA)
        trainee._adopt(trainee.net, trainee.ema)
        batch = replace(batch, images=resized(batch.images, (96, 72)))
        return trainee.step(batch, recipe.phases[0], 0.0)


@pytest.mark.parametrize("name", RECIPES)
def test_a_step_stays_on_the_gpu(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No operation mixes devices, and none reads a value back (FakeTensor has none to give)."""
    terms = _step(RECIPES[name], known=name == "swin", patch=monkeypatch)
    assert all(value.device == CUDA for value in terms.values()) and "total" in terms


def test_the_check_notices_a_tensor_left_behind() -> None:
    with FakeTensorMode(), pytest.raises(RuntimeError, match="device"):
        torch.empty(3, device=CUDA) + torch.empty(3)
