"""Deformable DETR: the attention's core, one attention module, the decoder stack."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor, nn

from bodycast.hmr.networks.decoders.deformable import (
    DeformableAttention,
    DeformableDecoder,
    DeformableDecoderLayer,
    sample_and_weigh,
)
from evaluation.goldens.record import Answers, Golden
from evaluation.goldens.sizes import count_indices


def run(golden: Golden) -> Answers:
    """Sizes from the tensors' shapes; heads and points from the configuration."""
    heads, points = golden.setting("heads"), golden.setting("points")
    shapes = [(int(h), int(w)) for h, w in golden.array("spatial_shapes")]
    tensor = golden.tensor

    def attention(width: int) -> DeformableAttention:
        return DeformableAttention(width, heads, len(shapes), points)

    @cache
    def single() -> DeformableAttention:
        module = attention(len(golden.weight("attn.output_proj.weight")))
        module.load_state_dict(golden.state_tensors("attn."))
        return module.eval()

    def read(reference: str, *mask: Tensor) -> Tensor:
        return single()(tensor("query"), tensor(reference), tensor("memory"), shapes, *mask)

    @cache
    def decode(refine: bool, masked: bool) -> tuple[list[Tensor], list[Tensor]]:
        decoder = _stack(golden, attention, refine)
        memory, queries = tensor("memory"), tensor("query_embed")
        position, content = (part.expand(memory.shape[0], -1, -1) for part in queries.chunk(2, dim=1))
        points_map = nn.Linear(position.shape[-1], 2)
        points_map.load_state_dict(golden.state_tensors("reference_points."))
        reference = points_map(position).sigmoid()
        mask = (tensor("padding_mask").bool(), tensor("valid_ratios")) if masked else ()
        return decoder(content, position, reference, memory, shapes, *mask)

    return {
        "core": lambda: sample_and_weigh(
            tensor("value"), shapes, tensor("sampling_locations"), tensor("attention_weights")
        ),
        "attn_ref2": lambda: read("ref2"),
        "attn_ref2_masked": lambda: read("ref2", tensor("padding_mask").bool()),
        "attn_ref4": lambda: read("ref4"),
        "decoder_layers": lambda: torch.stack(decode(False, False)[0]),
        "decoder_layers_masked": lambda: torch.stack(decode(False, True)[0]),
        "decoder_layers_refine": lambda: torch.stack(decode(True, False)[0]),
        "decoder_refs_refine": lambda: torch.stack(decode(True, False)[1]),
    }


def _stack(golden: Golden, attention: Callable[[int], DeformableAttention], refine: bool) -> DeformableDecoder:
    """The decoder, with or without the maps that move its reference points."""
    depth = count_indices(golden.state, r"^decoder\.layers\.(\d+)\.")
    hidden, width = golden.weight("decoder.layers.0.linear1.weight").shape
    layers = [DeformableDecoderLayer(width, golden.setting("heads"), hidden, attention(width)) for _ in range(depth)]
    decoder = DeformableDecoder(layers, [nn.Linear(width, 2) for _ in range(depth)] if refine else None)
    state = golden.state_tensors("decoder.")
    if refine:
        state |= {f"bbox_embed.{key}": value for key, value in golden.state_tensors("bbox_embed.").items()}
    decoder.load_state_dict(state)
    return decoder.eval()
