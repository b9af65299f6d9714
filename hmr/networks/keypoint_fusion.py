"""From 2D keypoints, and what a network that recovers bodies says, to one body: the learned fusion.

Keypoints from networks that know real people are better in the picture than any body that a small network regresses;
lifting them to 3D needs no picture at all (Martinez et al. 2017, "A simple yet effective baseline for 3d human pose
estimation", arXiv 1705.03098, whose residual blocks these are). What a body network knows beyond the keypoints goes in
beside them, where there is one. Every joint's uncertainty comes out with it (a Laplace scale, Kendall and Gal 2017,
arXiv 1703.04977).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bodycast.hmr.networks.rotation import rotmat_from_6d

JOINTS = 24
BETAS = 10
BODY_WIDTH = 6 * JOINTS + BETAS + 3
"""An engine's body as numbers: first two rows of 24 rotations, betas, camera (s, tx, ty) of the keypoints' crop."""
CONFIDENT = 0.1
"""Confidence at which a keypoint counts half when the keypoints are brought to one size."""
SMALLEST = 0.02
"""Least spread of the keypoints, in crop heights."""


class FusedBody(NamedTuple):
    """rotmat (B, 24, 3, 3), root relative to the ray through the crop's centre; betas (B, 10); camera (B, 3): weak
    perspective s, tx, ty of the crop's square; spread_m (B, 24): how far each joint may be off, relative to the pelvis
    (scale of a Laplace distribution); score (B,): logit of how probable a person is."""

    rotmat: Tensor
    betas: Tensor
    camera: Tensor
    spread_m: Tensor
    score: Tensor


class _Block(nn.Module):
    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fc1, self.fc2 = nn.Linear(width, width), nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.fc2(self.dropout(F.gelu(self.fc1(self.norm(x)))))


class KeypointFusion(nn.Module):
    """Keypoints (B, K, 3), geometry (B, 3), and perhaps an engine's body (B, BODY_WIDTH + 1).

    Args:
        keypoints: K. body: whether it takes an engine's body.
        width, depth, dropout: of the residual blocks.
    """

    mean_6d: Tensor

    def __init__(
        self,
        keypoints: int = 17,
        body: bool = True,
        width: int = 768,
        depth: int = 3,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.keypoints, self.body = keypoints, body
        self.enter = nn.Linear(3 * keypoints + 6, width)
        self.enter_body = nn.Linear(BODY_WIDTH + 1, width, bias=False) if body else None
        if self.enter_body is not None:  # a fusion can grow by it: it says nothing at first
            nn.init.zeros_(self.enter_body.weight)
        self.blocks = nn.Sequential(*(_Block(width, dropout) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.leave = nn.Linear(width, 6 * JOINTS + BETAS + 3 + JOINTS + 1)
        nn.init.normal_(self.leave.weight, std=0.01)
        nn.init.zeros_(self.leave.bias)
        self.register_buffer("mean_6d", torch.tensor([1.0, 0, 0, 0, 1, 0]).repeat(JOINTS))

    def forward(self, keypoints: Tensor, geometry: Tensor, body: Tensor | None = None) -> FusedBody:
        """Fuse.

        keypoints: x and y in crop heights from the crop's centre, confidence 0..1. geometry: the crop's centre from the
        principal point and its height, over the focal length. body: the engine's body, then 1; zeros where there is
        none.
        """
        middle, size = frame_of(keypoints)
        out = self.leave(self.features_of(keypoints, geometry, body))
        turns, betas, camera, spread, score = out.split([6 * JOINTS, BETAS, 3, JOINTS, 1], dim=1)
        rotmat = rotmat_from_6d((turns + self.mean_6d).reshape(-1, 6)).reshape(-1, JOINTS, 3, 3)
        return FusedBody(
            rotmat, betas, _camera(camera, middle, size), 0.05 * torch.exp(spread.clamp(-3, 3)), score[:, 0]
        )

    def features_of(self, keypoints: Tensor, geometry: Tensor, body: Tensor | None = None) -> Tensor:
        """(B, width) what the readouts read."""
        middle, size = frame_of(keypoints)
        confidence = keypoints[..., 2:]
        at = (keypoints[..., :2] - middle[:, None]) / size[:, None, None]
        # What nobody saw says nothing: its place is taken to the middle.
        at = at * (confidence / (confidence + CONFIDENT))
        parts = [at.flatten(1), confidence.flatten(1), middle, size[:, None].log(), geometry]
        parts = [part.to(at.dtype) for part in parts]
        x = self.enter(torch.cat(parts, dim=1))
        if self.enter_body is not None and body is not None:
            x = x + self.enter_body(body)
        return self.norm(self.blocks(x))


def frame_of(keypoints: Tensor) -> tuple[Tensor, Tensor]:
    """Middle (B, 2) and spread (B,) of keypoints (B, K, 3), by their confidence, in crop heights."""
    confidence = keypoints[..., 2:]
    weight = confidence / (confidence + CONFIDENT)
    total = weight.sum(1) + 1e-3
    middle = (weight * keypoints[..., :2]).sum(1) / total
    square = (weight * (keypoints[..., :2] - middle[:, None]) ** 2).sum((1, 2)) / total[:, 0]
    return middle, (square + SMALLEST**2).sqrt()


def _camera(raw: Tensor, middle: Tensor, size: Tensor) -> Tensor:
    """The crop's camera from what is regressed in the keypoints' own frame.

    A point X of the body lies at (X + t) s / 2 crop heights from the crop's centre (HMR2.0's weak perspective of the
    square crop). Regressed are the pelvis's place in spreads from the middle and the logarithm of the body's scale.
    """
    scale = torch.exp(raw[:, :1].clamp(-3, 3)) * 4 * size[:, None]
    place = middle + raw[:, 1:] * size[:, None]
    return torch.cat([scale, 2 * place / scale], dim=1)


def example_keypoints(net: KeypointFusion, batch: int) -> tuple[Tensor, ...]:
    """Random inputs of `net`, in the order of `forward`."""
    inputs = [torch.rand(batch, net.keypoints, 3) - torch.tensor([0.5, 0.5, 0]), torch.rand(batch, 3) * 0.3 + 0.1]
    if net.body:
        inputs.append(torch.randn(batch, BODY_WIDTH + 1))
    return tuple(inputs)
