"""Multi-scale deformable attention, and the 26-query SMPL decoder built on it.

Sources: Deformable DETR (Zhu et al. 2021, arXiv 2010.04159) for the attention, the layer and the parameter
names; Heo and Hu, "Deformable Transformer with Feature Upsampling for HMR", for the decoder: 24 pose queries,
one for shape and one for the camera, 8 points per head, residuals added once to the mean parameters.

Sampling is `grid_sample` per level, which exports. Where we differ, and why: the paper projects the values of
two 64x48 maps of 1280 channels in each of six layers, about 60 GMACs, half of ViT-H. Here the maps can be
projected to a smaller `width` once, and one value projection can serve all layers
(`value_projection="shared"`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bodycast.hmr.networks.decoders.smpl_transformer import BETAS, JOINTS, MeanParameters, SmplPrediction
from bodycast.hmr.networks.layers import map_to_tokens
from bodycast.hmr.networks.rotation import rotmat_from_6d

QUERIES = JOINTS + 2
Shapes = Sequence[tuple[int, int]]

DEFORMABLE_PRESETS: dict[str, dict[str, Any]] = {
    # The paper prints width 1280, 8 points and 713 M parameters in all; with its two levels, 20 heads and FF
    # 1024 meet that number (10 heads on four levels would as well).
    "paper": {"width": 1280, "heads": 20, "points": 8, "layers": 6, "ff_width": 1024},
    # For live use: maps projected to 256 channels once, one value projection for all layers.
    "light": {
        "width": 256,
        "heads": 8,
        "points": 4,
        "layers": 3,
        "ff_width": 512,
        "value_projection": "shared",
    },
}


def sample_and_weigh(value: Tensor, shapes: Shapes, locations: Tensor, weights: Tensor) -> Tensor:
    """The core of multi-scale deformable attention.

    value (B, S, heads, d): all levels' cells, level after level, row by row. shapes: (H, W) of each level.
    locations (B, Q, heads, levels, points, 2): (x, y), 0..1 across the map, zero is read outside of it.
    weights (B, Q, heads, levels, points). Returns (B, Q, heads * d).
    """
    _, _, heads, width = value.shape
    queries, points = locations.shape[1], locations.shape[4]
    grids = (2 * locations - 1).transpose(1, 2).flatten(0, 1)  # (B*heads, Q, levels, points, 2)
    samples = []
    for level, (part, (height, columns)) in enumerate(
        zip(value.split([h * w for h, w in shapes], dim=1), shapes, strict=True)
    ):
        # (B, H*W, heads, d) -> (B*heads, d, H, W); sampled to (B*heads, d, Q, points)
        plane = part.permute(0, 2, 3, 1).flatten(0, 1).unflatten(-1, (height, columns))
        samples.append(
            F.grid_sample(plane, grids[:, :, level], mode="bilinear", padding_mode="zeros", align_corners=False)
        )
    sampled = torch.cat(samples, dim=-1)
    per_head = weights.transpose(1, 2).reshape(-1, 1, queries, len(shapes) * points)
    out = (sampled * per_head).sum(-1)  # (B*heads, d, Q)
    return out.reshape(-1, heads * width, queries).transpose(1, 2)


class DeformableAttention(nn.Module):
    """Multi-scale deformable attention: every query reads `points` places per head and level of the maps.

    offset_temperature multiplies the learned offsets: above 1 the points spread wider around their reference
    (the authors of the HMR paper saw them cluster in the centre and suggest a temperature). 1 is official.
    own_value_projection=False leaves the projection of the values to the caller.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        levels: int,
        points: int,
        offset_temperature: float = 1.0,
        own_value_projection: bool = True,
    ) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not a multiple of the {heads} heads")
        self.heads, self.levels, self.points = heads, levels, points
        self.offset_temperature = offset_temperature
        self.sampling_offsets = nn.Linear(width, heads * levels * points * 2)
        self.attention_weights = nn.Linear(width, heads * levels * points)
        self.value_proj = nn.Linear(width, width) if own_value_projection else None
        self.output_proj = nn.Linear(width, width)
        self._reset()

    def _reset(self) -> None:
        """Points start on `heads` rays around the reference, one to `points` cells away, equally weighted."""
        angle = torch.arange(self.heads, dtype=torch.float32) * (2 * math.pi / self.heads)
        ray = torch.stack((angle.cos(), angle.sin()), dim=-1)
        ray = ray / ray.abs().amax(dim=-1, keepdim=True)
        steps = torch.arange(1, self.points + 1, dtype=torch.float32)
        bias = ray[:, None, None, :] * steps[None, None, :, None]
        nn.init.zeros_(self.sampling_offsets.weight)
        with torch.no_grad():
            self.sampling_offsets.bias.copy_(bias.expand(-1, self.levels, -1, -1).flatten())
        nn.init.zeros_(self.attention_weights.weight)
        nn.init.zeros_(self.attention_weights.bias)
        for layer in (self.value_proj, self.output_proj):
            if layer is not None:
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)

    def forward(
        self,
        query: Tensor,
        reference: Tensor,
        memory: Tensor,
        shapes: Shapes,
        padding_mask: Tensor | None = None,
    ) -> Tensor:
        """Read from `memory` around `reference`.

        query (B, Q, width). reference (B, Q, levels, 2), points (x, y) in 0..1, or (..., 4), boxes (x, y, w,
        h). memory (B, S, width), the flattened levels of `shapes`; padding_mask (B, S), true where there is
        nothing. Returns (B, Q, width).
        """
        batch, queries, _ = query.shape
        value = memory if self.value_proj is None else self.value_proj(memory)
        if padding_mask is not None:
            value = value.masked_fill(padding_mask.unsqueeze(-1), 0.0)
        layout = (self.heads, self.levels, self.points)
        offsets = self.sampling_offsets(query).reshape(batch, queries, *layout, 2) * self.offset_temperature
        weights = self.attention_weights(query).reshape(batch, queries, self.heads, -1).softmax(dim=-1)
        if reference.shape[-1] == 2:
            # Filled on the device: a copy from the host could not be recorded in a CUDA graph.
            sizes = torch.stack([query.new_full((), side) for h, w in shapes for side in (w, h)]).reshape(-1, 2)
            locations = reference[:, :, None, :, None] + offsets / sizes[:, None]
        else:
            half = reference[:, :, None, :, None, 2:] * 0.5
            locations = reference[:, :, None, :, None, :2] + offsets / self.points * half
        value = value.unflatten(-1, (self.heads, -1))
        weights = weights.reshape(batch, queries, *layout)
        return self.output_proj(sample_and_weigh(value, shapes, locations, weights))


