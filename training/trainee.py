"""One network in training: weights, helper heads, optimiser, moving average, and how to save and resume them."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bodycast.hmr.body.body_model import EMBEDDED_BODY
from bodycast.hmr.networks.decoders.smpl_transformer import MeanParameters
from bodycast.hmr.networks.hmr_net import HmrNet
from training.batch import Batch
from training.config import Phase, Recipe
from training.core import WeightAverage, cosine, rising_keep, warmed
from training.distributed import average
from training.initialise import convolution_like
from training.losses import Truth
from training.merging import merge_network
from training.network import build_network
from training.optimiser import FlatGradients, HybridOptimiser, Optimiser, PlainAdamW
from training.tasks import make_task
from training.tasks.base import autocast
from training.tasks.body import BodyTask
from training.teacher import Teacher, begin_like

MOST_SKIPPED = 20
"""So many steps in a row may have no finite gradient; then the network has failed."""


class Trainee:
    """Several trainees can learn from one stream of batches; each resizes itself when a phase begins.

    mean: starting values of the decoder's mean parameters by their names. `compiled`: run through torch.compile.
    body: the file of the body that it learns.
    """

    def __init__(
        self,
        recipe: Recipe,
        mean: dict[str, Tensor],
        device: torch.device,
        compiled: bool = False,
        body: Path = EMBEDDED_BODY,
    ) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe = recipe
        self.device = device
        self.compiled = compiled
        self.image_hw = recipe.phases[0].image_hw
        self.arguments = dict(recipe.arguments)
        self.layer_merge: dict[str, Any] | None = None
        self.steps = 0
        self.rate = 0.0
        self.streak = torch.zeros((), device=device)
        net = self._build(self.image_hw)
        if isinstance(net, HmrNet):
            convolution_like(net.backbone)
        set_mean_parameters(net, mean)
        self.task = make_task(recipe, body)
        self.task.prepare(net)
        self.task.to(device)
        self._adopt(net.to(device), copy.deepcopy(net).to(device))

    @property
    def merged(self) -> bool:
        """Whether the phase that merges layers or tokens has begun."""
        return self.arguments != self.recipe.arguments

    @property
    def helper(self) -> nn.Module:
        """What learns along and is thrown away afterwards."""
        return self.task.helper

    def _build(self, image_hw: tuple[int, int]) -> nn.Module:
        return build_network(self.recipe.model, image_hw, self.arguments)

    def _adopt(self, net: nn.Module, ema: nn.Module) -> None:
        """Go on with other modules: freeze what is frozen, gather parameters, start the optimiser anew."""
        self.net, self.ema = net, ema.eval().requires_grad_(False)
        for name in self.recipe.freeze:
            net.get_submodule(name).requires_grad_(False)
        parameters = [p for p in (*net.parameters(), *self.helper.parameters()) if p.requires_grad]
        if not parameters:
            raise ValueError(f"recipe {self.recipe.name}: everything is frozen")
        self.gradients = FlatGradients(parameters)
        self.optimiser = self._optimiser()
        self._average = WeightAverage(net, self.ema)
        self._predict = torch.compile(self.task.predict) if self.compiled else self.task.predict

    def _optimiser(self) -> Optimiser:
        fast, slow = self.task.fast_modules(self.net), self.task.slow_modules(self.net)
        if self.recipe.optimiser == "adamw":
            return PlainAdamW([*fast, *slow], self.recipe.weight_decay)
        return HybridOptimiser(fast, slow, self.recipe.weight_decay)

    def enter(self, phase: Phase, calibration: Callable[[], Iterable[Batch]]) -> None:
        """Begin a phase: another input size, merged layers. `calibration`: crops that the merging looks at."""
        self.resize(phase.image_hw)
        if self.steps == 0 and isinstance(self.task, BodyTask) and self.task.teacher is not None:
            batch = next(iter(calibration())).to(self.device)
            for net in (self.net, self.ema):
                begin_like(self.task.teacher, net, batch.images)
        if not phase.merge or self.merged:
            return
        assert isinstance(self.net, HmrNet) and isinstance(self.ema, HmrNet)
        merged = merge_network(self.recipe, self.net, self.ema, calibration(), self.device, self.task.body_file)
        self.arguments |= merged.arguments
        self.layer_merge = merged.layer_merge
        self._adopt(merged.net, merged.ema)
        print(f"{self.recipe.name}: {merged.words}", file=sys.stderr, flush=True)

    def resize(self, image_hw: tuple[int, int]) -> None:
        """Go on at another input size: same weights in a network built for it; the optimiser's moments are kept."""
        if image_hw == self.image_hw:
            return
        moments = self.optimiser.state_dict()
        weights, averaged = self.net.state_dict(), self.ema.state_dict()
        self.image_hw = image_hw
        net, ema = self._build(image_hw).to(self.device), self._build(image_hw).to(self.device)
        net.load_state_dict(weights)
        ema.load_state_dict(averaged)
        self._adopt(net, ema)
        self.optimiser.load_state_dict(moments)

    def learn_from(self, teacher: Teacher) -> None:
        """Learn that network's maps beside the labels. Raises ValueError for a task without maps."""
        if not isinstance(self.task, BodyTask):
            raise ValueError(f"recipe {self.recipe.name}: a teacher shows maps of bodies")
        self.task.teacher = teacher.to(self.device)

    def start_from(self, weights: dict[str, Tensor]) -> None:
        """Take weights (of our names) into the network and its average."""
        self.net.load_state_dict(weights)
        self.ema.load_state_dict(weights)

    def step(
        self, batch: Batch, phase: Phase, progress: float, body_scale: float = 1.0, truth: Truth | None = None
    ) -> dict[str, Tensor]:
        """One update; `progress` 0..1 within the phase. Returns the loss terms, `total` (all of them at full weight)
        and `gradient` among them, on the device: reading them waits for it. Call `check` now and then."""
        self.net.train()
        for name in self.recipe.freeze:
            self.net.get_submodule(name).eval()
        self.rate = warmed(cosine(phase.lr, phase.lr_end, progress), self.steps + 1, self.recipe.warmup_steps)
        self.optimiser.set_rate(self.rate)
        truth = self.task.truth(batch) if truth is None else truth
        with autocast(self.device):
            predicted = self._predict(self.net, batch)
        total, terms = self.task.loss(predicted, batch, truth, body_scale)
        self.gradients.zero()
        total.backward()
        average(self.gradients.flat)
        norm, finite = self.gradients.clip(self.recipe.clip_norm)
        self.streak = torch.where(finite, torch.zeros_like(self.streak), self.streak + 1)
        self.optimiser.step()
        self.steps += 1
        self._average.follow(rising_keep(self.steps, self.recipe.ema))
        return {"total": total.detach()} | terms | {"gradient": norm}

    def check(self) -> None:
        """Raise FloatingPointError where the last MOST_SKIPPED gradients were not finite."""
        if float(self.streak) >= MOST_SKIPPED:
            raise FloatingPointError(
                f"{self.recipe.name}: no finite gradient for {MOST_SKIPPED} steps before step {self.steps}; "
                "lower the recipe's lr"
            )

    def state(self) -> dict[str, Any]:
        """All that resuming needs: tensors, numbers and strings only."""
        return {
            "model": self.recipe.model,
            "arguments": {**self.arguments, "image_hw": list(self.image_hw)},
            "recipe": self.recipe.name,
            "steps": self.steps,
            "image_hw": list(self.image_hw),
            "layer_merge": self.layer_merge,
            "state_dict": self.ema.state_dict(),
            "raw": self.net.state_dict(),
            "helper": self.helper.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }

    def package_arguments(self) -> dict[str, Any]:
        """Arguments of the finished network: with the recipe's `pool` it takes larger crops and averages them."""
        pool = self.recipe.pool
        finished: dict[str, Any] = {**self.arguments, "image_hw": [side * pool for side in self.image_hw]}
        return finished | ({"pool": pool} if pool > 1 else {})

    def finished(self) -> nn.Module:
        """The finished network, with the averaged weights."""
        arguments = self.package_arguments()
        net = build_network(self.recipe.model, tuple(arguments.pop("image_hw")), arguments).to(self.device)
        net.load_state_dict(self.ema.state_dict())
        return net.eval()

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`. Raises ValueError for another recipe's state."""
        if state["recipe"] != self.recipe.name:
            raise ValueError(f"the checkpoint is of recipe {state['recipe']!r}, not {self.recipe.name!r}")
        arguments = {key: value for key, value in state["arguments"].items() if key != "image_hw"}
        self.image_hw = tuple(state["image_hw"])
        self.arguments, self.layer_merge = arguments, state.get("layer_merge")
        net, ema = self._build(self.image_hw).to(self.device), self._build(self.image_hw).to(self.device)
        net.load_state_dict(state["raw"])
        ema.load_state_dict(state["state_dict"])
        self._adopt(net, ema)
        self.helper.load_state_dict(state["helper"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.steps = int(state["steps"])


def set_mean_parameters(net: nn.Module, mean: dict[str, Tensor]) -> None:
    """Where the decoder starts; networks that keep no mean under these names are left as they are."""
    for module in net.modules():
        if isinstance(module, MeanParameters):
            for name, value in mean.items():
                getattr(module, name).copy_(value)
