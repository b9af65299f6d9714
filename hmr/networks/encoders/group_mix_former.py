"""GroupMixFormer, sizes Mini, T, S, B and L, cut after any stage.

Source: "Advancing Vision Transformers with Group-Mix Attention" (Ge et al. 2023, arXiv 2311.15157), written from the
description; state-dict keys are those of the official code, so its weights load as they are (without `norm4`, `head`).

Group-mix attention splits queries, keys and values by channel into five equal segments. One passes as it is, three
are aggregated by separable convolutions of size 3, 5 and 7, so that attention relates groups of tokens of several
sizes. The fifth segments of q, k and v together go through a convolution and past the attention. The attention itself
is linear in the number of tokens and has no windows, so any input size fits without padding.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bodycast.hmr.networks.encoders.common import MapNorm, check_cut, check_images, map_norms
from bodycast.hmr.networks.layers import DropPath, Mlp, drop_path_rates, init_linear, map_to_tokens, tokens_to_map

BLOCK_NORM_EPS = 1e-6
BYPASS_NORM_EPS = 1e-5
SEGMENTS = 5
HEADS = 8
# Window of the relative position term -> number of heads that use it.
POSITION_WINDOWS = {3: 2, 5: 3, 7: 3}


@dataclass(frozen=True)
class GroupMixFormerSize:
    """Channels, blocks and MLP ratio per stage, drop-path rate."""

    dims: tuple[int, ...]
    depths: tuple[int, ...]
    mlp_ratios: tuple[float, ...]
    drop_path: float


SIZES: dict[str, GroupMixFormerSize] = {
    "mini": GroupMixFormerSize((40, 80, 160, 160), (3, 3, 12, 4), (4, 4, 4, 4), 0.1),
    "t": GroupMixFormerSize((80, 160, 200, 240), (4, 4, 12, 4), (4, 4, 4, 4), 0.1),
    "s": GroupMixFormerSize((80, 160, 320, 320), (2, 4, 12, 4), (4, 4, 4, 4), 0.2),
    "b": GroupMixFormerSize((200, 240, 320, 480), (8, 8, 12, 8), (2, 2, 4, 4), 0.5),
    "l": GroupMixFormerSize((240, 320, 360, 480), (8, 10, 30, 10), (4, 4, 2, 2), 0.1),
}


class SeparableConv(nn.Module):
    """Depthwise k x k, then 1x1, both without bias."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_in, kernel, stride, kernel // 2, groups=channels_in, bias=False)
        self.pointwise_conv = nn.Conv2d(channels_in, channels_out, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels_in, H, W) -> (B, channels_out, H / stride, W / stride)."""
        return self.pointwise_conv(self.conv1(x))


class ConvStem(nn.Module):
    """Two 3x3 convolutions of stride 2: pixels to the stride-4 map."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj1 = nn.Conv2d(3, dim // 2, 3, 2, 1)
        self.norm1 = nn.BatchNorm2d(dim // 2)
        self.proj2 = nn.Conv2d(dim // 2, dim, 3, 2, 1)
        self.norm2 = nn.BatchNorm2d(dim)
        self.act = nn.Hardswish()

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, dim, H / 4, W / 4)."""
        x = self.act(self.norm1(self.proj1(images)))
        return self.act(self.norm2(self.proj2(x)))


class StageEmbed(nn.Module):
    """Separable 3x3 convolution that opens a stage; halves the map but in the first stage."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.proj = SeparableConv(channels_in, channels_out, 3, stride)
        self.norm = nn.BatchNorm2d(channels_out)
        self.act = nn.Hardswish()

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels_in, H, W) -> (B, channels_out, H / stride, W / stride)."""
        return self.act(self.norm(self.proj(x)))


class Bypass(nn.Module):
    """Mixes the fifth segments of q, k and v into one that skips the attention."""

    def __init__(self, segment: int) -> None:
        super().__init__()
        self.conv = SeparableConv(3 * segment, segment, 3)
        self.norm = nn.LayerNorm(segment, eps=BYPASS_NORM_EPS)
        self.act = nn.Hardswish()

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, 3 * segment, H, W) -> tokens (B, H*W, segment)."""
        return self.act(self.norm(map_to_tokens(self.conv(x))))


