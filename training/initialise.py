"""Starting weights that make window attention behave like a convolution, for training from scratch on little data.

Each head's relative position bias starts as a narrow bell around an offset of its own, as in ConViT (d'Ascoli et al.
2021, arXiv 2103.10697), and the linear maps behind it start at unit gain instead of Swin's 0.02, so that the first
steps already see neighbouring patches. Everything stays trainable; the architecture does not change.
"""

from __future__ import annotations

import torch
from torch import nn

from hmr.networks.encoders.swin import Swin

OFFSETS = (
    (0, 0),
    (1, 0),
    (0, 1),
    (-1, 0),
    (0, -1),
    (1, 1),
    (-1, -1),
    (1, -1),
    (-1, 1),
    (2, 0),
    (0, 2),
    (-2, 0),
    (0, -2),
)
SHARPNESS = 1.0


@torch.no_grad()
def convolution_like(encoder: nn.Module) -> None:
    """Set the starting weights of a Swin in place; other encoders keep theirs."""
    if not isinstance(encoder, Swin):
        return
    used = 0
    for layer in encoder.layers:
        reduction = getattr(getattr(layer, "downsample", None), "reduction", None)
        if reduction is not None:
            _unit_gain(reduction.weight)
        for block in layer.blocks:
            attention, width = block.attn, block.attn.qkv.in_features
            _unit_gain(
                attention.qkv.weight[2 * width :]
            )  # values only: small queries and keys leave the bias in charge
            for linear in (attention.proj, block.mlp.fc1, block.mlp.fc2):
                _unit_gain(linear.weight)
            heads = attention.num_heads
            offsets = torch.tensor([OFFSETS[(used + head) % len(OFFSETS)] for head in range(heads)])
            used += heads
            rows, columns = attention.window_size
            table = attention.relative_position_bias_table.view(2 * rows - 1, 2 * columns - 1, heads)
            y = torch.arange(-(rows - 1), rows)[:, None, None] - offsets[:, 0]
            x = torch.arange(-(columns - 1), columns)[None, :, None] - offsets[:, 1]
            table.copy_(-SHARPNESS * (y**2 + x**2))


def _unit_gain(weight: torch.Tensor) -> None:
    weight.normal_(0, weight.shape[1] ** -0.5)
