"""The losses of the fusion: rotations, joints in space, keypoints in the picture, shape, uncertainty, score."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from bodycast.hmr.networks.keypoint_fusion import FusedBody
from training.fusion.simulate import CocoBody, People, ray_rotation

ROOT_WEIGHT = 4.0
FAR = 0.6
"""Crop heights from the centre beyond which a point's place in the picture weighs nothing."""


def placed(body: FusedBody, people: People) -> Tensor:
    """(B, 3) the pelvis in the camera frame, m, from the crop's camera and geometry."""
    scale = body.camera[:, :1].clamp(min=1e-3)
    ray, size = people.geometry[:, :2], people.geometry[:, 2:]
    depth = 2 / (size * scale)
    return torch.cat([body.camera[:, 1:] + ray * depth, depth], dim=1)


def reprojected(points: Tensor, pelvis: Tensor, people: People) -> Tensor:
    """Points (B, K, 3) relative to the pelvis in the ray's frame -> (B, K, 2) crop heights from the crop's centre."""
    ray = torch.cat([people.geometry[:, :2], torch.ones_like(pelvis[:, :1])], dim=1)
    places = (ray_rotation(ray)[:, None] @ points[..., None])[..., 0] + pelvis[:, None]
    flat = places[..., :2] / places[..., 2:].clamp(min=0.1)
    return (flat - people.geometry[:, None, :2]) / people.geometry[:, None, 2:]


def fusion_loss(predicted: FusedBody, people: People, score: Tensor, body: CocoBody) -> tuple[Tensor, dict[str, float]]:
    """The weighted sum and its parts; `people.weight` 0: the crop shows nobody, only the score learns."""
    weight = people.weight
    total = weight.sum().clamp(min=1)
    turn = (predicted.rotmat - people.pose).square().sum((2, 3))
    per_joint = torch.ones(24)
    per_joint[0], per_joint[[10, 11, 22, 23, 20, 21]] = ROOT_WEIGHT, 0.3
    rotation = ((turn * per_joint).mean(1) * weight).sum() / total
    joints, points = body.pose(predicted.rotmat, predicted.betas)
    off = (joints - people.joints).norm(dim=2)
    space = (off.mean(1) * weight).sum() / total
    pelvis = placed(predicted, people)
    seen = reprojected(points, pelvis, people)
    truth = people.points[..., :2]
    near = (truth.abs() < FAR).all(2).float() * weight[:, None]
    picture = ((seen - truth).abs().sum(2).clamp(max=1) * near).sum() / near.sum().clamp(min=1)
    depth = ((pelvis[:, 2].log() - people.transl[:, 2].clamp(min=0.1).log()).abs() * weight).sum() / total
    shape = ((predicted.betas - people.betas).square().mean(1) * weight).sum() / total
    spread = predicted.spread_m
    # The pelvis is the origin: it is never off.
    doubt = ((off.detach() / spread + spread.log())[:, 1:].mean(1) * weight).sum() / total
    likely = F.binary_cross_entropy_with_logits(predicted.score, score)
    parts = {"rotation": rotation, "space": space, "picture": picture, "depth": depth, "shape": shape}
    weights = {"rotation": 1.0, "space": 6.0, "picture": 4.0, "depth": 0.5, "shape": 0.05}
    loss = sum((weights[name] * part for name, part in parts.items()), 0.05 * doubt + 0.2 * likely)
    return torch.as_tensor(loss), {name: float(part.detach()) for name, part in parts.items()}
