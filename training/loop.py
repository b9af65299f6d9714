"""The training loop: one stream of batches, one or more trainees, a time budget, checkpoints, curves."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from training import distributed
from training.config import Phase, Recipe
from training.crop_set import Batch, CropSet, mean_parameters
from training.trainee import Trainee, save
from training.validate import validate

SMOOTHING = 0.98


@dataclass(frozen=True)
class RunOptions:
    """Where and how long. `minutes` counts this recipe's whole training, over all resumed runs."""

    train: Path
    test: Path
    out: Path
    minutes: float
    device: str = "cpu"
    threads: int | None = None
    validate_every_s: float = 300.0
    validate_limit: int = 320
    resume: bool = True


def phase_at(recipe: Recipe, fraction: float) -> tuple[Phase, float]:
    """The phase that is on when `fraction` (0..1) of the time is spent, and the progress within it."""
    start = 0.0
    for phase in recipe.phases:
        if fraction < start + phase.share or phase is recipe.phases[-1]:
            return phase, min(1.0, max(0.0, (fraction - start) / phase.share))
        start += phase.share
    raise AssertionError("a recipe has at least one phase")


class Training:
    """One run of one or more recipes that share their phases' sizes."""

    def __init__(self, recipes: list[Recipe], options: RunOptions) -> None:
        if options.threads:
            torch.set_num_threads(options.threads)
        self.options = options
        self.recipes = recipes
        self.train, self.test = CropSet(options.train), CropSet(options.test)
        options.out.mkdir(parents=True, exist_ok=True)
        mean = mean_parameters(self.train)
        device = distributed.start(options.device)
        self.trainees = [Trainee(recipe, mean, device) for recipe in recipes]
        self.spent_s = 0.0
        self.history: list[dict[str, float | str]] = []
        if options.resume and self._checkpoint.is_file():
            self._restore()

    @property
    def _checkpoint(self) -> Path:
        return self.options.out / "last.pt"

    def _restore(self) -> None:
        state = torch.load(self._checkpoint, map_location="cpu", weights_only=True)
        for trainee, part in zip(self.trainees, state["trainees"], strict=True):
            trainee.restore(part)
        self.spent_s = float(state["spent_s"])
        log = self.options.out / "log.jsonl"
        self.history = [json.loads(line) for line in log.read_text().splitlines()] if log.is_file() else []
        print(
            f"resuming after {self.spent_s / 60:.1f} of {self.options.minutes:g} minutes, step {self.trainees[0].steps}"
        )

    def _save(self) -> None:
        save(self._checkpoint, {"spent_s": self.spent_s, "trainees": [t.state() for t in self.trainees]})

    def run(self) -> dict[str, dict[str, float]]:
        """Train until the budget is spent; returns the final scores on the whole test set by recipe name."""
        budget = self.options.minutes * 60
        columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
        with Progress(*columns, disable=not sys.stderr.isatty() or distributed.rank() > 0) as progress:
            bar = progress.add_task("training", total=budget, completed=self.spent_s)
            self._loop(budget, lambda text: progress.update(bar, completed=self.spent_s, description=text))
        if distributed.rank() > 0:
            return {}
        self._save()
        return self._finish()

    def _loop(self, budget: float, report) -> None:
        means: dict[str, float] = {}
        next_check = self.spent_s + self.options.validate_every_s
        current: Phase | None = None
        batches: Iterator[Batch] = iter(())
        device = self.trainees[0].device
        while True:
            # Process 0 keeps the time, so that all change phases, and stop, at the same step.
            self.spent_s = distributed.from_first(self.spent_s, device)
            if self.spent_s >= budget:
                return
            began = time.monotonic()
            phase, within = phase_at(self.recipes[0], self.spent_s / budget)
            if phase is not current:
                current = phase
                for trainee in self.trainees:
                    trainee.resize(phase.image_hw)
                seed = self.recipes[0].seed + self.trainees[0].steps + 7919 * distributed.rank()
                size = max(1, phase.batch // distributed.world())
                batches = self.train.batches(size, phase.image_hw, seed, self.recipes[0].flip)
            body_scale = min(1.0, 0.1 + 0.9 * self.spent_s / budget / max(self.recipes[0].ramp, 1e-9))
            batch = next(batches).to(device)
            for trainee in self.trainees:
                terms = trainee.step(batch, phase, within, body_scale)
                for name, value in terms.items():
                    key = f"{trainee.recipe.name}/{name}"
                    means[key] = means.get(key, value) * SMOOTHING + value * (1 - SMOOTHING)
            self.spent_s += time.monotonic() - began
            first = self.recipes[0].name
            loss = means[f"{first}/total"]
            report(f"{phase.image_hw[0]}x{phase.image_hw[1]} step {self.trainees[0].steps} loss {loss:.3f}")
            if self.spent_s >= next_check and distributed.rank() == 0:
                next_check = self.spent_s + self.options.validate_every_s
                self._log(means)
                self._save()

    def _log(self, means: dict[str, float]) -> None:
        for trainee in self.trainees:
            prefix = f"{trainee.recipe.name}/"
            terms = {name.removeprefix(prefix): value for name, value in means.items() if name.startswith(prefix)}
            scores = validate(trainee.ema, self.test, trainee.image_hw, self.options.validate_limit)
            entry = {
                "recipe": trainee.recipe.name, "minutes": self.spent_s / 60, "step": trainee.steps,
                "crops": len(self.train), "height": trainee.image_hw[0], **terms, **scores,
            }  # fmt: skip
            self.history.append(entry)
            with (self.options.out / "log.jsonl").open("a") as log:
                log.write(json.dumps(entry) + "\n")
            shown = {k: round(v, 3) for k, v in entry.items() if isinstance(v, float) and "mean_pose" not in k}
            print(trainee.recipe.name, "step", trainee.steps, shown, flush=True)

    def _finish(self) -> dict[str, dict[str, float]]:
        from training.plots import plot_history

        results = {}
        for trainee in self.trainees:
            scores = validate(trainee.ema, self.test, trainee.image_hw)
            results[trainee.recipe.name] = scores
            checkpoint = {
                "model": trainee.recipe.model,
                "arguments": trainee.package_arguments(),
                "state_dict": {k: v.clone() for k, v in trainee.ema.state_dict().items()},
                "metrics": scores,
                "training": {
                    "recipe": trainee.recipe.name, "minutes": self.spent_s / 60, "steps": trainee.steps,
                    "crops": len(self.train), "device": self.options.device,
                },
            }  # fmt: skip
            save(self.options.out / f"{trainee.recipe.name}.pt", checkpoint)
            (self.options.out / f"{trainee.recipe.name}.json").write_text(json.dumps(scores, indent=1))
        if self.history:
            plot_history(self.history, self.options.out / "curves.png")
        return results
