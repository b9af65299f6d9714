"""Losses of HMR2.0 (arXiv 2305.20091), with vertices, and a helper task on the encoder's map.

Predictions live in the crop's ray frame (hmr/geometry/crop_ray.py); 2D errors are measured in the picture with the
true camera. Labels that are missing weigh nothing (`training.batch.Known`).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bodycast.hmr.body.joints import NUM_JOINTS
from bodycast.hmr.body.surface_joints import SURFACE_JOINT_NAMES, SURFACE_VERTICES
from bodycast.hmr.body.torch_body import TorchBody
from bodycast.hmr.networks.decoders.smpl_transformer import SmplPrediction
from training.batch import Batch
from training.config import LossWeights
from training.crop_camera import full_translation, in_crop, ray_rotation

SURFACE_POINTS = 300
BACKGROUND_WEIGHT = 0.4
FAR = 3.0  # crop heights from the centre: a label further out is capped there


class HelperHeads(nn.Module):
    """1x1 maps from the encoder's last map (B,C,h,w) to 24 joint heat maps and 25 part scores; for training only.
    Without `heatmaps` to the parts alone, where the network has heat maps of its own."""

    def __init__(self, channels: int, heatmaps: bool = True) -> None:
        super().__init__()
        self.heatmaps = nn.Conv2d(channels, NUM_JOINTS, 1) if heatmaps else None
        self.parts = nn.Conv2d(channels, NUM_JOINTS + 1, 1)
        if self.heatmaps is not None:
            nn.init.zeros_(self.heatmaps.weight)
            nn.init.constant_(self.heatmaps.bias, -4.0)

    def forward(self, features: Tensor, heatmaps: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Logits of both; `heatmaps`: the network's own."""
        if heatmaps is None:
            assert self.heatmaps is not None
            heatmaps = self.heatmaps(features)
        return heatmaps, self.parts(features)


class Truth(NamedTuple):
    """What the labels of B crops say, computed once for all networks that learn from them.

    surface (B,S,3) and joints (B,24,3): crop's ray frame, relative to the pelvis, m. points (B,35,2): places of
    POINT_NAMES in crop coordinates. The rest are weights, 0 where a crop is bad or does not know: pose, betas,
    camera, parts, surface_weight (B,), joint_weight (B,24), point_weight (B,35).
    """

    surface: Tensor
    joints: Tensor
    points: Tensor
    pose: Tensor
    betas: Tensor
    camera: Tensor
    parts: Tensor
    surface_weight: Tensor
    joint_weight: Tensor
    point_weight: Tensor


