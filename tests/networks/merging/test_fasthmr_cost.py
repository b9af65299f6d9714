"""FastHMR's printed sizes and costs (table of components): they fix the schedule and where tokens merge.

Costs are multiply-adds of linear layers and convolutions, as the paper's counter has them: attention products are
left out. With 10 merges in the third block the count would be 58.9 G, with merging after the MLP 54.1 G.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from bodycast.hmr.networks.decoders.smpl_transformer import SmplTransformerDecoder
from bodycast.hmr.networks.encoders.vit import vit
from bodycast.hmr.networks.flops import count_cost
from bodycast.hmr.networks.merging.error_constrained_layer_merging import LayerMergeRecipe, merge_blocks
from bodycast.hmr.networks.merging.mask_token_merging import TokenMergingVit


class _Hmr2(nn.Module):
    """HMR2.0 on the meta device, with blocks and tokens merged as asked."""

    def __init__(self, blocks_merged: int, tokens_merged: bool) -> None:
        super().__init__()
        with torch.device("meta"):
            encoder = vit("h")
            self.decoder = SmplTransformerDecoder.from_preset("hmr2", 1280)
        if blocks_merged:
            # Which blocks go does not matter for the cost: they are all alike.
            encoder.blocks = merge_blocks(encoder.blocks, LayerMergeRecipe(32, ((20, 20 + blocks_merged),)))
        self.encoder = TokenMergingVit(encoder, (40, 40, 22) if tokens_merged else ())

    def forward(self, images: Tensor) -> Tensor:
        return self.decoder(self.encoder(images)).rotmat


@pytest.mark.parametrize(
    ("blocks_merged", "tokens_merged", "millions", "giga"),
    [(0, False, 670.2, 122.6), (4, False, 591.5, 107.5), (4, True, 591.5, 52.8)],
    ids=["HMR2.0", "ECLM", "ECLM and Mask-ToMe"],
)
def test_printed_parameters_and_cost(blocks_merged: int, tokens_merged: bool, millions: float, giga: float) -> None:
    net = _Hmr2(blocks_merged, tokens_merged)
    # The paper's counter leaves out the position table, 0.25 M.
    assert sum(p.numel() for p in net.parameters()) / 1e6 == pytest.approx(millions + 0.25, abs=0.2)
    cost = count_cost(net.eval(), torch.empty(1, 3, 256, 192, device="meta"))
    assert cost.linear_macs / 1e9 == pytest.approx(giga, abs=0.1)
