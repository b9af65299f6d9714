"""From a trained flat ViT to its fast form, within a run: ECLM finds layers to merge, Mask-ToMe is switched on.

FastHMR (Mehraban et al. 2025, arXiv 2510.10868) merges layers by the joint error on labelled frames, then tokens; what
that costs is won back by training on (there by a diffusion decoder, here by fine-tuning the network itself).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from bodycast.hmr.body.body_model import EMBEDDED_BODY
from bodycast.hmr.body.torch_body import TorchBody
from bodycast.hmr.networks.hmr_net import HmrNet, with_merging
from bodycast.hmr.networks.merging.error_constrained_layer_merging import (
    LayerMergeRecipe,
    label_error,
    search_layer_merges,
)
from training.batch import Batch
from training.config import Recipe
from training.distributed import object_from_first, rank
from training.network_inputs import run_network
from training.tasks.base import autocast

TOO_FEW_MM = 1e9


class MergedNetwork(NamedTuple):
    """net, ema: the smaller network and its average. arguments: what the registry builds it with. layer_merge: the
    recipe of ECLM as plain values, or None. words: what happened."""

    net: HmrNet
    ema: HmrNet
    arguments: dict[str, Any]
    layer_merge: dict[str, Any] | None
    words: str


def merge_network(
    recipe: Recipe,
    net: HmrNet,
    ema: HmrNet,
    batches: Iterable[Batch],
    device: torch.device,
    body: Path = EMBEDDED_BODY,
) -> MergedNetwork:
    """Search with the averaged weights on labelled crops, merge both networks alike."""
    layers, words = None, "no layers merged"
    if recipe.merge_tolerance_mm > 0:
        # Process 0 decides, or several would train different networks.
        found = _search(recipe, ema, [b.to(device) for b in batches], device, body) if rank() == 0 else None
        layers = LayerMergeRecipe.from_json(object_from_first(found) or {})
        words = (
            f"{layers.blocks} layers -> {layers.blocks_left} (windows {list(layers.windows)}), "
            f"{layers.base_error_mm:.1f} -> {layers.error_mm:.1f} mm on the training crops"
        )
    # A network may merge tokens from its first step on.
    schedule = None if net.takes_mask else recipe.schedule or None
    if schedule:
        words += f"; tokens merged {', '.join(map(str, schedule))}"
    arguments: dict[str, Any] = {"schedule": list(schedule)} if schedule else {}
    if layers is not None:
        arguments["blocks"] = layers.blocks_left
    smaller = with_merging(net, layers, schedule)
    plain = None if layers is None else layers.to_json()
    return MergedNetwork(smaller, with_merging(ema, layers, schedule), arguments, plain, words)


def _search(recipe: Recipe, ema: HmrNet, crops: list[Batch], device: torch.device, body_file: Path) -> dict[str, Any]:
    """ECLM against the labels; the recipe as plain values."""
    body = TorchBody.load(body_file).to(device)
    target = torch.cat([body.posed_joints(b.pose, b.betas, torch.zeros_like(b.camera)) for b in crops])

    @torch.no_grad()
    def joints(model: nn.Module) -> Tensor:
        found = []
        for batch in crops:
            with autocast(device):
                answer = run_network(model, batch)
            pose, betas = answer.rotmat.float(), answer.betas.float()
            found.append(body.posed_joints(pose, betas, torch.zeros_like(batch.camera)))
        return torch.cat(found)

    measured = label_error(joints, target)
    # A network that has learned little loses nothing by merging, and could not be trained on afterwards.
    path = "backbone.vit.blocks" if ema.takes_mask else "backbone.blocks"
    least = max(len(recipe.schedule), math.ceil(recipe.merge_keep * len(ema.encoder.blocks)))

    def error(model: nn.Module) -> float:
        return measured(model) if len(model.get_submodule(path)) >= least else TOO_FEW_MM

    result = search_layer_merges(ema, error, blocks=path, tolerance_mm=recipe.merge_tolerance_mm)
    return result.recipe.to_json()
