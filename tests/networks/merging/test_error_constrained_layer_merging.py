"""Error-constrained layer merging: the merge rule, the recipe, and the search on a toy with a known error."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from bodycast.hmr.networks.encoders.vit import ViT
from bodycast.hmr.networks.merging.error_constrained_layer_merging import (
    LayerMergeRecipe,
    MergeTrial,
    apply_recipe,
    label_error,
    merge_parameters,
    merged_model,
    search_layer_merges,
    self_error,
)
from bodycast.hmr.networks.merging.mask_token_merging import TokenMergingVit
from tests.networks.network_checks import shake


class Net(nn.Module):
    """A tiny ViT under the name that checkpoints give it."""

    def __init__(self, depth: int = 5) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.backbone = shake(ViT(12, depth, 2, image_hw=(48, 32)))

    def forward(self, images: Tensor) -> Tensor:
        return self.backbone(images)[-1]


class Toy(nn.Module):
    """Blocks that only carry their number, so that a test can say what merging costs."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.backbone = nn.Module()
        self.backbone.blocks = nn.ModuleList(nn.Linear(1, 1, bias=False) for _ in range(depth))
        for i, block in enumerate(self.backbone.blocks):
            nn.init.constant_(block.weight, float(i))

    def weights(self) -> list[float]:
        return [block.weight.item() for block in self.backbone.blocks]


def blocks_of(model: Net) -> list[dict[str, Tensor]]:
    return [block.state_dict() for block in model.backbone.blocks]


def test_a_pair_is_the_upper_block_to_the_last_bit() -> None:
    low, high = blocks_of(Net(2))
    merged = merge_parameters([low, high])
    for name, value in high.items():
        assert torch.equal(merged[name], value)


def test_a_triple_is_upper_plus_middle_minus_lower() -> None:
    low, middle, high = blocks_of(Net(3))
    for name, value in merge_parameters([low, middle, high]).items():
        torch.testing.assert_close(value, high[name] + middle[name] - low[name], rtol=0, atol=1e-6)


def test_telescoped_is_the_upper_block_with_the_lower_norms() -> None:
    low, middle, high = blocks_of(Net(3))
    for name, value in merge_parameters([low, middle, high], "telescoped").items():
        assert torch.equal(value, (low if name.startswith("norm") else high)[name])


def test_merging_nothing_changes_nothing() -> None:
    model = Net()
    recipe = LayerMergeRecipe(5, ())
    state = apply_recipe(model.state_dict(), recipe)
    assert set(state) == set(model.state_dict())
    assert all(torch.equal(state[key], value) for key, value in model.state_dict().items())


def test_a_pair_merge_is_dropping_the_lower_block() -> None:
    model = Net()
    images = torch.randn(2, 3, 48, 32)
    small = merged_model(model, LayerMergeRecipe(5, ((2, 3),)))
    dropped = Net()
    dropped.backbone.blocks = nn.ModuleList(block for i, block in enumerate(dropped.backbone.blocks) if i != 2)
    with torch.no_grad():
        torch.testing.assert_close(small(images), dropped(images), rtol=0, atol=0)
    assert len(model.backbone.blocks) == 5


@pytest.mark.parametrize("form", ["equation", "telescoped"])
def test_recipe_makes_the_same_weights_from_a_module_and_from_a_checkpoint(form: str) -> None:
    model = Net()
    recipe = LayerMergeRecipe.from_json(json.loads(json.dumps(LayerMergeRecipe(5, ((0, 1), (2, 4)), form).to_json())))
    assert recipe.blocks_left == 2 and recipe.groups() == [(0, 1), (2, 4)]
    small = merged_model(model, recipe)
    state = apply_recipe(model.state_dict(), recipe)
    assert set(state) == set(small.state_dict())
    assert all(torch.equal(state[key], value) for key, value in small.state_dict().items())


def test_layer_merged_vit_takes_token_merging() -> None:
    small = merged_model(Net(), LayerMergeRecipe(5, ((3, 4),)))
    net = TokenMergingVit(small.backbone, (1, 1, 1))
    assert tuple(net(torch.randn(1, 3, 48, 32)).shape) == (1, 3, 12)


def toy_error(cost: Callable[[list[float]], float]) -> Callable[[nn.Module], float]:
    return lambda model: cost(model.weights())