class SelfAttention(nn.Module):
    """Multi-head self-attention under torch's parameter names (`in_proj_weight`, `out_proj`), as two
    products.

    torch's own module uses the fused operator, which fixes the batch size when it is exported.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, x: Tensor, position: Tensor) -> Tensor:
        """x and position (B, Q, width); the position counts in queries and keys, not in values."""
        weight_q, weight_k, weight_v = self.in_proj_weight.chunk(3)
        bias_q, bias_k, bias_v = self.in_proj_bias.chunk(3)
        at = x + position
        q, k = F.linear(at, weight_q, bias_q), F.linear(at, weight_k, bias_k)
        v = F.linear(x, weight_v, bias_v)
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (q, k, v))
        logits = (q * (1 / math.sqrt(q.shape[-1]))) @ k.transpose(-1, -2)
        return self.out_proj((logits.softmax(dim=-1) @ v).transpose(1, 2).flatten(2))


class DeformableDecoderLayer(nn.Module):
    """Self-attention, deformable cross-attention, feed-forward; each added to its input, then normalised.

    The norms' numbers are the official ones: norm2 after self-attention, norm1 after cross-attention, norm3
    last.
    """

    def __init__(
        self, width: int, heads: int, ff_width: int, cross_attention: DeformableAttention, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.cross_attn = cross_attention
        self.self_attn = SelfAttention(width, heads)
        self.linear1 = nn.Linear(width, ff_width)
        self.linear2 = nn.Linear(ff_width, width)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: Tensor,
        position: Tensor,
        reference: Tensor,
        memory: Tensor,
        shapes: Shapes,
        padding_mask: Tensor | None = None,
    ) -> Tensor:
        """x, position (B, Q, width); the other arguments as in DeformableAttention. Returns (B, Q, width)."""
        x = self.norm2(x + self.dropout(self.self_attn(x, position)))
        read = self.cross_attn(x + position, reference, memory, shapes, padding_mask)
        x = self.norm1(x + self.dropout(read))
        return self.norm3(x + self.dropout(self.linear2(self.dropout(F.relu(self.linear1(x))))))


class DeformableDecoder(nn.Module):
    """A stack of layers. With `refine` (one map from width to 2 per layer) each layer moves the reference
    points for the next in logit space; without, all layers share them (the default of Deformable DETR)."""

    def __init__(self, layers: Sequence[DeformableDecoderLayer], refine: Sequence[nn.Module] | None = None) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.bbox_embed = None if refine is None else nn.ModuleList(refine)

    def forward(
        self,
        x: Tensor,
        position: Tensor,
        reference: Tensor,
        memory: Tensor,
        shapes: Shapes,
        padding_mask: Tensor | None = None,
        valid_ratios: Tensor | None = None,
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Outputs (B, Q, width) and reference points (B, Q, 2) after every layer.

        reference (B, Q, 2) in 0..1. valid_ratios (B, levels, 2): share of each map, (w, h), that is no
        padding.
        """
        outputs, references = [], []
        for i, layer in enumerate(self.layers):
            points = reference[:, :, None].expand(-1, -1, len(shapes), -1)
            if valid_ratios is not None:
                points = points * valid_ratios[:, None]
            x = layer(x, position, points, memory, shapes, padding_mask)
            if self.bbox_embed is not None:
                reference = (self.bbox_embed[i](x) + torch.logit(reference, eps=1e-5)).sigmoid().detach()
            outputs.append(x)
            references.append(reference)
        return outputs, references


