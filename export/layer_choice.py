"""Which layers to merge so that a given number is left: each neighbouring pair is tried once, the cheapest are merged.

FastHMR (Mehraban et al. 2025, arXiv 2510.10868) prints how many blocks its layer merging leaves (28 of HMR2.0's 32, 26
of CameraHMR's) and not which. Its own search (`hmr.networks.merging`) goes by a tolerance; this goes by the number,
with the same measure of a trial. Without frames (`choose_layers`) a trial costs what its answers differ from the
unmerged network's on painted figures; `bodycast export merge-layers` takes frames of people.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from bodycast.export.exportable import exportable
from bodycast.export.onnx_graph import run_torch
from bodycast.export.parity_errors import compare
from bodycast.hmr.networks.hmr_net import HmrNet
from bodycast.hmr.networks.merging.error_constrained_layer_merging import LayerMergeRecipe, merge_blocks

FIGURES = 4
"""Painted figures that a trial looks at."""
Trial = Callable[[int, float], None]


def choose_layers(net: HmrNet, keep: int, on_trial: Trial | None = None) -> LayerMergeRecipe:
    """The recipe that leaves `keep` blocks of a flat ViT: disjoint pairs, each collapsed into its upper block, those
    that change the joints least (MPJPE in mm, each alone, on `FIGURES` crops).

    on_trial: called with the lower block of each pair and its mm. The network is left as it was.
    Raises: ValueError where the encoder has no blocks, or pairs cannot leave so few.
    """
    item = exportable(net)
    figures = item.examples(FIGURES, "fixed")
    answers = run_torch(item.module, figures, item.output_names)

    def error_mm() -> float:
        return compare("hmr", answers, run_torch(item.module, figures, item.output_names))["mpjpe_mm"]

    return choose_pairs(net, keep, error_mm, on_trial)


def choose_pairs(
    net: HmrNet, keep: int, error_mm: Callable[[], float], on_trial: Trial | None = None
) -> LayerMergeRecipe:
    """The same by any measure of the network as it stands during a trial, in mm."""
    blocks = flat_blocks(net)
    depth = len(blocks)
    if not depth - depth // 2 <= keep <= depth:
        raise ValueError(f"of {depth} blocks {depth - depth // 2} to {depth} can be kept by merging pairs, not {keep}")
    costs: list[tuple[float, int]] = []
    for low in range(depth - 1) if keep < depth else ():
        costs.append((measured(net, LayerMergeRecipe(depth, ((low, low + 1),)), error_mm), low))
        if on_trial is not None:
            on_trial(low, costs[-1][0])
    return LayerMergeRecipe(depth, _cheapest(costs, depth - keep, depth))


def flat_blocks(net: HmrNet) -> nn.ModuleList:
    """The blocks of its flat ViT. Raises: ValueError for another encoder."""
    blocks = getattr(net.encoder, "blocks", None)
    if not isinstance(blocks, nn.ModuleList):
        raise ValueError(f"layer merging needs a flat ViT, this is {type(net.encoder).__name__}")
    return blocks


def measured(net: HmrNet, recipe: LayerMergeRecipe, error_mm: Callable[[], float]) -> float:
    """`error_mm` with the recipe's blocks collapsed; the network is left as it was."""
    blocks = flat_blocks(net)
    net.encoder.blocks = merge_blocks(blocks, recipe)
    try:
        return error_mm()
    finally:
        net.encoder.blocks = blocks


def _cheapest(costs: list[tuple[float, int]], count: int, depth: int) -> tuple[tuple[int, int], ...]:
    """`count` disjoint pairs of the least sum, by dynamic programming over the blocks. costs: (mm, lower block)."""
    by_low = {low: cost for cost, low in costs}
    # best[n]: (sum, pairs) with n pairs among the blocks so far; the second list ends one block earlier.
    best: list[tuple[float, tuple[tuple[int, int], ...]] | None] = [(0.0, ()), *[None] * count]
    before = list(best)
    for high in range(1, depth):
        now = list(best)
        for pairs in range(1, count + 1):
            earlier = before[pairs - 1]
            if earlier is None or high - 1 not in by_low:
                continue
            total = earlier[0] + by_low[high - 1]
            kept = now[pairs]
            if kept is None or total < kept[0]:
                now[pairs] = (total, (*earlier[1], (high - 1, high)))
        before, best = best, now
    found = best[count]
    assert found is not None
    return found[1]