class SurfaceBody(nn.Module):
    """A body with few vertices: a fixed random subset for a surface loss, and those of nose, eyes, ears, feet."""

    select: Tensor

    def __init__(self, body: TorchBody, seed: int = 0) -> None:
        super().__init__()
        count = len(body.v_template)
        chosen = np.random.default_rng(seed).choice(count, min(SURFACE_POINTS, count), replace=False)
        table = [SURFACE_VERTICES[body.name][name] for name in SURFACE_JOINT_NAMES]
        keep = torch.from_numpy(np.concatenate([chosen, *table]).astype(np.int64))
        self.surface_points = len(chosen)
        select = torch.zeros(len(table), len(keep) - len(chosen))
        at = 0
        for row, vertices in enumerate(table):
            select[row, at : at + len(vertices)] = 1 / len(vertices)
            at += len(vertices)
        self.register_buffer("select", select, persistent=False)
        body.shapedirs = body.shapedirs.reshape(10, count, 3)[:, keep].reshape(10, -1)
        body.v_template, body.weights = body.v_template[keep], body.weights[keep]
        if body.posedirs is not None:
            body.posedirs = body.posedirs.reshape(-1, count, 3)[:, keep].reshape(len(body.posedirs), -1)
        self.body = body

    def forward(self, pose: Tensor, betas: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Surface (B,S,3), points of POINT_NAMES (B,35,3), both relative to the pelvis, and the pelvis (B,3), m."""
        vertices, joints = self.body(pose, betas, torch.zeros_like(pose[:, 0, 0]))
        pelvis = joints[:, :1]
        places = torch.cat([joints, self.select @ vertices[:, self.surface_points :]], dim=1)
        return vertices[:, : self.surface_points] - pelvis, places - pelvis, pelvis[:, 0]


class Labels(nn.Module):
    """Truth of a batch, without gradients."""

    def __init__(self, body: SurfaceBody) -> None:
        super().__init__()
        self.body = body

    @torch.no_grad()
    def forward(self, batch: Batch) -> Truth:
        """`Truth` of the batch."""
        surface, places, _ = self.body(batch.pose, batch.betas)
        turn, good = ray_rotation(batch), batch.score
        joints = (batch.joints - batch.joints[:, :1]) @ turn  # rows: turn^T applied to each joint
        known = batch.known
        placed = in_crop(places @ turn.transpose(1, 2) + batch.joints[:, :1], batch)
        if known is None:
            ones = torch.ones_like(places[..., 0]) * good[:, None]
            return Truth(surface, joints, placed.clamp(-FAR, FAR), *[good] * 5, ones[:, :NUM_JOINTS], ones)
        # Where the whole body is known and placed, so are its nose, eyes, ears and feet.
        whole = (known.pose * known.betas * known.camera)[:, None] * (known.points[:, NUM_JOINTS:] == 0)
        derived = torch.cat([torch.zeros_like(known.points[:, :NUM_JOINTS]), whole], dim=1)
        points = torch.where(derived[..., None] > 0, placed, known.points_2d)
        return Truth(
            surface, joints, points.clamp(-FAR, FAR), good * known.pose, good * known.betas,
            good * known.camera, good * known.parts, good * known.pose * known.betas,
            good[:, None] * known.joints, good[:, None] * (known.points + derived),
        )  # fmt: skip


def heatmap_targets(points: Tensor, rows: int, columns: int, sigma: float = 0.028) -> Tensor:
    """Gaussians (B,J,rows,columns) around crop coordinates (B,J,2); sigma in crop heights."""
    y = ((torch.arange(rows, device=points.device) + 0.5) / rows - 0.5)[:, None]
    x = (((torch.arange(columns, device=points.device) + 0.5) / columns - 0.5) * columns / rows)[None, :]
    # A Gaussian is a product of its sides: two short exponentials instead of one on the whole map.
    along_x = torch.exp(-((x - points[..., :1]) ** 2) / (2 * sigma**2))
    along_y = torch.exp(-((y - points[..., None, 1:]) ** 2) / (2 * sigma**2))
    return along_y * along_x[..., None, :]


def weighted_mean(values: Tensor, weight: Tensor) -> Tensor:
    """Mean of values, of which each row (or row and column) counts `weight` times; 0 where nothing counts."""
    values = values.flatten(weight.dim()).mean(-1) if values.dim() > weight.dim() else values
    return (values * weight).sum() / weight.sum().clamp_min(1e-3)


class HmrLoss(nn.Module):
    """Weighted sum of all terms. `forward` gives the sum, and by name, detached: the terms unweighted, and their sum at
    full weight as `total`, which compares over a whole run while `body_scale` grows."""

    def __init__(self, weights: LossWeights, body: SurfaceBody | None = None) -> None:
        super().__init__()
        self.weights = weights
        self.body = SurfaceBody(TorchBody.load()) if body is None else body
        self.labels = Labels(self.body)

    def forward(
        self,
        prediction: SmplPrediction,
        helper: tuple[Tensor, Tensor] | None,
        batch: Batch,
        body_scale: float = 1.0,
        truth: Truth | None = None,
        early: Tensor | None = None,
        distilled: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """`helper`: logits of HelperHeads, or None; `body_scale`: factor on the terms of the body alone; `truth`: from
        `labels`, where several networks share it; `early`: a `JointReading`'s joints; `distilled`: the
        loss of its map beside a teacher's."""
        truth = self.labels(batch) if truth is None else truth
        rotmat, betas, camera = (t.float() for t in (prediction.rotmat, prediction.betas, prediction.camera))
        surface, places, rest = self.body(rotmat, betas)
        pelvis = full_translation(camera, batch) + rest
        placed = places @ ray_rotation(batch).transpose(1, 2) + pelvis[:, None]
        # A joint far outside the crop is a guess: it counts, but not more than one at the border.
        reach = 0.5 / truth.points.abs().amax(-1).clamp_min(0.5)
        norm = torch.square if self.weights.squared else torch.abs
        difference = (rotmat - batch.pose) ** 2
        off = (camera - batch.camera) / batch.camera[:, :1].abs().clamp_min(0.3)
        flat = norm(in_crop(placed, batch) - truth.points).sum(-1)
        terms = {
            "joints_3d": weighted_mean(norm(places[:, :NUM_JOINTS] - truth.joints).sum(-1), truth.joint_weight),
            "joints_2d": weighted_mean((flat * reach).clamp_max(2.0), truth.point_weight),
            "vertices": weighted_mean(norm(surface - truth.surface).sum(-1), truth.surface_weight),
            "root": weighted_mean(difference[:, 0].sum((-1, -2)), truth.pose),
            "pose": weighted_mean(difference[:, 1:].sum((-1, -2)), truth.pose),
            "betas": weighted_mean((betas - batch.betas) ** 2, truth.betas),
            "camera": weighted_mean(off.abs().clamp_max(3.0), truth.camera),
        }
        if prediction.score is not None:
            found = prediction.score.float().clamp(1e-6, 1 - 1e-6)
            terms["score"] = F.binary_cross_entropy(found, batch.score)
        if helper is not None:
            terms |= _helper_terms(helper, truth, batch)
        if early is not None:
            terms["early_joints"] = weighted_mean(norm(early.float() - truth.joints).sum(-1), truth.joint_weight)
        if distilled is not None:
            terms["features"] = distilled
        alone = ("score", "heatmap", "parts", "early_joints", "features")
        factor = {name: getattr(self.weights, name) * (1.0 if name in alone else body_scale) for name in terms}
        total = torch.stack([factor[name] * value for name, value in terms.items()]).sum()
        told = {name: value.detach() for name, value in terms.items()}
        told["total"] = torch.stack([getattr(self.weights, name) * value for name, value in told.items()]).sum()
        return total, told


def _helper_terms(helper: tuple[Tensor, Tensor], truth: Truth, batch: Batch) -> dict[str, Tensor]:
    heat, parts = (t.float() for t in helper)
    rows, columns = heat.shape[-2:]
    target = heatmap_targets(truth.points[:, :NUM_JOINTS], rows, columns)
    errors = F.binary_cross_entropy_with_logits(heat, target, reduction="none")
    part_weights = torch.ones_like(parts[0, :, 0, 0])
    part_weights[0] = BACKGROUND_WEIGHT
    coarse = F.interpolate(batch.parts[:, None].float(), (rows, columns), mode="nearest").long()[:, 0]
    if batch.known is not None:  # a bad crop shows nobody, which is known
        ignored = (batch.known.parts < 0.5)[:, None, None]
        coarse = torch.where(ignored, torch.full_like(coarse, -100), coarse)
        # Where nothing at all is labelled the mean would be 0 / 0.
        chosen = F.cross_entropy(parts, coarse, weight=part_weights, reduction="sum")
        count = (part_weights[coarse.clamp_min(0)] * (coarse >= 0)).sum().clamp_min(1e-3)
        parts_loss = chosen / count
    else:
        parts_loss = F.cross_entropy(parts, coarse, weight=part_weights)
    return {"heatmap": weighted_mean(errors, truth.point_weight[:, :NUM_JOINTS]), "parts": parts_loss}