def test_search_finds_the_planned_windows() -> None:
    # A pair leaves the upper block, so blocks vanish one by one; only 1 and 5, 6 may go.
    free = {1.0, 5.0, 6.0}

    def cost(left: list[float]) -> float:
        whole = [w for w in left if w == int(w) and 0 <= w < 9]
        gone = set(range(9)) - {int(w) for w in whole}
        return 50.0 + sum(0.0 if float(g) in free else 1.0 for g in gone)

    toy = Toy(9)
    trials: list[MergeTrial] = []
    result = search_layer_merges(toy, toy_error(cost), form="telescoped", on_trial=trials.append)
    assert result.recipe.windows == ((1, 2), (5, 7))
    assert result.recipe.blocks_left == 6
    assert result.recipe.base_error_mm == result.recipe.error_mm == 50.0
    assert tuple(trials) == result.trials and len(trials) == 8  # one evaluation per block below the top
    assert toy.weights() == [float(i) for i in range(9)]
    kept = [result.state_dict[f"backbone.blocks.{i}.weight"].item() for i in range(6)]
    assert kept == [0.0, 2.0, 3.0, 4.0, 7.0, 8.0]


def test_a_window_that_reaches_block_0_is_committed() -> None:
    result = search_layer_merges(Toy(4), toy_error(lambda left: 10.0), form="telescoped")
    assert result.recipe.windows == ((0, 3),)
    assert len(result.state_dict) == 1


def test_nothing_is_committed_where_every_merge_costs_too_much() -> None:
    result = search_layer_merges(Toy(4), toy_error(lambda left: float(4 - len(left))))
    assert result.recipe.windows == () and result.recipe.blocks_left == 4
    assert not any(trial.accepted for trial in result.trials)


def test_slack_is_against_the_untouched_model_and_adds_up() -> None:
    # Each lost block costs 0.04 mm: at 0.1 mm two may go, wherever, not two per window.
    result = search_layer_merges(Toy(6), toy_error(lambda left: 0.04 * (6 - len(left))), tolerance_mm=0.1)
    assert result.recipe.blocks_left == 4
    assert result.recipe.error_mm == pytest.approx(0.08)


def test_search_on_a_vit_against_itself() -> None:
    model = Net()
    images = torch.randn(3, 3, 48, 32)

    def predict(net: nn.Module) -> Tensor:
        with torch.no_grad():
            return net(images).flatten(1)[:, :72].unflatten(1, (24, 3)) * 0.1

    with torch.no_grad():  # block 3 does nothing: it can go at no cost
        model.backbone.blocks[3].attn.proj.weight.zero_(), model.backbone.blocks[3].attn.proj.bias.zero_()
        model.backbone.blocks[3].mlp.fc2.weight.zero_(), model.backbone.blocks[3].mlp.fc2.bias.zero_()
    error = self_error(model, predict)
    assert error(model) == 0.0
    before = {key: value.clone() for key, value in model.state_dict().items()}
    result = search_layer_merges(model, error, tolerance_mm=1e-3, progress=True)
    assert result.recipe.windows == ((3, 4),)
    assert all(torch.equal(model.state_dict()[key], value) for key, value in before.items())
    small = merged_model(model, result.recipe)
    small.load_state_dict(result.state_dict)
    assert error(small) == pytest.approx(result.recipe.error_mm, abs=1e-6)


def test_label_error_is_root_relative_mpjpe_in_mm() -> None:
    target = torch.randn(4, 24, 3)
    off = target + 5.0
    off[:, 1] += torch.tensor([0.003, 0.004, 0.0])
    assert label_error(lambda model: off, target)(nn.Identity()) == pytest.approx(5.0 / 24, abs=1e-3)


def test_bad_calls_are_refused() -> None:
    with pytest.raises(ValueError, match="disjoint"):
        LayerMergeRecipe(5, ((0, 2), (2, 3)))
    with pytest.raises(ValueError, match="5 blocks"):
        apply_recipe(Net(4).state_dict(), LayerMergeRecipe(5, ((0, 1),)))
    with pytest.raises(ValueError, match="nan"):
        search_layer_merges(Toy(3), toy_error(lambda left: float("nan")))
    with pytest.raises(ValueError, match="list"):
        search_layer_merges(nn.Linear(1, 1), lambda model: 0.0, blocks="weight")
