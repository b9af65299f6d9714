"""Deformable DETR: the attention's core, one attention module, the decoder stack."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from evaluation.goldens.record import Golden
from hmr.networks.decoders.deformable import (
    DeformableAttention,
    DeformableDecoder,
    DeformableDecoderLayer,
    sample_and_weigh,
)


def run(golden: Golden) -> dict[str, NDArray[Any]]:
    """Sizes from the configuration and the tensors' shapes."""
    config = golden.config
    width, heads, points, depth = config["d"], config["heads"], config["points"], config["layers"]
    inputs = {name: golden.tensor(name) for name in golden.inputs}
    shapes = [(int(h), int(w)) for h, w in inputs["spatial_shapes"]]
    memory, batch = inputs["memory"], inputs["memory"].shape[0]

    def attention() -> DeformableAttention:
        return DeformableAttention(width, heads, len(shapes), points)

    def stack(refine: bool) -> DeformableDecoder:
        layers = [DeformableDecoderLayer(width, heads, config["ffn"], attention()) for _ in range(depth)]
        decoder = DeformableDecoder(layers, [nn.Linear(width, 2) for _ in range(depth)] if refine else None)
        state = golden.state_tensors("decoder.")
        if refine:
            state |= {f"bbox_embed.{k}": v for k, v in golden.state_tensors("bbox_embed.").items()}
        decoder.load_state_dict(state)
        return decoder.eval()

    single = attention()
    single.load_state_dict(golden.state_tensors("attn."))
    position, content = (part.expand(batch, -1, -1) for part in inputs["query_embed"].split(width, dim=1))
    points_map = nn.Linear(width, 2)
    points_map.load_state_dict(golden.state_tensors("reference_points."))
    reference = points_map(position).sigmoid()
    start = (content, position, reference, memory, shapes)
    mask = inputs["padding_mask"]
    plain, _ = stack(refine=False)(*start)
    masked, _ = stack(refine=False)(*start, mask, inputs["valid_ratios"])
    query = inputs["query"]
    answers: dict[str, Tensor] = {
        "core": sample_and_weigh(inputs["value"], shapes, inputs["sampling_locations"], inputs["attention_weights"]),
        "attn_ref2": single(query, inputs["ref2"], memory, shapes),
        "attn_ref2_masked": single(query, inputs["ref2"], memory, shapes, mask),
        "attn_ref4": single(query, inputs["ref4"], memory, shapes),
        "decoder_layers": torch.stack(plain),
        "decoder_layers_masked": torch.stack(masked),
    }
    if "decoder_layers_refine" in golden.outputs:
        refined, references = stack(refine=True)(*start)
        answers |= {"decoder_layers_refine": torch.stack(refined), "decoder_refs_refine": torch.stack(references)}
    return {name: answers[name].numpy() for name in golden.outputs if name in answers}
