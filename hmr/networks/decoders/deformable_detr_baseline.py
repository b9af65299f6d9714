"""Deformable DETR as an HMR network: ResNet-50, deformable encoder and decoder, 26 SMPL queries.

Sources: Heo and Hu, "Deformable Transformer with Feature Upsampling for HMR", the baseline of their table of
results (102.2 mm MPJPE on 3DPW); Deformable DETR (Zhu et al. 2021, arXiv 2010.04159) for the network: four
levels, the last three of the ResNet and a stride-2 convolution on top, sine position codes with a learned
vector per level, six layers each way. The paper prints 89 M parameters but not the width; the defaults are
Deformable DETR's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bodycast.hmr.networks.decoders.deformable import (
    DeformableAttention,
    DeformableDecoder,
    DeformableDecoderLayer,
    Shapes,
    SmplQueries,
    project_level,
)
from bodycast.hmr.networks.decoders.smpl_transformer import SmplPrediction
from bodycast.hmr.networks.layers import map_to_tokens

RESNET50_CHANNELS = (512, 1024, 2048)


class DeformableEncoderLayer(nn.Module):
    """Deformable self-attention of all cells of all levels, feed-forward; each added, then normalised."""

    def __init__(self, width: int, heads: int, levels: int, points: int, ff_width: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.self_attn = DeformableAttention(width, heads, levels, points)
        self.norm1 = nn.LayerNorm(width)
        self.linear1 = nn.Linear(width, ff_width)
        self.linear2 = nn.Linear(ff_width, width)
        self.norm2 = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, position: Tensor, reference: Tensor, shapes: Shapes) -> Tensor:
        """x (B, S, width), position (1, S, width), reference (B, S, levels, 2). Returns (B, S, width)."""
        x = self.norm1(x + self.dropout(self.self_attn(x + position, reference, x, shapes)))
        return self.norm2(x + self.dropout(self.linear2(self.dropout(F.relu(self.linear1(x))))))


class DeformableDetrHmr(nn.Module):
    """Crops to SMPL parameters without a ViT.

    width, heads, points, layers, ff_width: of the deformable encoder and decoder, which have `layers` each.
    image_hw: size of the crops. score: an extra readout of ours. No weights are downloaded.
    """

    def __init__(
        self,
        *,
        width: int = 256,
        heads: int = 8,
        points: int = 4,
        layers: int = 6,
        ff_width: int = 1024,
        dropout: float = 0.0,
        image_hw: tuple[int, int] = (256, 192),
        score: bool = False,
        backbone: nn.Module | None = None,
        backbone_channels: Sequence[int] = RESNET50_CHANNELS,
    ) -> None:
        """backbone: gives maps of strides 8, 16 and 32 with `backbone_channels`; None builds a ResNet-50."""
        super().__init__()
        levels = len(backbone_channels) + 1
        self.image_hw = image_hw
        self.backbone = resnet50() if backbone is None else backbone
        self.input_proj = nn.ModuleList(
            [project_level(c, width) for c in backbone_channels]
            + [project_level(backbone_channels[-1], width, kernel=3, stride=2)]
        )
        self.level_embed = nn.Parameter(torch.randn(levels, width))
        self.encoder = nn.ModuleList(
            DeformableEncoderLayer(width, heads, levels, points, ff_width, dropout) for _ in range(layers)
        )
        self.decoder = DeformableDecoder(
            [
                DeformableDecoderLayer(
                    width, heads, ff_width, DeformableAttention(width, heads, levels, points), dropout
                )
                for _ in range(layers)
            ]
        )
        self.smpl = SmplQueries(width, score)

    def forward(self, images: Tensor) -> SmplPrediction:
        """Normalised images (B, 3, H, W) to SMPL parameters."""
        maps = list(self.backbone(images))
        maps.append(maps[-1])
        levels = [projection(m) for projection, m in zip(self.input_proj, maps, strict=True)]
        shapes = [(m.shape[2], m.shape[3]) for m in levels]
        memory = torch.cat([map_to_tokens(m) for m in levels], dim=1)
        position = torch.cat(
            [detr_position(h, w, memory.shape[-1], memory) + self.level_embed[i] for i, (h, w) in enumerate(shapes)]
        ).unsqueeze(0)
        reference = cell_centres(shapes, memory)[None, :, None].expand(memory.shape[0], -1, len(shapes), -1)
        for layer in self.encoder:
            memory = layer(memory, position, reference, shapes)
        content, query_position, query_reference = self.smpl.queries(memory.shape[0])
        outputs, _ = self.decoder(content, query_position, query_reference, memory, shapes)
        return self.smpl.read(outputs[-1])


def resnet50() -> nn.Module:
    """timm's ResNet-50 without weights, giving the maps of strides 8, 16 and 32.

    Raises ImportError naming the requirements file where timm is not installed.
    """
    try:
        import timm
    except ImportError as error:
        raise ImportError("ResNet-50 comes from timm: install requirements/export.txt") from error
    return timm.create_model("resnet50", pretrained=False, features_only=True, out_indices=(2, 3, 4))


def cell_centres(shapes: Shapes, like: Tensor) -> Tensor:
    """Centres (x, y) of all cells of all levels in 0..1, (S, 2)."""
    centres = []
    for height, width in shapes:
        y = (torch.arange(height, device=like.device, dtype=like.dtype) + 0.5) / height
        x = (torch.arange(width, device=like.device, dtype=like.dtype) + 0.5) / width
        centres.append(torch.stack((x.expand(height, -1), y.unsqueeze(1).expand(-1, width)), dim=-1).flatten(0, 1))
    return torch.cat(centres)


def detr_position(height: int, width: int, channels: int, like: Tensor) -> Tensor:
    """DETR's sine position code (height*width, channels): half codes y, half x, over one turn across the map.

    Sines and cosines alternate, at frequencies 10000^(-2i / (channels/2)).
    """
    if channels % 4:
        raise ValueError(f"a 2D sine code needs channels divisible by 4, got {channels}")
    half = channels // 2
    steps = torch.arange(half // 2, device=like.device, dtype=torch.float32)
    frequency = torch.exp(steps * (-2 * math.log(10000.0) / half))

    def code(cells: int) -> Tensor:
        at = (torch.arange(cells, device=like.device, dtype=torch.float32) + 0.5) * (2 * math.pi / cells)
        angle = at.unsqueeze(1) * frequency
        return torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(1)

    y, x = code(height).unsqueeze(1).expand(-1, width, -1), code(width).unsqueeze(0).expand(height, -1, -1)
    return torch.cat((y, x), dim=-1).flatten(0, 1).to(like.dtype)
