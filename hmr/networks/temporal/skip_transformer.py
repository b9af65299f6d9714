"""Post-norm transformer with long skip connections, as encoder and as cross-attention decoder.

Source: MLD (Chen et al. 2023, arXiv 2212.04048; MIT), whose parameter names are kept. An odd number 2n + 1 of layers
is n input blocks, one middle block and n output blocks; before each output block the matching input block's output
(last in, first out) is joined by a linear map from 2d to d. Positions are added once, by the caller.

Attention is written as two matrix products: the fused operator fixes the batch when it is exported.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_MASKED = -1e9


class MultiheadAttention(nn.Module):
    """Multi-head attention under torch's parameter names (`in_proj_weight`, `in_proj_bias`, `out_proj`)."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"width {dim} is not a multiple of the {heads} heads")
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * dim, dim))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * dim))
        self.out_proj = nn.Linear(dim, dim)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, query: Tensor, memory: Tensor, valid: Tensor | None = None) -> Tensor:
        """query (B, Q, d), memory (B, S, d), valid (B, S) true where memory counts (None: everywhere) -> (B, Q, d)."""
        weights, biases = self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3)
        sources = (query, memory, memory)
        q, k, v = (
            F.linear(x, w, b).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for x, w, b in zip(sources, weights, biases, strict=True)
        )
        logits = (q * (1 / math.sqrt(q.shape[-1]))) @ k.transpose(-1, -2)
        if valid is not None:
            logits = logits.masked_fill(~valid[:, None, None, :], _MASKED)
        return self.out_proj((logits.softmax(dim=-1) @ v).transpose(1, 2).flatten(2))


class EncoderLayer(nn.Module):
    """Self-attention and feed-forward (GELU), each added to its input, then normalised."""

    def __init__(self, dim: int, heads: int, ff_width: int, dropout: float) -> None:
        super().__init__()
        self.self_attn = MultiheadAttention(dim, heads)
        self.linear1 = nn.Linear(dim, ff_width)
        self.linear2 = nn.Linear(ff_width, dim)
        self.norm1 = nn.LayerNorm(dim)
        self.norm2 = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """(B, S, d) -> (B, S, d)."""
        x = self.norm1(x + self.dropout(self.self_attn(x, x, valid)))
        return self.norm2(x + self.dropout(self.linear2(self.dropout(F.gelu(self.linear1(x))))))


class DecoderLayer(nn.Module):
    """Self-attention, cross-attention and feed-forward (GELU), each added to its input, then normalised."""

    def __init__(self, dim: int, heads: int, ff_width: int, dropout: float) -> None:
        super().__init__()
        self.self_attn = MultiheadAttention(dim, heads)
        self.multihead_attn = MultiheadAttention(dim, heads)
        self.linear1 = nn.Linear(dim, ff_width)
        self.linear2 = nn.Linear(ff_width, dim)
        self.norm1 = nn.LayerNorm(dim)
        self.norm2 = nn.LayerNorm(dim)
        self.norm3 = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, memory: Tensor, valid: Tensor | None = None) -> Tensor:
        """x (B, F, d), memory (B, n, d), valid (B, F) of x's own frames -> (B, F, d)."""
        x = self.norm1(x + self.dropout(self.self_attn(x, x, valid)))
        x = self.norm2(x + self.dropout(self.multihead_attn(x, memory)))
        return self.norm3(x + self.dropout(self.linear2(self.dropout(F.gelu(self.linear1(x))))))


class SkipTransformer(nn.Module):
    """`layers` (odd) blocks with long skips and a final LayerNorm.

    cross_attention: decoder layers, which also read a memory; else encoder layers.
    """

    def __init__(
        self,
        dim: int,
        layers: int,
        heads: int = 4,
        ff_width: int = 1024,
        dropout: float = 0.1,
        cross_attention: bool = False,
    ) -> None:
        super().__init__()
        if layers < 1 or layers % 2 == 0:
            raise ValueError(f"a skip transformer has an odd number of layers (n in, one middle, n out), got {layers}")
        layer = DecoderLayer if cross_attention else EncoderLayer
        half = layers // 2
        self.input_blocks = nn.ModuleList(layer(dim, heads, ff_width, dropout) for _ in range(half))
        self.middle_block = layer(dim, heads, ff_width, dropout)
        self.output_blocks = nn.ModuleList(layer(dim, heads, ff_width, dropout) for _ in range(half))
        self.linear_blocks = nn.ModuleList(nn.Linear(2 * dim, dim) for _ in range(half))
        self.norm = nn.LayerNorm(dim)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)

    def forward(self, x: Tensor, *memory: Tensor, valid: Tensor | None = None) -> Tensor:
        """x (B, S, d), with cross-attention also memory (B, n, d); valid (B, S) of x -> (B, S, d)."""
        skips: list[Tensor] = []
        for block in self.input_blocks:
            x = block(x, *memory, valid=valid)
            skips.append(x)
        x = self.middle_block(x, *memory, valid=valid)
        for block, join in zip(self.output_blocks, self.linear_blocks, strict=True):
            x = join(torch.cat((x, skips.pop()), dim=-1))
            x = block(x, *memory, valid=valid)
        return self.norm(x)


class LearnedPosition(nn.Module):
    """A table of learned positions, `pe` (positions, 1, d), added from its first row on."""

    def __init__(self, dim: int, positions: int = 500) -> None:
        super().__init__()
        self.pe = nn.Parameter(torch.empty(positions, 1, dim).uniform_())

    def forward(self, x: Tensor) -> Tensor:
        """(B, S, d) -> (B, S, d). Raises ValueError where the sequence outgrows the table."""
        if x.shape[1] > self.pe.shape[0]:
            raise ValueError(f"a sequence of {x.shape[1]} outgrows the table of {self.pe.shape[0]} positions")
        return x + self.pe[: x.shape[1], 0]
