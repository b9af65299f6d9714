"""A decoder with one query a joint that starts from where the joint is seen.

HMR2.0's single query reads the map through a few narrow heads, and a truncated encoder's tokens know little beyond
their neighbourhood: what a wrist looks like hardly reaches the pose. Here a heat map a joint (the helper task of
training, but part of the network) pools the map at the joint; these 24 features, one query for the shape and one for
the camera then talk to each other and read the whole map. Our own, in place of DH's 26 free queries (Heo and Hu,
"Deformable Transformer with Feature Upsampling for HMR"); pooling by heat maps as in integral regression (Sun et al.
2018, arXiv 1711.08229), lateral maps as in FPN (Lin et al. 2017, arXiv 1612.03144).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bodycast.hmr.networks.decoders.smpl_transformer import (
    BETAS,
    JOINTS,
    MeanParameters,
    SmplPrediction,
    attend,
    sincos_position,
)
from bodycast.hmr.networks.layers import map_to_tokens
from bodycast.hmr.networks.rotation import rotmat_from_6d

QUERIES = JOINTS + 2
PEAK_REACH = 2
"""So many cells around a heat map's peak say where exactly the joint is."""


class JointReading(NamedTuple):
    """What training asks of the decoder besides the body: the fused map (B, map_width, h, w), logits of the joints'
    heat maps (B, 24, h, w) on it, and joints (B, 24, 3) relative to the pelvis in the crop's ray frame, m, read before
    the rotations are."""

    finest: Tensor
    heatmaps: Tensor
    joints: Tensor


