"""VMamba, sizes T, S and B in the released variants, cut after any stage.

Source: VMamba (Liu et al. 2024, arXiv 2401.10166), the released variant without a gating branch, written from its
description; the operator's state-dict keys are the official ones, `official_keys.vmamba` maps the rest.
The scan itself is in `selective_scan.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bodycast.hmr.networks.encoders.common import MapNorm, check_cut, check_images, map_norms
from bodycast.hmr.networks.encoders.selective_scan import cross_merge, cross_scan, selective_scan
from bodycast.hmr.networks.layers import (
    ChannelNorm,
    DropPath,
    Mlp,
    drop_path_rates,
    init_linear,
    map_to_tokens,
    tokens_to_map,
)

DIRECTIONS = 4
LAYER_NORM_EPS = 1e-5
# Step sizes at initialisation, as Mamba draws them (log-uniform).
STEP_MIN, STEP_MAX = 1e-3, 1e-1


@dataclass(frozen=True)
class VMambaSize:
    """Width of the first stage (it doubles each stage), blocks per stage, inner / outer width, drop-path rate."""

    dim: int
    depths: tuple[int, ...]
    ssm_ratio: float
    drop_path: float


# The released names: s = inner width as a multiple of the stage's, l = blocks of stage 3. The plain t, s and b are the
# authors' main line.
SIZES: dict[str, VMambaSize] = {
    "t-s1l8": VMambaSize(96, (2, 2, 8, 2), 1.0, 0.2),
    "t-s2l5": VMambaSize(96, (2, 2, 5, 2), 2.0, 0.2),
    "s-s2l15": VMambaSize(96, (2, 2, 15, 2), 2.0, 0.3),
    "s-s1l20": VMambaSize(96, (2, 2, 20, 2), 1.0, 0.3),
    "b-s2l15": VMambaSize(128, (2, 2, 15, 2), 2.0, 0.6),
    "b-s1l20": VMambaSize(128, (2, 2, 20, 2), 1.0, 0.5),
}
MAIN_LINE = {"t": "t-s1l8", "s": "s-s2l15", "b": "b-s2l15"}


class PatchEmbed(nn.Module):
    """Two 3x3 convolutions of stride 2, each normed: pixels to the stride-4 map."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, dim // 2, 3, 2, 1)
        self.norm1 = ChannelNorm(dim // 2, LAYER_NORM_EPS)
        self.act = nn.GELU()
        self.conv2 = nn.Conv2d(dim // 2, dim, 3, 2, 1)
        self.norm2 = ChannelNorm(dim, LAYER_NORM_EPS)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, dim, H / 4, W / 4)."""
        return self.norm2(self.conv2(self.act(self.norm1(self.conv1(images)))))


class Downsample(nn.Module):
    """3x3 convolution of stride 2 and a norm, between stages."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, 3, 2, 1)
        self.norm = ChannelNorm(channels_out, LAYER_NORM_EPS)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels_in, H, W) -> (B, channels_out, H / 2, W / 2)."""
        return self.norm(self.conv(x))


class SS2D(nn.Module):
    """2D selective scan: widen, depthwise 3x3, scan in four directions, norm, narrow.

    Args:
        dim: channels in and out.
        ssm_ratio: inner width as a multiple of `dim`.
        d_state: states per inner channel; 1 in all released networks.
    """

    def __init__(self, dim: int, ssm_ratio: float, d_state: int = 1) -> None:
        super().__init__()
        inner = int(dim * ssm_ratio)
        rank = math.ceil(dim / 16)
        self.splits = [rank, d_state, d_state]
        self.in_proj = nn.Linear(dim, inner, bias=False)
        self.conv2d = nn.Conv2d(inner, inner, 3, padding=1, groups=inner, bias=False)
        self.act = nn.SiLU()
        self.x_proj_weight = nn.Parameter(torch.empty(DIRECTIONS, sum(self.splits), inner))
        self.dt_projs_weight = nn.Parameter(torch.empty(DIRECTIONS, inner, rank))
        self.dt_projs_bias = nn.Parameter(torch.empty(DIRECTIONS, inner))
        rates = torch.arange(1, d_state + 1, dtype=torch.float32).log()
        self.A_logs = nn.Parameter(rates.repeat(DIRECTIONS * inner, 1))
        self.Ds = nn.Parameter(torch.ones(DIRECTIONS * inner))
        self.out_norm = nn.LayerNorm(inner, eps=LAYER_NORM_EPS)
        self.out_proj = nn.Linear(inner, dim, bias=False)
        self._init_projections(inner, rank)

    def _init_projections(self, inner: int, rank: int) -> None:
        bound = inner**-0.5
        nn.init.uniform_(self.x_proj_weight, -bound, bound)
        bound = rank**-0.5
        nn.init.uniform_(self.dt_projs_weight, -bound, bound)
        with torch.no_grad():
            low, high = math.log(STEP_MIN), math.log(STEP_MAX)
            step = torch.exp(torch.rand_like(self.dt_projs_bias) * (high - low) + low)
            self.dt_projs_bias.copy_(step + torch.log(-torch.expm1(-step)))  # the inverse of softplus

    def forward(self, x: Tensor, grid_hw: tuple[int, int]) -> Tensor:
        """Row-major tokens (B, H*W, dim) -> the same shape."""
        inner = self.act(self.conv2d(tokens_to_map(self.in_proj(x), grid_hw)))
        sequences = cross_scan(inner)  # (B, 4, L, inner)
        projected = sequences @ self.x_proj_weight.transpose(1, 2)
        step, B, C = projected.split(self.splits, dim=-1)
        y = selective_scan(
            u=sequences,
            delta=step @ self.dt_projs_weight.transpose(1, 2),
            A=-torch.exp(self.A_logs.unflatten(0, (DIRECTIONS, -1))),
            B=B,
            C=C,
            D=self.Ds.unflatten(0, (DIRECTIONS, -1)),
            delta_bias=self.dt_projs_bias,
        )
        return self.out_proj(self.out_norm(cross_merge(y, grid_hw)))


class Block(nn.Module):
    """x + ss2d(norm(x)), then x + mlp(norm2(x))."""

    def __init__(self, dim: int, ssm_ratio: float, mlp_ratio: float, d_state: int, drop_path: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim, eps=LAYER_NORM_EPS)
        self.op = SS2D(dim, ssm_ratio, d_state)
        self.norm2 = nn.LayerNorm(dim, eps=LAYER_NORM_EPS)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """(B, dim, H, W) -> the same shape."""
        grid_hw = (x.shape[-2], x.shape[-1])
        tokens = map_to_tokens(x)
        tokens = tokens + self.drop_path(self.op(self.norm(tokens), grid_hw))
        tokens = tokens + self.drop_path(self.mlp(self.norm2(tokens)))
        return tokens_to_map(tokens, grid_hw)


class VMamba(nn.Module):
    """The first `stages` stages of a VMamba.

    Args:
        dims, depths: channels and blocks per stage; entries behind the cut are ignored.
        ssm_ratio: inner width of the scan as a multiple of the stage's.
        stages: how many stages to keep; their strides are 4, 8, 16, 32.
        image_hw: input height and width in pixels, checked on every call.
        mlp_ratio: hidden width of the MLPs as a multiple of the stage's.
        d_state: states per channel of the scan.
        drop_path: rate of the last kept block.
        norm: which maps get a LayerNorm over their channels (`none`, `last`, `all`); the official dense
            backbone norms all.

    Attributes:
        feature_info: (channels, stride) per kept stage.
    """

    def __init__(
        self,
        dims: tuple[int, ...],
        depths: tuple[int, ...],
        ssm_ratio: float,
        stages: int = 4,
        image_hw: tuple[int, int] = (256, 192),
        mlp_ratio: float = 4.0,
        d_state: int = 1,
        drop_path: float = 0.0,
        norm: MapNorm = "last",
    ) -> None:
        super().__init__()
        check_cut(stages, len(dims))
        self.image_hw = image_hw
        self.feature_info = [(dims[i], 4 * 2**i) for i in range(stages)]
        self.patch_embed = PatchEmbed(dims[0])
        rates = iter(drop_path_rates(drop_path, sum(depths[:stages])))
        self.stages = nn.ModuleList(
            nn.ModuleList(Block(dims[i], ssm_ratio, mlp_ratio, d_state, next(rates)) for _ in range(depths[i]))
            for i in range(stages)
        )
        self.downsamples = nn.ModuleList(Downsample(dims[i], dims[i + 1]) for i in range(stages - 1))
        self.norms = map_norms(self.feature_info, norm, LAYER_NORM_EPS)
        self.apply(init_linear)

    def forward_raw(self, images: Tensor) -> list[Tensor]:
        """Normalised images (B, 3, H, W) -> one map (B, C, rows, columns) per kept stage, none normed."""
        check_images(images, self.image_hw)
        x = self.patch_embed(images)
        maps: list[Tensor] = []
        for i, blocks in enumerate(self.stages):
            if i > 0:
                x = self.downsamples[i - 1](x)
            for block in blocks:
                x = block(x)
            maps.append(x)
        return maps

    def forward(self, images: Tensor) -> list[Tensor]:
        """Like `forward_raw`, the maps chosen by `norm` normed."""
        return [norm(m) for norm, m in zip(self.norms, self.forward_raw(images), strict=True)]


def vmamba(
    size: str,
    stages: int = 4,
    image_hw: tuple[int, int] = (256, 192),
    drop_path: float | None = None,
    norm: MapNorm = "last",
) -> VMamba:
    """A published size by name: t, s, b (the main line) or a full name such as t-s2l5.

    `drop_path` None takes the published training rate.
    """
    name = MAIN_LINE.get(size, size)
    if name not in SIZES:
        raise ValueError(f"no VMamba size {size!r}; there are {', '.join([*MAIN_LINE, *SIZES])}")
    s = SIZES[name]
    dims = tuple(s.dim * 2**i for i in range(len(s.depths)))
    rate = s.drop_path if drop_path is None else drop_path
    return VMamba(dims, s.depths, s.ssm_ratio, stages, image_hw, drop_path=rate, norm=norm)