class SmplQueries(MeanParameters):
    """26 learnable queries and what is read from them: 24 x 6 pose, 10 shape, 3 camera numbers, added once to
    the mean parameters. Shared by the deformable decoders.

    reference_temperature multiplies the logits of the reference points: above 1 they reach the borders
        sooner.
    """

    def __init__(self, width: int, score: bool = False, reference_temperature: float = 1.0) -> None:
        super().__init__()
        self.reference_temperature = reference_temperature
        self.query_embed = nn.Embedding(QUERIES, 2 * width)
        self.reference_points = nn.Linear(width, 2)
        self.decpose = nn.Linear(width, 6)
        self.decshape = nn.Linear(width, BETAS)
        self.deccam = nn.Linear(width, 3)
        self.decscore = nn.Linear(width, 1) if score else None
        nn.init.xavier_uniform_(self.reference_points.weight)
        nn.init.zeros_(self.reference_points.bias)
        for readout in (self.decpose, self.decshape, self.deccam):
            nn.init.xavier_uniform_(readout.weight, gain=0.01)
            nn.init.zeros_(readout.bias)

    def queries(self, batch: int) -> tuple[Tensor, Tensor, Tensor]:
        """Content and position (B, 26, width) and reference points (B, 26, 2) for `batch` images."""
        position, content = self.query_embed.weight.chunk(2, dim=1)
        reference = (self.reference_points(position) * self.reference_temperature).sigmoid()
        content, position, reference = (t.expand(batch, -1, -1) for t in (content, position, reference))
        return content, position, reference

    def read(self, out: Tensor) -> SmplPrediction:
        """SMPL parameters from the decoder's output (B, 26, width); the token is the queries' mean."""
        pose6d = self.decpose(out[:, :JOINTS]) + self.init_body_pose.unflatten(-1, (JOINTS, 6))
        token = out.mean(dim=1)
        return SmplPrediction(
            pose6d=pose6d,
            rotmat=rotmat_from_6d(pose6d),
            betas=self.decshape(out[:, JOINTS]) + self.init_betas,
            camera=self.deccam(out[:, JOINTS + 1]) + self.init_cam,
            token=token,
            score=None if self.decscore is None else self.decscore(token).sigmoid().squeeze(-1),
        )


