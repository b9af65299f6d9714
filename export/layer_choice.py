"""Which layers to merge where nothing says it: each neighbouring pair is tried once, the cheapest are merged.

FastHMR prints how many blocks its layer merging leaves (28 of HMR2.0's 32, 26 of CameraHMR's) and not which. Its search
(`hmr.networks.merging`) wants labelled frames; this needs none: a trial costs what its answers differ from the unmerged
network's on painted figures. Photographs of people would choose better.
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


def choose_layers(net: HmrNet, keep: int, on_trial: Callable[[int, float], None] | None = None) -> LayerMergeRecipe:
    """The recipe that leaves `keep` blocks of a flat ViT: disjoint pairs, each collapsed into its upper block, those
    that change the joints least (MPJPE in mm, each alone, on `FIGURES` crops).

    on_trial: called with the lower block of each pair and its mm. The network is left as it was.
    Raises: ValueError where the encoder has no blocks, or pairs cannot leave so few.
    """
    blocks = getattr(net.encoder, "blocks", None)
    if not isinstance(blocks, nn.ModuleList):
        raise ValueError(f"layer merging needs a flat ViT, this is {type(net.encoder).__name__}")
    depth = len(blocks)
    if not depth - depth // 2 <= keep <= depth:
        raise ValueError(f"--eclm {keep}: of {depth} blocks {depth - depth // 2} to {depth} can be kept")
    item = exportable(net)
    figures = item.examples(FIGURES, "fixed")
    answers = run_torch(item.module, figures, item.output_names)
    costs: list[tuple[float, int]] = []
    for low in range(depth - 1) if keep < depth else ():
        net.encoder.blocks = merge_blocks(blocks, LayerMergeRecipe(depth, ((low, low + 1),)))
        try:
            found = run_torch(item.module, figures, item.output_names)
        finally:
            net.encoder.blocks = blocks
        costs.append((compare("hmr", answers, found)["mpjpe_mm"], low))
        if on_trial is not None:
            on_trial(low, costs[-1][0])
    return LayerMergeRecipe(depth, _cheapest(costs, depth - keep, depth))


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
