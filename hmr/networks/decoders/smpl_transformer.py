"""The SMPL transformer decoder of HMR2.0, at any size, with one query or 26.

Sources: Humans in 4D / HMR2.0 (Goel et al. 2023, arXiv 2305.20091) for the architecture and the parameter
names; Tarashima et al. 2025 (arXiv 2510.12660), released HMR2.0-S, for the small size d3-a4x16-m128; Heo and
Hu, "Deformable Transformer with Feature Upsampling for HMR", table of results, for the 26-query dense
decoder; CLIFF (Li et al. 2022) and CameraHMR (Patel and Black 2024) for the box information in the query.

The module loads official checkpoints as they are (prefix `smpl_head.` removed). Three things are ours and off
by default: a `score` readout, a position code on the context, and, since the paper does not print it, how the
26 queries are read out (one small linear map for each kind of query).
"""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from bodycast.hmr.networks.rotation import identity_6d, rotmat_from_6d

JOINTS = 24
BETAS = 10
POSITION_GRID_HW = (32, 24)
MEAN_CAMERA = (0.9, 0.0, 0.0)
"""Scale and shift of HMR's mean weak-perspective camera: the person fills most of the crop, centred."""

DECODER_PRESETS: dict[str, dict[str, Any]] = {
    # The name reads depth 3, 4 heads x 16, MLP 128: 2.3 M parameters on a 384-channel encoder.
    "d3-a4x16-m128": {"width": 1024, "depth": 3, "heads": 4, "head_width": 16, "mlp_width": 128},
    # HMR2.0 and CameraHMR: 39.5 M parameters on ViT-H.
    "hmr2": {"width": 1024, "depth": 6, "heads": 8, "head_width": 64, "mlp_width": 1024},
    # The dense baseline of the deformable paper: its 725 M parameters in all are met by six layers of ViT-H's
    # width, full attention and MLP 1024; the paper does not print the number of heads.
    "dense26": {
        "width": 1280,
        "depth": 6,
        "heads": 10,
        "head_width": 128,
        "mlp_width": 1024,
        "queries": 26,
    },
}


class SmplPrediction(NamedTuple):
    """What every decoder gives, for B people.

    pose6d (B, 24, 6): row-layout 6D rotations, root first. rotmat (B, 24, 3, 3): the same as matrices, each
    relative to its parent, the root relative to the camera. betas (B, 10). camera (B, 3): weak-perspective
    scale and shift of the crop (s, tx, ty). token (B, C): the decoder's output token, which temporal models
    take as the person's feature. score (B,): 0..1, how sure the network is that a person is there, or None
    where the decoder has no such readout. keypoints (B, 24, 3): where the joints are seen, x and y in crop heights
    from the crop's centre and a confidence of 0..1, or None where the decoder has no heat maps.
    """

    pose6d: Tensor
    rotmat: Tensor
    betas: Tensor
    camera: Tensor
    token: Tensor
    score: Tensor | None
    keypoints: Tensor | None = None


class MeanParameters(nn.Module):
    """The mean pose, shape and camera to which readouts are added, under HMR2.0's buffer names.

    A checkpoint overwrites them. From scratch they are the rest pose in the row layout that this project
    decodes with (the public SPIN file is in the column layout: see hmr/networks/rotation.py), mean shape, and
    HMR's mean camera.
    """

    init_body_pose: Tensor
    init_betas: Tensor
    init_cam: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("init_body_pose", identity_6d(JOINTS).unsqueeze(0))
        self.register_buffer("init_betas", torch.zeros(1, BETAS))
        self.register_buffer("init_cam", torch.tensor([MEAN_CAMERA]))


class _PreNorm(nn.Module):
    """LayerNorm, then `fn`; the context, if any, is passed on as it is."""

    def __init__(self, width: int, fn: nn.Module) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fn = fn

    def forward(self, x: Tensor, *context: Tensor) -> Tensor:
        return self.fn(self.norm(x), *context)


def attend(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """Multi-head attention over (B, Q, heads*d), (B, N, heads*d) twice, to (B, Q, heads*d).

    Written as two matrix products: the fused operator fixes the batch size when it is exported.
    """
    q, k, v = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (q, k, v))
    weights = (q * (1 / math.sqrt(q.shape[-1]))) @ k.transpose(-1, -2)
    return (weights.softmax(dim=-1) @ v).transpose(1, 2).flatten(2)


class _SelfAttention(nn.Module):
    def __init__(self, width: int, heads: int, head_width: int, dropout: float) -> None:
        super().__init__()
        inner = heads * head_width
        self.heads = heads
        self.to_qkv = nn.Linear(width, 3 * inner, bias=False)
        self.to_out = nn.Sequential(nn.Linear(inner, width), nn.Dropout(dropout))

    def forward(self, x: Tensor) -> Tensor:
        return self.to_out(attend(*self.to_qkv(x).chunk(3, dim=-1), self.heads))