class DeformableSmplDecoder(nn.Module):
    """SMPL parameters from one to four feature maps by deformable attention.

    channels: of each map, one entry per level; a map whose channels are not `width` gets a 1x1 convolution
        and a group norm first. points: per head and level. score: an extra readout of ours.
    value_projection: "per_layer" (paper) or "shared", one for all layers.
    offset_temperature, reference_temperature: see DeformableAttention and SmplQueries.
    """

    def __init__(
        self,
        channels: Sequence[int],
        *,
        width: int = 1280,
        heads: int = 20,
        points: int = 8,
        layers: int = 6,
        ff_width: int = 1024,
        value_projection: Literal["per_layer", "shared"] = "per_layer",
        offset_temperature: float = 1.0,
        reference_temperature: float = 1.0,
        dropout: float = 0.0,
        score: bool = False,
    ) -> None:
        super().__init__()
        if value_projection not in ("per_layer", "shared"):
            raise ValueError(f'value_projection must be "per_layer" or "shared", got {value_projection!r}')
        self.channels = tuple(channels)
        self.width = width
        self.input_proj = nn.ModuleList(nn.Identity() if c == width else project_level(c, width) for c in channels)
        shared = value_projection == "shared"
        self.value_proj = nn.Linear(width, width) if shared else None
        levels = len(self.channels)
        self.decoder = DeformableDecoder(
            [
                DeformableDecoderLayer(
                    width,
                    heads,
                    ff_width,
                    DeformableAttention(width, heads, levels, points, offset_temperature, not shared),
                    dropout,
                )
                for _ in range(layers)
            ]
        )
        self.smpl = SmplQueries(width, score, reference_temperature)

    @classmethod
    def from_preset(cls, name: str, channels: Sequence[int], **changes: Any) -> DeformableSmplDecoder:
        """A decoder of the named size (DEFORMABLE_PRESETS), single arguments changed by keyword."""
        if name not in DEFORMABLE_PRESETS:
            raise KeyError(f"no deformable preset {name!r}; there are {sorted(DEFORMABLE_PRESETS)}")
        return cls(channels, **(DEFORMABLE_PRESETS[name] | changes))

    def forward(self, maps: Sequence[Tensor]) -> SmplPrediction:
        """Decode maps (B, channels[i], H_i, W_i). Raises ValueError where number or channels do not fit."""
        got = tuple(m.shape[1] for m in maps)
        if got != self.channels:
            raise ValueError(f"the decoder takes maps with {self.channels} channels, got {got}")
        levels = [projection(m) for projection, m in zip(self.input_proj, maps, strict=True)]
        shapes = [(m.shape[2], m.shape[3]) for m in levels]
        memory = torch.cat([map_to_tokens(m) for m in levels], dim=1)
        if self.value_proj is not None:
            memory = self.value_proj(memory)
        content, position, reference = self.smpl.queries(memory.shape[0])
        outputs, _ = self.decoder(content, position, reference, memory, shapes)
        return self.smpl.read(outputs[-1])


def project_level(channels: int, width: int, kernel: int = 1, stride: int = 1) -> nn.Sequential:
    """Convolution to `width` channels and group norm (32 groups where they divide the width)."""
    return nn.Sequential(
        nn.Conv2d(channels, width, kernel, stride=stride, padding=kernel // 2),
        nn.GroupNorm(32 if width % 32 == 0 else 1, width),
    )
