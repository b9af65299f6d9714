"""Flat vision transformer in the HMR2.0 / ViTPose layout, sizes S, B, L and H.

Sources: ViTPose (Xu et al. 2022, arXiv 2204.12484) for the sizes; Humans in 4D / HMR2.0 (Goel et al. 2023,
arXiv 2305.20091) for the layout and the state-dict key names, which are kept (prefix `backbone.` removed).
What differs from a timm ViT: the patch convolution has padding 2, and there is no class token in the sequence
although the position table keeps its slot (that vector is added to every token).

Blocks are written in two halves, `forward_attention` and `forward_mlp`, so that token merging can act between
them and layer merging can average or drop whole blocks. Attention is a plain matmul and softmax: that exports
to ONNX with a dynamic batch, which a fused attention call does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from bodycast.hmr.networks.encoders.common import check_images
from bodycast.hmr.networks.layers import DropPath, Mlp, drop_path_rates, init_linear, tokens_to_map

LAYER_NORM_EPS = 1e-6
PATCH_PADDING = 2


@dataclass(frozen=True)
class ViTSize:
    """Width, number of blocks, attention heads and drop-path rate of one published size."""

    dim: int
    depth: int
    heads: int
    drop_path: float


SIZES: dict[str, ViTSize] = {
    "s": ViTSize(384, 12, 12, 0.1),
    "b": ViTSize(768, 12, 12, 0.3),
    "l": ViTSize(1024, 24, 16, 0.5),
    "h": ViTSize(1280, 32, 16, 0.55),
}


class PatchEmbed(nn.Module):
    """Non-overlapping patches as a strided convolution with the padding of HMR2.0."""

    def __init__(self, patch_size: int, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, patch_size, stride=patch_size, padding=PATCH_PADDING)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> row-major tokens (B, N, dim)."""
        return self.proj(images).flatten(2).transpose(1, 2)


