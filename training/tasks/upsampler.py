"""FeatUp's joint bilateral upsampler (arXiv 2403.10516), trained by multi-view consistency on a frozen encoder.

The crop is moved and, every other time, zoomed; its enlarged map, moved the same way and averaged down by a learned
downsampler, must be the map that the encoder gives for the moved crop. Both are compared in 30 random directions,
with a learned uncertainty per place; in training the map is projected on them before it is enlarged, which gives the
same at a fraction of the cost. The enlarged map is moved at its own size: Heo and Hu bring it to the crop's size
first, which costs four to sixteen times as much and adds nothing but bilinear pixels. The downsampler's blur is of
crops' pixels, so it is left out where a pixel of the enlarged map is several of the crop's. FeatUp's CRF term (weight
0.001) is left out, and its mirrored views: an encoder of bodies tells left from right, so its map of a mirror image is
not the mirrored map, and no upsampler can make up for it (docs/lab).

The net is one of the registry with `upsampling` (the deformable ones): its upsampler is trained for all its taps at
once, and its checkpoint then starts the network's own training (`--init`).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bodycast.hmr.body.body_model import EMBEDDED_BODY
from bodycast.hmr.networks.hmr_net import HmrNet
from bodycast.hmr.networks.upsampling.jbu import AttentionDownsampler, MapUpsampler
from training.batch import Batch
from training.config import Recipe
from training.losses import Truth
from training.tasks.base import Task, autocast

DIRECTIONS = 30
MOVE = 0.08  # of the crop: 20 pixels of 256
ZOOM = 2.0
FULL_FACTOR = 16
"""At this factor a pixel of the map is one of the crop, as in FeatUp."""


class _Views(nn.Module):
    """Per tap: the way back down and the uncertainty."""

    def __init__(self, channels: list[int], grids_hw: list[tuple[int, int]], factor: int) -> None:
        super().__init__()
        sizes = zip(channels, grids_hw, strict=True)
        blur = factor == FULL_FACTOR
        self.down = nn.ModuleList(AttentionDownsampler(c, grid, factor, blur) for c, grid in sizes)
        self.uncertainty = nn.ModuleList(nn.Conv2d(c, 1, 1) for c in channels)
        for layer in self.uncertainty:
            nn.init.zeros_(layer.weight)


class UpsamplerTask(Task):
    """Enlarged maps that look from elsewhere as the encoder's maps from there do."""

    main_score = "consistency"

    def __init__(self, recipe: Recipe, body: Path = EMBEDDED_BODY) -> None:
        super().__init__(recipe, body)
        if "backbone" not in recipe.freeze:
            raise ValueError(
                f'recipe {recipe.name}: an upsampler is trained on a frozen encoder: freeze = ["backbone"]'
            )

    def prepare(self, net: nn.Module) -> None:
        if not isinstance(net, HmrNet) or net.upsampling is None:
            raise ValueError(f"recipe {self.recipe.name}: {self.recipe.model} has no upsampler to train")
        was_training = net.training
        with torch.no_grad():
            maps = net.eval().tapped(torch.zeros(1, 3, *net.image_hw))
        net.train(was_training)
        grids = [(m.shape[2], m.shape[3]) for m in maps]
        self.helper = _Views([m.shape[1] for m in maps], grids, net.upsampling.factor)

    def fast_modules(self, net: nn.Module) -> list[nn.Module]:
        return [net.get_submodule("upsampling"), self.helper]

    def slow_modules(self, net: nn.Module) -> list[nn.Module]:
        return []

    def predict(self, net: nn.Module, batch: Batch) -> Any:
        assert isinstance(net, HmrNet) and net.upsampling is not None and isinstance(self.helper, _Views)
        device = batch.images.device
        grid = random_views(len(batch), device, self.training)
        # On a CPU bfloat16 is half as fast here: most of the time goes to copies.
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type != "cpu"):
            moved = move(batch.images, grid)
            with torch.no_grad():
                maps = [_normed(m) for m in net.tapped(batch.images)]
                wanted = [_normed(m) for m in net.tapped(moved)]
            spread = [layer(m) for layer, m in zip(self.helper.uncertainty, wanted, strict=True)]
            if self.training:
                found, wanted = self._along_directions(net.upsampling, maps, wanted, batch.images, grid)
            else:
                enlarged = net.upsampling(maps, batch.images)
                found = [down(move(m, grid)) for down, m in zip(self.helper.down, enlarged, strict=True)]
        return found, wanted, spread

    def _along_directions(
        self, upsampling: MapUpsampler, maps: list[Tensor], wanted: list[Tensor], images: Tensor, grid: Tensor
    ) -> tuple[list[Tensor], list[Tensor]]:
        """What is found and what is wanted, along random directions. All channels are enlarged alike, so directions of
        them, and the logits of the way down, can be taken before."""
        assert isinstance(self.helper, _Views)
        few: list[Tensor] = []
        goals: list[Tensor] = []
        for feature_map, goal, down in zip(maps, wanted, self.helper.down, strict=True):
            channels = feature_map.shape[1]
            directions = torch.randn(channels, DIRECTIONS, device=images.device) / channels**0.5
            logits = F.conv2d(down.dropout(feature_map), down.attention.weight)
            few.append(torch.cat([_along(feature_map, directions), logits], dim=1))
            goals.append(_along(goal, directions))
        found: list[Tensor] = []
        for enlarged, down in zip(upsampling(few, images), self.helper.down, strict=True):
            seen = move(enlarged, grid)
            found.append(down(seen[:, :-1], seen[:, -1:] + down.attention.bias.view(1, 1, 1, 1)))
        return found, goals

    @staticmethod
    def predict_bilinear(net: nn.Module, batch: Batch) -> tuple[list[Tensor], list[Tensor]]:
        """What bilinear enlarging, and means of the cells on the way back, give for the views of `score`; and what was
        wanted."""
        assert isinstance(net, HmrNet) and net.upsampling is not None
        grid = random_views(len(batch), batch.images.device, False)
        maps = [_normed(m) for m in net.tapped(batch.images)]
        wanted = [_normed(m) for m in net.tapped(move(batch.images, grid))]
        found = []
        for feature_map, target in zip(maps, wanted, strict=True):
            hw = [net.upsampling.factor * side for side in target.shape[-2:]]
            whole = F.interpolate(feature_map, hw, mode="bilinear", align_corners=False)
            found.append(F.adaptive_avg_pool2d(move(whole, grid), target.shape[-2:]))
        return found, wanted

    def loss(
        self, predicted: Any, batch: Batch, truth: Truth | None, body_scale: float
    ) -> tuple[Tensor, dict[str, Tensor]]:
        total, plain = torch.zeros((), device=batch.images.device), torch.zeros((), device=batch.images.device)
        for found, wanted, spread in zip(*predicted, strict=True):
            found, wanted, spread = found.float(), wanted.float(), spread.float().clamp(-6, 6)
            error = (found - wanted).square().mean(1, keepdim=True)
            total = total + (error * torch.exp(-2 * spread) + spread).mean()
            plain = plain + error.mean().detach() / len(predicted[0])
        return total, {"consistency": plain}

    @torch.no_grad()
    def score(self, net: nn.Module, batches: Iterable[Batch]) -> dict[str, float]:
        """Mean squared difference of the normed maps (their variance is 1), on the same views every time; `bilinear`:
        that of bilinear enlarging in place of the upsampler; `loss`: with the uncertainty, as it is minimised."""
        net.eval()
        self.eval()
        device = next(net.parameters()).device
        rows: list[dict[str, float]] = []
        for batch in batches:
            moved = batch.to(device)
            with autocast(device):
                predicted, plain = self.predict(net, moved), self.predict_bilinear(net, moved)
            total, terms = self.loss(predicted, moved, None, 1.0)
            bilinear = [float((a.float() - b.float()).square().mean()) for a, b in zip(*plain, strict=True)]
            rows.append(
                {
                    "consistency": float(terms["consistency"]),
                    "bilinear": sum(bilinear) / len(bilinear),
                    "loss": float(total),
                }
            )
        self.train()
        return {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]} if rows else {}