class _CrossAttention(nn.Module):
    def __init__(self, width: int, context_width: int, heads: int, head_width: int, dropout: float) -> None:
        super().__init__()
        inner = heads * head_width
        self.heads = heads
        self.to_kv = nn.Linear(context_width, 2 * inner, bias=False)
        self.to_q = nn.Linear(width, inner, bias=False)
        self.to_out = nn.Sequential(nn.Linear(inner, width), nn.Dropout(dropout))

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        return self.to_out(attend(self.to_q(x), *self.to_kv(context).chunk(2, dim=-1), self.heads))


class _FeedForward(nn.Module):
    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(width, hidden),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, width),
            nn.Dropout(dropout),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class _CrossAttentionLayers(nn.Module):
    """Pre-norm layers of self-attention, cross-attention and MLP, each added to its input; no norm at the
    end."""

    def __init__(
        self,
        width: int,
        context_width: int,
        depth: int,
        heads: int,
        head_width: int,
        mlp_width: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.ModuleList(
                (
                    _PreNorm(width, _SelfAttention(width, heads, head_width, dropout)),
                    _PreNorm(width, _CrossAttention(width, context_width, heads, head_width, dropout)),
                    _PreNorm(width, _FeedForward(width, mlp_width, dropout)),
                )
            )
            for _ in range(depth)
        )

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        for self_attention, cross_attention, feed_forward in self.layers:
            x = x + self_attention(x)
            x = x + cross_attention(x, context)
            x = x + feed_forward(x)
        return x


class _QueryTransformer(nn.Module):
    """Query embedding and layers, in the nesting that gives official checkpoints their names."""

    def __init__(self, queries: int, query_inputs: int, width: int, layers: _CrossAttentionLayers) -> None:
        super().__init__()
        self.pos_embedding = nn.Parameter(torch.randn(1, queries, width))
        self.to_token_embedding = nn.Linear(query_inputs, width)
        self.transformer = layers

    def forward(self, query: Tensor, context: Tensor) -> Tensor:
        return self.transformer(self.to_token_embedding(query) + self.pos_embedding, context)


def sincos_position(height: int, width: int, channels: int, like: Tensor) -> Tensor:
    """Fixed 2D sine-cosine code (height*width, channels), row-major: half the channels code x, half y.

    The MAE / ViT code: frequencies 10000^(-i / (channels/4)), sines then cosines. Positions count eighths of
    the 256x192 crop's pixels whatever the map's size, so that a network trained at one input size can go on
    at another. channels must divide by four.
    """
    if channels % 4:
        raise ValueError(f"a 2D sine-cosine code needs channels divisible by 4, got {channels}")
    quarter = channels // 4
    steps = torch.arange(quarter, device=like.device, dtype=torch.float32)
    frequency = torch.exp(steps * (-math.log(10000.0) / quarter))
    columns = torch.arange(width, device=like.device, dtype=torch.float32)
    rows = torch.arange(height, device=like.device, dtype=torch.float32)
    x = ((columns + 0.5) * (POSITION_GRID_HW[1] / width)).unsqueeze(1) * frequency
    y = ((rows + 0.5) * (POSITION_GRID_HW[0] / height)).unsqueeze(1) * frequency
    code_x = torch.cat((x.sin(), x.cos()), dim=1).unsqueeze(0).expand(height, -1, -1)
    code_y = torch.cat((y.sin(), y.cos()), dim=1).unsqueeze(1).expand(-1, width, -1)
    return torch.cat((code_x, code_y), dim=2).flatten(0, 1).to(like.dtype)


def camera_box_information(box_center_px: Tensor, box_size_px: Tensor, image_wh: Tensor, focal_px: Tensor) -> Tensor:
    """CameraHMR's box information (B, 3): ((cx - W/2) / f, (cy - H/2) / f, b / f).

    box_center_px (B, 2), box_size_px (B,), image_wh (B, 2) as width and height, focal_px (B,), all in pixels.
    CLIFF scales the same numbers differently: see hmr/networks/heads/cliff_regressor.py.
    """
    offset = (box_center_px - image_wh / 2) / focal_px.unsqueeze(-1)
    return torch.cat((offset, (box_size_px / focal_px).unsqueeze(-1)), dim=-1)