class Attention(nn.Module):
    """Multi-head self-attention with what token merging needs: keys out, a bias per key in."""

    def __init__(self, dim: int, heads: int, qkv_bias: bool = True) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"width {dim} is not a multiple of the {heads} heads")
        self.heads = heads
        self.scale = (dim // heads) ** -0.5
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, key_logit_bias: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Attend over all tokens.

        Args:
            x: tokens (B, N, dim).
            key_logit_bias: (B, N), added to the logits of each key for all heads and queries, e.g.
                log(token size) for the proportional attention of token merging.

        Returns:
            The projected result (B, N, dim) and the keys averaged over heads (B, N, dim / heads).
        """
        batch, tokens, dim = x.shape
        qkv = self.qkv(x).reshape(batch, tokens, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0], qkv[1], qkv[2]  # (B, heads, N, dim / heads)
        logits = (q * self.scale) @ k.transpose(-2, -1)
        if key_logit_bias is not None:
            logits = logits + key_logit_bias[:, None, None, :]
        out = logits.softmax(dim=-1) @ v
        return self.proj(out.transpose(1, 2).reshape(batch, tokens, dim)), k.mean(dim=1)


class Block(nn.Module):
    """Pre-norm transformer block in two halves: x + attention(norm1(x)), then x + mlp(norm2(x))."""

    def __init__(self, dim: int, heads: int, mlp_ratio: float = 4.0, drop_path: float = 0.0) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=LAYER_NORM_EPS)
        self.attn = Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim, eps=LAYER_NORM_EPS)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))
        self.drop_path = DropPath(drop_path)

    def forward_attention(self, x: Tensor, key_logit_bias: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """First half, residual included: tokens (B, N, dim) and head-averaged keys (B, N, dim / heads)."""
        out, keys = self.attn(self.norm1(x), key_logit_bias)
        return x + self.drop_path(out), keys

    def forward_mlp(self, x: Tensor) -> Tensor:
        """Second half, residual included: (B, N, dim) -> (B, N, dim)."""
        return x + self.drop_path(self.mlp(self.norm2(x)))

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, dim) -> (B, N, dim)."""
        return self.forward_mlp(self.forward_attention(x)[0])


class ViT(nn.Module):
    """The encoder of HMR2.0: patches, `depth` blocks, `last_norm`.

    Args:
        dim, depth, heads, mlp_ratio: the sizes of `SIZES`, or any others.
        image_hw: input height and width in pixels, fixed at construction by the position table.
        patch_size: side of a patch in pixels.
        drop_path: rate of the last block; earlier ones rise linearly to it.

    Attributes:
        feature_info: `[(dim, patch_size)]`: channels and stride of the one map that `forward` returns.
        grid_hw: token rows and columns, (16, 12) at 256x192.
        blocks: `nn.ModuleList` of `Block`.
    """

    def __init__(
        self,
        dim: int,
        depth: int,
        heads: int,
        mlp_ratio: float = 4.0,
        image_hw: tuple[int, int] = (256, 192),
        patch_size: int = 16,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.image_hw = image_hw
        rows, columns = ((side + 2 * PATCH_PADDING - patch_size) // patch_size + 1 for side in image_hw)
        if min(rows, columns) < 1:
            raise ValueError(f"image size {image_hw} (h, w) is smaller than one patch of {patch_size} px")
        self.grid_hw = (rows, columns)
        self.feature_info = [(dim, patch_size)]
        self.patch_embed = PatchEmbed(patch_size, dim)
        self.pos_embed = nn.Parameter(torch.zeros(1, rows * columns + 1, dim))
        self.blocks = nn.ModuleList(Block(dim, heads, mlp_ratio, rate) for rate in drop_path_rates(drop_path, depth))
        self.last_norm = nn.LayerNorm(dim, eps=LAYER_NORM_EPS)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        self.apply(init_linear)

    def embed(self, images: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) -> tokens with positions (B, N, dim), ready for the first block."""
        check_images(images, self.image_hw)
        return self.patch_embed(images) + self.pos_embed[:, 1:] + self.pos_embed[:, :1]

    def forward_tokens(self, images: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) -> normed row-major tokens (B, N, dim)."""
        x = self.embed(images)
        for block in self.blocks:
            x = block(x)
        return self.last_norm(x)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Normalised images (B, 3, H, W) -> [map (B, dim, rows, columns)], after `last_norm`."""
        return [tokens_to_map(self.forward_tokens(images), self.grid_hw)]

    def forward_blocks(self, images: Tensor, taps: tuple[int, ...] = (16, 32)) -> list[Tensor]:
        """Raw maps (B, dim, rows, columns) after the given blocks, without `last_norm`.

        Args:
            images: normalised, (B, 3, H, W).
            taps: block counts, rising, 1 being "after the first block". The deformable-decoder paper taps
                ViT-H after 16 and 32.

        Raises:
            ValueError: taps that do not rise or lie outside 1..depth.
        """
        if not taps or taps[0] < 1 or taps[-1] > len(self.blocks) or any(b <= a for a, b in pairwise(taps)):
            raise ValueError(f"taps must rise within 1..{len(self.blocks)}, got {taps}")
        x = self.embed(images)
        maps = []
        for count, block in enumerate(self.blocks[: taps[-1]], start=1):
            x = block(x)
            if count in taps:
                maps.append(tokens_to_map(x, self.grid_hw))
        return maps


def vit(size: str, image_hw: tuple[int, int] = (256, 192), drop_path: float | None = None) -> ViT:
    """A published size by name: s, b, l or h. `drop_path` None takes the published training rate."""
    if size not in SIZES:
        raise ValueError(f"no ViT size {size!r}; there are {', '.join(SIZES)}")
    s = SIZES[size]
    rate = s.drop_path if drop_path is None else drop_path
    return ViT(s.dim, s.depth, s.heads, image_hw=image_hw, drop_path=rate)