class Aggregator(nn.Module):
    """Group aggregation: segments 1 to 4 become group proxies of size 1, 3, 5 and 7, segment 5 the bypass."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        segment = dim // SEGMENTS
        self.segment = segment
        self.norm0 = nn.BatchNorm2d(segment)
        self.agg1 = SeparableConv(segment, segment, 3)
        self.norm1 = nn.BatchNorm2d(segment)
        self.agg2 = SeparableConv(segment, segment, 5)
        self.norm2 = nn.BatchNorm2d(segment)
        self.agg3 = SeparableConv(segment, segment, 7)
        self.norm3 = nn.BatchNorm2d(segment)
        self.agg0 = Bypass(segment)
        self.act = nn.Hardswish()

    def forward(self, qkv: Tensor) -> tuple[Tensor, Tensor]:
        """Aggregate.

        Args:
            qkv: maps (B * 3, dim, H, W); the three of one image are neighbours on the first axis. They share
                the convolutions and the batch norm's statistics.

        Returns:
            Proxies (B * 3, dim * 4 / 5, H, W) and bypass tokens (B, H*W, dim / 5).
        """
        own, three, five, seven, bypass = qkv.split(self.segment, dim=1)
        proxies = torch.cat(
            [
                self.act(self.norm0(own)),
                self.act(self.norm1(self.agg1(three))),
                self.act(self.norm2(self.agg2(five))),
                self.act(self.norm3(self.agg3(seven))),
            ],
            dim=1,
        )
        height, width = qkv.shape[-2:]
        return proxies, self.agg0(bypass.reshape(-1, 3 * self.segment, height, width))


class ConvPosition(nn.Module):
    """Relative position term: q times a depthwise convolution of v, larger windows for later heads."""

    def __init__(self, head_dim: int) -> None:
        super().__init__()
        self.splits = [heads * head_dim for heads in POSITION_WINDOWS.values()]
        self.conv_list = nn.ModuleList(
            nn.Conv2d(channels, channels, window, padding=window // 2, groups=channels)
            for window, channels in zip(POSITION_WINDOWS, self.splits, strict=True)
        )

    def forward(self, q: Tensor, v: Tensor) -> Tensor:
        """Maps (B, heads * head_dim, H, W), twice -> the same shape."""
        parts = v.split(self.splits, dim=1)
        return q * torch.cat([conv(part) for conv, part in zip(self.conv_list, parts, strict=True)], dim=1)


class GroupMixAttention(nn.Module):
    """Linear attention among group proxies, plus position term and bypass."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        if dim % SEGMENTS or (dim // SEGMENTS * 4) % HEADS:
            raise ValueError(f"width {dim}: four fifths of it must divide into {HEADS} heads")
        # The full width counts here, although only four fifths of it attend.
        self.scale = (dim // HEADS) ** -0.5
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.aggregator = Aggregator(dim)
        self.crpe = ConvPosition(dim // SEGMENTS * 4 // HEADS)

    def forward(self, x: Tensor, grid_hw: tuple[int, int]) -> Tensor:
        """Row-major tokens (B, H*W, dim) -> the same shape."""
        batch, tokens, dim = x.shape
        qkv = tokens_to_map(self.qkv(x), grid_hw).reshape(batch * 3, dim, *grid_hw)
        proxies, bypass = self.aggregator(qkv)
        q, k, v = proxies.reshape(batch, 3, -1, *grid_hw).unbind(1)  # (B, dim * 4 / 5, H, W)
        position = map_to_tokens(self.crpe(q, v))
        q, k, v = (m.reshape(batch, HEADS, -1, tokens) for m in (q, k, v))  # (B, heads, head_dim, H*W)
        # Softmax over positions makes k^T v a weighted mean per channel: linear in the number of tokens.
        context = k.softmax(dim=-1) @ v.transpose(-2, -1)  # (B, heads, head_dim k, head_dim v)
        attended = self.scale * (context.transpose(-2, -1) @ q)  # (B, heads, head_dim v, H*W)
        mixed = attended.reshape(batch, -1, tokens).transpose(1, 2) + position
        return self.proj(torch.cat([mixed, bypass], dim=-1))


class DepthwisePosition(nn.Module):
    """Conditional position encoding: x + depthwise 3x3 of x."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, dim, H, W) -> the same shape."""
        return x + self.proj(x)


class GroupMixBlock(nn.Module):
    """Position convolution, group-mix attention, MLP, each with a residual."""

    def __init__(self, dim: int, mlp_ratio: float, drop_path: float) -> None:
        super().__init__()
        self.cpe = DepthwisePosition(dim)
        self.norm1 = nn.LayerNorm(dim, eps=BLOCK_NORM_EPS)
        self.att = GroupMixAttention(dim)
        self.norm2 = nn.LayerNorm(dim, eps=BLOCK_NORM_EPS)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """(B, dim, H, W) -> the same shape."""
        grid_hw = (x.shape[-2], x.shape[-1])
        tokens = map_to_tokens(self.cpe(x))
        tokens = tokens + self.drop_path(self.att(self.norm1(tokens), grid_hw))
        tokens = tokens + self.drop_path(self.mlp(self.norm2(tokens)))
        return tokens_to_map(tokens, grid_hw)


class GroupMixStage(nn.Module):
    """The blocks of one stage."""

    def __init__(self, dim: int, mlp_ratio: float, rates: list[float]) -> None:
        super().__init__()
        self.gma_stage = nn.ModuleList(GroupMixBlock(dim, mlp_ratio, rate) for rate in rates)

    def forward(self, x: Tensor) -> Tensor:
        """(B, dim, H, W) -> the same shape."""
        for block in self.gma_stage:
            x = block(x)
        return x


class GroupMixFormer(nn.Module):
    """The first `stages` stages of a GroupMixFormer.

    Args:
        dims, depths, mlp_ratios: channels, blocks and MLP ratio per stage; entries behind the cut are ignored.
        stages: how many stages to keep; their strides are 4, 8, 16, 32.
        image_hw: input height and width in pixels, checked on every call.
        drop_path: rate of the last kept block.
        norm: which maps get a LayerNorm over their channels (`none`, `last`, `all`); the official maps are raw.

    Attributes:
        feature_info: (channels, stride) per kept stage.
    """

    def __init__(
        self,
        dims: tuple[int, ...],
        depths: tuple[int, ...],
        mlp_ratios: tuple[float, ...],
        stages: int = 4,
        image_hw: tuple[int, int] = (256, 192),
        drop_path: float = 0.0,
        norm: MapNorm = "last",
    ) -> None:
        super().__init__()
        check_cut(stages, len(dims))
        self.image_hw = image_hw
        self.feature_info = [(dims[i], 4 * 2**i) for i in range(stages)]
        self.conv_stem = ConvStem(dims[0])
        self.patch_embed_layers = nn.ModuleList(
            StageEmbed(dims[max(i - 1, 0)], dims[i], stride=1 if i == 0 else 2) for i in range(stages)
        )
        rates = drop_path_rates(drop_path, sum(depths[:stages]))
        starts = [sum(depths[:i]) for i in range(stages)]
        self.groupmixformer_backbone = nn.ModuleList(
            GroupMixStage(dims[i], mlp_ratios[i], rates[starts[i] : starts[i] + depths[i]]) for i in range(stages)
        )
        self.norms = map_norms(self.feature_info, norm, BLOCK_NORM_EPS)
        self.apply(init_linear)

    def forward_raw(self, images: Tensor) -> list[Tensor]:
        """Normalised images (B, 3, H, W) -> one map (B, C, rows, columns) per kept stage, none normed."""
        check_images(images, self.image_hw)
        x = self.conv_stem(images)
        maps = []
        for embed, stage in zip(self.patch_embed_layers, self.groupmixformer_backbone, strict=True):
            x = stage(embed(x))
            maps.append(x)
        return maps

    def forward(self, images: Tensor) -> list[Tensor]:
        """Like `forward_raw`, the maps chosen by `norm` normed."""
        return [norm(m) for norm, m in zip(self.norms, self.forward_raw(images), strict=True)]


def group_mix_former(
    size: str,
    stages: int = 4,
    image_hw: tuple[int, int] = (256, 192),
    drop_path: float | None = None,
    norm: MapNorm = "last",
) -> GroupMixFormer:
    """A published size by name: mini, t, s, b or l. `drop_path` None takes the published training rate."""
    if size not in SIZES:
        raise ValueError(f"no GroupMixFormer size {size!r}; there are {', '.join(SIZES)}")
    s = SIZES[size]
    rate = s.drop_path if drop_path is None else drop_path
    return GroupMixFormer(s.dims, s.depths, s.mlp_ratios, stages, image_hw, drop_path=rate, norm=norm)
