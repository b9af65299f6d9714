"""Losses of HMR2.0 (PAPERS 5.1), with vertices, and a helper task on the encoder's map.

Predictions live in the crop's ray frame (hmr/geometry/crop_ray.py); 2D errors are measured in the picture with the
true camera.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hmr.body.joints import NUM_JOINTS
from hmr.body.torch_body import TorchBody
from hmr.networks.decoders.smpl_transformer import SmplPrediction
from training.config import LossWeights
from training.crop_camera import full_translation, in_crop, ray_rotation
from training.crop_set import Batch

SURFACE_POINTS = 300
BACKGROUND_WEIGHT = 0.4


class HelperHeads(nn.Module):
    """1x1 maps from the encoder's last map (B,C,h,w) to 24 joint heat maps and 25 part scores; for training only."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.heatmaps = nn.Conv2d(channels, NUM_JOINTS, 1)
        self.parts = nn.Conv2d(channels, NUM_JOINTS + 1, 1)
        nn.init.zeros_(self.heatmaps.weight)
        nn.init.constant_(self.heatmaps.bias, -4.0)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of both."""
        return self.heatmaps(features), self.parts(features)


def surface_subset(body: TorchBody, seed: int = 0) -> TorchBody:
    """`body` with a fixed random subset of its vertices: enough for a surface loss at a fraction of the work."""
    keep = torch.from_numpy(np.random.default_rng(seed).choice(len(body.v_template), SURFACE_POINTS, replace=False))
    count = len(body.v_template)
    body.shapedirs = body.shapedirs.reshape(10, count, 3)[:, keep].reshape(10, -1)
    body.v_template, body.weights = body.v_template[keep], body.weights[keep]
    body.posedirs = None
    return body


def heatmap_targets(points: Tensor, rows: int, columns: int, sigma: float = 0.028) -> Tensor:
    """Gaussians (B,J,rows,columns) around crop coordinates (B,J,2); sigma in crop heights."""
    y = ((torch.arange(rows) + 0.5) / rows - 0.5)[:, None, None]
    x = (((torch.arange(columns) + 0.5) / columns - 0.5) * columns / rows)[None, :, None]
    dx, dy = x - points[:, None, None, :, 0], y - points[:, None, None, :, 1]
    return torch.exp(-(dx**2 + dy**2) / (2 * sigma**2)).permute(0, 3, 1, 2)


class HmrLoss(nn.Module):
    """Weighted sum of all terms; `forward` gives the sum and the terms by name (floats, unweighted)."""

    def __init__(self, weights: LossWeights) -> None:
        super().__init__()
        self.weights = weights
        self.body = surface_subset(TorchBody.load())

    def forward(
        self,
        prediction: SmplPrediction,
        helper: tuple[Tensor, Tensor] | None,
        batch: Batch,
        body_scale: float = 1.0,
    ) -> tuple[Tensor, dict[str, float]]:
        """`helper`: logits of HelperHeads, or None; `body_scale`: factor on the terms of the body alone."""
        good = batch.score
        norm = good.sum().clamp_min(1)

        def mean(per_row: Tensor) -> Tensor:
            return (per_row.flatten(1).mean(1) * good).sum() / norm

        zero = torch.zeros_like(batch.camera)
        surface, joints = self.body(prediction.rotmat.float(), prediction.betas.float(), zero)
        true_surface, true_joints = self.body(batch.pose, batch.betas, zero)
        surface, true_surface = surface - joints[:, :1], true_surface - true_joints[:, :1]
        rest = joints[:, 0]
        joints, true_joints = joints - joints[:, :1], true_joints - true_joints[:, :1]
        pelvis = full_translation(prediction.camera.float(), batch) + rest
        placed = (ray_rotation(batch) @ joints.transpose(1, 2)).transpose(1, 2) + pelvis[:, None]
        found, truth = in_crop(placed, batch), in_crop(batch.joints, batch)
        # A joint far outside the crop is a guess: it counts, but not more than one at the border.
        reach = 0.5 / truth.abs().amax(-1).clamp_min(0.5)
        difference = (prediction.rotmat.float() - batch.pose) ** 2
        camera = (prediction.camera.float() - batch.camera) / batch.camera[:, :1].abs().clamp_min(0.3)
        terms = {
            "joints_3d": mean((joints - true_joints).abs().sum(-1)),
            "joints_2d": mean(((found - truth).abs().sum(-1) * reach).clamp_max(2.0)),
            "vertices": mean((surface - true_surface).abs().sum(-1)),
            "root": mean(difference[:, 0].sum((-1, -2))[:, None]),
            "pose": mean(difference[:, 1:].sum((-1, -2))),
            "betas": mean((prediction.betas.float() - batch.betas) ** 2),
            "camera": mean(camera.abs().clamp_max(3.0)),
        }
        if prediction.score is not None:
            terms["score"] = F.binary_cross_entropy(prediction.score.float().clamp(1e-6, 1 - 1e-6), good)
        if helper is not None:
            terms |= self._helper_terms(helper, truth, batch, good, norm)
        scale = {"score": 1.0, "heatmap": 1.0, "parts": 1.0}
        total = sum(getattr(self.weights, n) * scale.get(n, body_scale) * value for n, value in terms.items())
        assert isinstance(total, Tensor)
        return total, {name: float(value.detach()) for name, value in terms.items()}

    @staticmethod
    def _helper_terms(
        helper: tuple[Tensor, Tensor], truth: Tensor, batch: Batch, good: Tensor, norm: Tensor
    ) -> dict[str, Tensor]:
        heat, parts = (t.float() for t in helper)
        rows, columns = heat.shape[-2:]
        target = heatmap_targets(truth, rows, columns)
        per_row = F.binary_cross_entropy_with_logits(heat, target, reduction="none").flatten(1).mean(1)
        part_weights = torch.ones(NUM_JOINTS + 1, device=parts.device)
        part_weights[0] = BACKGROUND_WEIGHT
        coarse = F.interpolate(batch.parts[:, None].float(), (rows, columns), mode="nearest").long()[:, 0]
        return {
            "heatmap": (per_row * good).sum() / norm,
            "parts": F.cross_entropy(parts, coarse, weight=part_weights),
        }