class SmplTransformerDecoder(MeanParameters):
    """Cross-attention decoder from encoder features to SMPL parameters.

    context_width: channels of the encoder's output (used raw: there is no projection in between).
    width, depth, heads, head_width, mlp_width: sizes of the decoder; defaults are HMR2.0's.
    queries: 1 (HMR2.0) or 26 (24 pose queries, one shape, one camera; self-attention among them).
    query_input: "zero" feeds a zero through the query embedding (HMR2.0: only its bias and the learned
        position count); "box_mean" feeds box information (3) + mean pose (144), shape (10) and camera (3), as
        CameraHMR does.
    score: adds a Linear(width, 1) + sigmoid readout (ours; official checkpoints have none).
    context_position: "none" (official) or "sincos", a fixed code added to the context. Truncated Swin maps
        need it: Swin knows only relative positions inside its windows, so its tokens do not say where they
        are, and a single query that averages over tokens could not tell left from right or up from down. It
        has no parameters.
    """

    def __init__(
        self,
        context_width: int,
        *,
        width: int = 1024,
        depth: int = 6,
        heads: int = 8,
        head_width: int = 64,
        mlp_width: int = 1024,
        queries: Literal[1, 26] = 1,
        query_input: Literal["zero", "box_mean"] = "zero",
        score: bool = False,
        context_position: Literal["none", "sincos"] = "none",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if queries not in (1, JOINTS + 2):
            raise ValueError(f"queries must be 1 or {JOINTS + 2} (24 pose, 1 shape, 1 camera), got {queries}")
        if query_input not in ("zero", "box_mean"):
            raise ValueError(f'query_input must be "zero" or "box_mean", got {query_input!r}')
        if context_position not in ("none", "sincos"):
            raise ValueError(f'context_position must be "none" or "sincos", got {context_position!r}')
        self.context_width = context_width
        self.width = width
        self.queries = queries
        self.query_input = query_input
        self.context_position = context_position
        layers = _CrossAttentionLayers(width, context_width, depth, heads, head_width, mlp_width, dropout)
        query_inputs = 1 if query_input == "zero" else 3 + JOINTS * 6 + BETAS + 3
        self.transformer = _QueryTransformer(queries, query_inputs, width, layers)
        self.decpose = nn.Linear(width, JOINTS * 6 if queries == 1 else 6)
        self.decshape = nn.Linear(width, BETAS)
        self.deccam = nn.Linear(width, 3)
        self.decscore = nn.Linear(width, 1) if score else None
        for readout in (self.decpose, self.decshape, self.deccam):
            # Small readouts start training at the mean person instead of at a random one.
            nn.init.xavier_uniform_(readout.weight, gain=0.01)
            nn.init.zeros_(readout.bias)

    @classmethod
    def from_preset(cls, name: str, context_width: int, **changes: Any) -> SmplTransformerDecoder:
        """A decoder of the named size (see DECODER_PRESETS), with single arguments changed by keyword.

        Raises KeyError, listing the presets, for an unknown name.
        """
        if name not in DECODER_PRESETS:
            raise KeyError(f"no decoder preset {name!r}; there are {sorted(DECODER_PRESETS)}")
        return cls(context_width, **(DECODER_PRESETS[name] | changes))

    def forward(self, context: Tensor, box_info: Tensor | None = None) -> SmplPrediction:
        """Decode a feature map (B, C, H, W), read row by row, or tokens (B, N, C).

        box_info (B, 3): normalised box centre and size ((cx - W/2)/f, (cy - H/2)/f, b/f); needed when, and
        only when, query_input is "box_mean". Raises ValueError where shapes or arguments do not fit.
        """
        tokens = self._context_tokens(context)
        out = self.transformer(self._query(tokens, box_info), tokens)
        if self.queries == 1:
            token = out[:, 0]
            pose, shape, camera = token, token, token
            pose6d = (self.decpose(pose) + self.init_body_pose).unflatten(-1, (JOINTS, 6))
        else:
            token = out.mean(dim=1)
            pose, shape, camera = out[:, :JOINTS], out[:, JOINTS], out[:, JOINTS + 1]
            pose6d = self.decpose(pose) + self.init_body_pose.unflatten(-1, (JOINTS, 6))
        return SmplPrediction(
            pose6d=pose6d,
            rotmat=rotmat_from_6d(pose6d),
            betas=self.decshape(shape) + self.init_betas,
            camera=self.deccam(camera) + self.init_cam,
            token=token,
            score=None if self.decscore is None else self.decscore(token).sigmoid().squeeze(-1),
        )

    def _context_tokens(self, context: Tensor) -> Tensor:
        channels = context.shape[1] if context.dim() == 4 else context.shape[-1]
        if context.dim() not in (3, 4) or channels != self.context_width:
            raise ValueError(
                f"the decoder takes a map (B, {self.context_width}, H, W) or tokens "
                f"(B, N, {self.context_width}), got {tuple(context.shape)}"
            )
        if context.dim() == 4:
            tokens = context.flatten(2).transpose(1, 2)
            if self.context_position == "none":
                return tokens
            return tokens + sincos_position(context.shape[2], context.shape[3], channels, tokens)
        if self.context_position != "none":
            raise ValueError(
                'context_position="sincos" needs a feature map (B, C, H, W): tokens have no grid. '
                'Pass the map, or build the decoder with context_position="none".'
            )
        return context

    def _query(self, tokens: Tensor, box_info: Tensor | None) -> Tensor:
        if (box_info is not None) != (self.query_input == "box_mean"):
            expected = "needs" if self.query_input == "box_mean" else "takes no"
            raise ValueError(f"a decoder with query_input={self.query_input!r} {expected} box_info (B, 3)")
        batch = tokens.shape[0]
        if box_info is None:
            return tokens.new_zeros(batch, self.queries, 1)
        mean = torch.cat((self.init_body_pose, self.init_betas, self.init_cam), dim=1).expand(batch, -1)
        query = torch.cat((box_info.to(mean.dtype), mean), dim=1).unsqueeze(1)
        return query.expand(-1, self.queries, -1)