def _normed(feature_map: Tensor) -> Tensor:
    """(B,C,h,w), every place's features with mean 0 and variance 1."""
    return F.layer_norm(feature_map.permute(0, 2, 3, 1).float(), (feature_map.shape[1],)).permute(0, 3, 1, 2)


def _along(feature_map: Tensor, directions: Tensor) -> Tensor:
    return torch.einsum("bchw,cd->bdhw", feature_map, directions)


def random_views(count: int, device: torch.device, random: bool) -> Tensor:
    """(count,2,3) affine maps for `move`, as FeatUp draws them: a shift, and every other time a zoom of 1 to 2; the
    same ones where not `random`."""
    draw = torch.rand(count, 4, device=device) if random else torch.linspace(0, 1, 4 * count, device=device).view(-1, 4)
    zoomed = draw[:, 3] < 0.5 if random else torch.arange(count, device=device) % 2 == 1
    scale = torch.where(zoomed, 1 / (1 + (ZOOM - 1) * draw[:, 0]), 1.0)
    reach = 1 - scale + 2 * MOVE
    shift = (2 * draw[:, 1:3] - 1) * reach[:, None]
    zero = torch.zeros_like(scale)
    rows = torch.stack([scale, zero, shift[:, 0], zero, scale, shift[:, 1]], dim=1)
    return rows.view(-1, 2, 3)


def move(pictures: Tensor, views: Tensor) -> Tensor:
    """(B,C,H,W) seen through affine maps (B,2,3); beyond the border it is reflected."""
    grid = F.affine_grid(views.to(pictures.dtype), list(pictures.shape), align_corners=False)
    return F.grid_sample(pictures, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