class _Layer(nn.Module):
    """Self-attention, cross-attention and MLP, normalised before and added after."""

    def __init__(self, width: int, heads: int, cross_width: int, mlp_width: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.self_out = nn.Linear(width, width)
        self.cross_q = nn.Linear(width, cross_width, bias=False)
        self.cross_kv = nn.Linear(width, 2 * cross_width, bias=False)
        self.cross_out = nn.Linear(cross_width, width)
        self.fc1, self.fc2 = nn.Linear(width, mlp_width), nn.Linear(mlp_width, width)

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        """x (B, Q, width), memory (B, N, width) -> (B, Q, width)."""
        x = x + self.self_out(attend(*self.qkv(self.norm1(x)).chunk(3, dim=-1), self.heads))
        read = attend(self.cross_q(self.norm2(x)), *self.cross_kv(memory).chunk(2, dim=-1), self.heads)
        x = x + self.cross_out(read)
        return x + self.fc2(F.gelu(self.fc1(self.norm3(x))))


class _PerJoint(nn.Module):
    """A linear map of its own for every joint: (B, 24, width) -> (B, 24, outputs)."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(JOINTS, width, outputs) * (0.01 * width**-0.5))
        self.bias = nn.Parameter(torch.zeros(JOINTS, outputs))

    def forward(self, x: Tensor) -> Tensor:
        return (x.unsqueeze(2) @ self.weight).squeeze(2) + self.bias


class JointQueryDecoder(MeanParameters):
    """SMPL parameters from the maps of a hierarchical encoder, finest first.

    channels: of each map. The coarser ones are projected and added to the finest, where heat maps and queries read.
    map_width: channels that the finest map is narrowed to first (None: it stays as it is).
    width, depth, heads, cross_width (of the cross-attention's inside), mlp_width: sizes. score: an extra readout.
    """

    def __init__(
        self,
        channels: Sequence[int],
        *,
        map_width: int | None = None,
        width: int = 256,
        depth: int = 3,
        heads: int = 8,
        cross_width: int = 128,
        mlp_width: int = 512,
        score: bool = False,
    ) -> None:
        super().__init__()
        self.channels = tuple(channels)
        self.width = width
        finest = self.channels[0] if map_width is None else map_width
        self.map_width = finest
        self.narrow = None if map_width is None else nn.Linear(self.channels[0], map_width)
        self.lateral = nn.ModuleList(nn.Linear(c, finest) for c in self.channels[1:])
        for layer in self.lateral:  # coarser maps say nothing at first: a network can be grown by a stage
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.heatmaps = nn.Conv2d(finest, JOINTS, 1)
        nn.init.zeros_(self.heatmaps.weight)
        nn.init.constant_(self.heatmaps.bias, -4.0)
        self.project = nn.Linear(finest, width)
        self.norm_map = nn.LayerNorm(width)
        self.see = nn.Linear(width, width)
        self.place = nn.Linear(3, width)
        self.queries = nn.Parameter(torch.randn(1, QUERIES, width) * 0.5)
        self.layers = nn.ModuleList(_Layer(width, heads, cross_width, mlp_width) for _ in range(depth))
        self.norm_early, self.norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.readout_joints = _PerJoint(width, 3)
        self.readout_pose = _PerJoint(width, 6)
        self.readout_shape = nn.Linear(width, BETAS)
        self.readout_camera = nn.Linear(width, 3)
        self.readout_score = nn.Linear(width, 1) if score else None
        for readout in (self.readout_shape, self.readout_camera):
            nn.init.xavier_uniform_(readout.weight, gain=0.01)
            nn.init.zeros_(readout.bias)

    def forward(self, context: Sequence[Tensor]) -> SmplPrediction:
        """Decode maps [(B, C_i, h_i, w_i), ...], finest first."""
        return self.read(context)[0]

    def read(self, context: Sequence[Tensor]) -> tuple[SmplPrediction, JointReading]:
        """The body, and what training looks at on the way. Raises ValueError for other maps."""
        if tuple(m.shape[1] for m in context) != self.channels:
            raise ValueError(
                f"the decoder takes maps of {self.channels} channels, finest first, "
                f"got {[tuple(m.shape) for m in context]}"
            )
        finest = self._fused(context)
        heatmaps = self.heatmaps(finest)
        memory, seen = self._pooled(finest, heatmaps)
        x = torch.cat([seen, torch.zeros_like(seen[:, :2])], dim=1) + self.queries
        joints = None
        for number, layer in enumerate(self.layers, 1):
            x = layer(x, memory)
            if number == max(1, len(self.layers) - 1):
                joints = self.readout_joints(self.norm_early(x[:, :JOINTS]))
        assert joints is not None
        x = self.norm(x)
        pose6d = self.readout_pose(x[:, :JOINTS]) + self.init_body_pose.unflatten(-1, (JOINTS, 6))
        token = x.mean(dim=1)
        prediction = SmplPrediction(
            pose6d=pose6d,
            rotmat=rotmat_from_6d(pose6d),
            betas=self.readout_shape(x[:, JOINTS]) + self.init_betas,
            camera=self.readout_camera(x[:, JOINTS + 1]) + self.init_cam,
            token=token,
            score=None if self.readout_score is None else self.readout_score(token).sigmoid().squeeze(-1),
            keypoints=_peaks(heatmaps),
        )
        return prediction, JointReading(finest, heatmaps, joints)

    def _fused(self, context: Sequence[Tensor]) -> Tensor:
        """The finest map, narrowed, with the coarser ones added, (B, map_width, h, w)."""
        finest = context[0]
        if self.narrow is not None:
            finest = self.narrow(finest.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        for layer, coarse in zip(self.lateral, context[1:], strict=True):
            added = layer(coarse.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
            finest = finest + F.interpolate(added, size=finest.shape[2:], mode="nearest")
        return finest

    def _pooled(self, finest: Tensor, heatmaps: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens of the map (B, h*w, width), and each joint's feature (B, 24, width): the tokens under its heat map,
        the heat map's mean place and its peak."""
        rows, columns = finest.shape[2:]
        memory = self.norm_map(self.project(map_to_tokens(finest)))
        memory = memory + sincos_position(rows, columns, self.width, memory)
        flat = heatmaps.flatten(2).float()
        share = flat.softmax(dim=-1)
        grid = _cell_places(rows, columns, flat)
        # A place in crop heights is small beside a feature of unit variance, a logit large.
        told = torch.cat([(share @ grid) * 4, flat.amax(dim=-1, keepdim=True) / 4], dim=-1)
        return memory, self.see(share.to(memory.dtype) @ memory) + self.place(told.to(memory.dtype))


def _cell_places(rows: int, columns: int, like: Tensor) -> Tensor:
    """Centres x, y of a map's cells, row by row, (rows*columns, 2), in crop heights from the crop's centre."""
    y = (torch.arange(rows, device=like.device, dtype=like.dtype) + 0.5) / rows - 0.5
    x = ((torch.arange(columns, device=like.device, dtype=like.dtype) + 0.5) / columns - 0.5) * columns / rows
    return torch.stack([x.repeat(rows), y.repeat_interleave(columns)], dim=-1)


def _peaks(heatmaps: Tensor) -> Tensor:
    """Logits (B, 24, h, w) -> (B, 24, 3): the mean place around the highest cell, and how high it is (0..1)."""
    rows, columns = heatmaps.shape[2:]
    probable = heatmaps.float().sigmoid().flatten(2)
    grid = _cell_places(rows, columns, probable)
    top = grid[probable.argmax(dim=-1)]
    near = ((grid - top.unsqueeze(2)).abs().amax(dim=-1) < (PEAK_REACH + 0.5) / rows).to(probable.dtype)
    around = probable * near
    places = (around @ grid) / around.sum(dim=-1, keepdim=True)
    return torch.cat([places, probable.amax(dim=-1, keepdim=True)], dim=-1)
