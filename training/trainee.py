"""One network in training: weights, helper heads, optimiser, moving average, and how to save and resume them."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hmr.networks import registry
from hmr.networks.hmr_net import HmrNet
from training.config import Phase, Recipe
from training.crop_set import Batch
from training.distributed import average_gradients
from training.initialise import convolution_like
from training.losses import HelperHeads, HmrLoss
from training.optimiser import HybridOptimiser


class Trainee:
    """Several trainees can learn from one stream of batches; each resizes itself when a phase begins."""

    def __init__(self, recipe: Recipe, mean: dict[str, Tensor], device: torch.device) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe = recipe
        self.device = device
        self.image_hw = recipe.phases[0].image_hw
        self.net = self._build(self.image_hw).to(device)
        convolution_like(self.net.backbone)
        for name, value in mean.items():
            getattr(self.net.smpl_head, name).copy_(value)
        channels = self.net.backbone.feature_info[-1][0]
        self.helper = HelperHeads(channels).to(device)
        self.loss = HmrLoss(recipe.weights).to(device)
        self.ema = copy.deepcopy(self.net).eval()
        self.steps = 0
        self.optimiser = self._optimiser()

    def _build(self, image_hw: tuple[int, int]) -> HmrNet:
        net = registry.build(self.recipe.model, image_hw=image_hw, **self.recipe.arguments)
        assert isinstance(net, HmrNet)
        return net

    def _optimiser(self) -> HybridOptimiser:
        return HybridOptimiser([self.net.backbone, self.helper], [self.net.smpl_head], self.recipe.weight_decay)

    def resize(self, image_hw: tuple[int, int]) -> None:
        """Go on at another input size: same weights in a network built for it; the optimiser's moments are kept."""
        if image_hw == self.image_hw:
            return
        moments = self.optimiser.state_dict()
        weights, average = self.net.state_dict(), self.ema.state_dict()
        self.image_hw = image_hw
        self.net = self._build(image_hw).to(self.device)
        self.net.load_state_dict(weights)
        self.ema = self._build(image_hw).to(self.device).eval()
        self.ema.load_state_dict(average)
        self.optimiser = self._optimiser()
        self.optimiser.load_state_dict(moments)

    def step(self, batch: Batch, phase: Phase, progress: float, body_scale: float = 1.0) -> dict[str, float]:
        """One update; `progress` 0..1 within the phase. Returns the loss terms, `total` among them."""
        self.net.train()
        rate = phase.lr_end + (phase.lr - phase.lr_end) * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
        rate *= min(1.0, (self.steps + 1) / self.recipe.warmup_steps)
        self.optimiser.set_rate(rate)
        with torch.autocast(self.device.type, torch.bfloat16):
            features = self.net.backbone(batch.images)[-1]
            helper = self.helper(features)
            prediction = self.net.smpl_head(features)
        with torch.autocast(self.device.type, enabled=False):
            total, terms = self.loss(prediction, helper, batch, body_scale)
        self.optimiser.zero_grad()
        total.backward()
        parameters = [*self.net.parameters(), *self.helper.parameters()]
        average_gradients(parameters)
        norm = nn.utils.clip_grad_norm_(parameters, self.recipe.clip_norm)
        if not torch.isfinite(norm):
            raise FloatingPointError(f"{self.recipe.name}: the gradient is not finite at step {self.steps}: {terms}")
        self.optimiser.step()
        self.steps += 1
        self._average()
        return terms | {"total": float(total.detach()), "gradient": float(norm), "lr": rate}

    @torch.no_grad()
    def _average(self) -> None:
        keep = min(self.recipe.ema, (1 + self.steps) / (10 + self.steps))
        for mean, value in zip(self.ema.parameters(), self.net.parameters(), strict=True):
            mean.lerp_(value, 1 - keep)
        for mean, value in zip(self.ema.buffers(), self.net.buffers(), strict=True):
            mean.copy_(value)

    def state(self) -> dict[str, Any]:
        """All that resuming needs: tensors, numbers and strings only."""
        return {
            "model": self.recipe.model,
            "arguments": {**self.recipe.arguments, "image_hw": list(self.image_hw)},
            "recipe": self.recipe.name,
            "steps": self.steps,
            "image_hw": list(self.image_hw),
            "state_dict": self.ema.state_dict(),
            "raw": self.net.state_dict(),
            "helper": self.helper.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }

    def package_arguments(self) -> dict[str, Any]:
        """Arguments of the finished network: with the recipe's `pool`, it takes larger crops and averages them."""
        pool = self.recipe.pool
        sized: dict[str, Any] = {"image_hw": [side * pool for side in self.image_hw]}
        return {**self.recipe.arguments, **sized, **({"pool": pool} if pool > 1 else {})}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`. Raises ValueError for another recipe's state."""
        if state["recipe"] != self.recipe.name:
            raise ValueError(f"the checkpoint is of recipe {state['recipe']!r}, not {self.recipe.name!r}")
        self.resize(tuple(state["image_hw"]))
        self.net.load_state_dict(state["raw"])
        self.ema.load_state_dict(state["state_dict"])
        self.helper.load_state_dict(state["helper"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.steps = int(state["steps"])


def save(path: Path, state: dict[str, Any]) -> None:
    """Write atomically: a killed run leaves the old checkpoint or the new one."""
    part = path.with_suffix(".part")
    torch.save(state, part)
    part.replace(path)
