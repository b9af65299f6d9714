"""`python -m training.motion.train --minutes 40`: teach the live smoother; resumable, within a time budget.

Writes last.pt (to go on from), log.jsonl and, at the end, NAME.pt (averaged weights) into --out. Every check prints the
errors on simulated clips of the held-out subjects: acceleration and position, of the untrained fit and of the network.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor

from bodycast.hmr.networks.temporal.motion_window import REFERENCE, SLOT_AGES_S
from bodycast.hmr.networks.temporal.window_smoother import WindowSmoother
from training.core import (
    Clock,
    JsonLog,
    Timer,
    WeightAverage,
    cosine,
    load_checkpoint,
    rising_keep,
    save_checkpoint,
    set_rate,
    train,
    warmed,
)
from training.motion.error_model import ERROR_MODEL, ErrorModel
from training.motion.pair_windows import PairWindows
from training.motion.recipe import MotionRecipe, load_motion_recipe
from training.motion.smoother_loss import bodies, rollout, smoother_loss
from training.motion.windows import MotionWindows, WindowBatch, joined

SAVE_EVERY_S = 150.0
NOISE_SHARE = 0.15
TEST_ROWS = 48
TEST_ANSWERS = 6


@dataclass(frozen=True)
class MotionRun:
    """Where and how long; `minutes` are of its own work, resumed runs counted in."""

    mocap: Path
    errors: Path
    out: Path
    minutes: float
    device: str = "cpu"
    threads: int | None = None
    check_every_s: float = 240.0
    resume: bool = True
    pairs: Path | None = None


class MotionTraining:
    """One run of a recipe."""

    def __init__(self, recipe: MotionRecipe, run: MotionRun) -> None:
        if run.threads:
            torch.set_num_threads(run.threads)
        self.recipe, self.run_options = recipe, run
        run.out.mkdir(parents=True, exist_ok=True)
        errors = ErrorModel.load(run.errors)
        ages = np.array(recipe.arguments.get("ages_s", SLOT_AGES_S), np.float64)
        self.windows = MotionWindows.load(
            run.mocap, "train", errors, ages, recipe.rates_hz, recipe.fast_share, recipe.own_share
        )
        test = MotionWindows.load(run.mocap, "test", errors, ages, (30.0,))
        self.tests = {"": test.batch(np.random.default_rng(1), TEST_ROWS, TEST_ANSWERS, (0.5, 1.0))}
        self.pairs: PairWindows | None = None
        if run.pairs is not None:
            self.pairs = PairWindows.load(run.pairs, ages, held_out=False)
            held_out = PairWindows.load(run.pairs, ages, held_out=True)
            self.tests["pairs_"] = held_out.batch(np.random.default_rng(3), 2 * TEST_ROWS, TEST_ANSWERS, 0)
        torch.manual_seed(recipe.seed)
        self.net = WindowSmoother(**recipe.arguments).to(run.device)
        self.net.spread.copy_(spread_of(self.net, self._draw(0, 256)))
        self.optimiser = torch.optim.AdamW(
            self.net.parameters(), lr=recipe.lr, betas=(0.9, 0.98), weight_decay=recipe.weight_decay
        )
        self.following = WeightAverage(self.net)
        self.average = cast("WindowSmoother", self.following.mean)
        # Not the time in which others had the processor: the schedule is the same on a busy machine.
        self.steps, self.clock = 0, Clock(run.minutes, own_work=True)
        self.log = JsonLog(run.out / "log.jsonl")
        resumed = run.resume and self._checkpoint.is_file()
        if resumed:
            self._restore()
        self.log.open(self.clock.minutes if resumed else None)

    @property
    def _checkpoint(self) -> Path:
        return self.run_options.out / "last.pt"

    def _draw(self, step: int, rows: int) -> WindowBatch:
        rng = np.random.default_rng([self.recipe.seed, step])
        drawn = self.windows.batch(rng, rows, self.recipe.steps_per_rollout, self.recipe.strength)
        if self.pairs is not None and self.recipe.pair_rows:
            drawn = joined(drawn, self.pairs.batch(rng, self.recipe.pair_rows, self.recipe.steps_per_rollout))
        return drawn.to(self.run_options.device)

    def _restore(self) -> None:
        state = load_checkpoint(self._checkpoint, self.run_options.device)
        self.net.load_state_dict(state["net"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.steps, self.clock.spent_s = state["steps"], state["spent_s"]
        print(f"resuming after {self.clock.minutes:.1f} of {self.run_options.minutes:g} minutes, step {self.steps}")

    def _save(self) -> None:
        state = {
            "net": self.net.state_dict(), "average": self.average.state_dict(), "steps": self.steps,
            "optimiser": self.optimiser.state_dict(), "spent_s": self.clock.spent_s,
        }  # fmt: skip
        save_checkpoint(self._checkpoint, state)
        self._write_result()

    def _write_result(self) -> None:
        result = {
            "model": "window-smoother",
            "arguments": dict(self.recipe.arguments),
            "state_dict": self.average.state_dict(),
            "training": f"recipe {self.recipe.name}, {self.steps} steps of {self.recipe.batch} motions, "
            f"{self.clock.minutes:.0f} minutes on {self.run_options.device}",
            "recipe": json.dumps(asdict(self.recipe)),
        }
        save_checkpoint(self.run_options.out / f"{self.recipe.name}.pt", result)

    def run(self) -> None:
        """Train until the budget is spent."""
        now_s, check_every_s = self.clock.spent_s, self.run_options.check_every_s
        self._check()
        timers = (
            Timer(self._check, check_every_s, now_s + check_every_s),
            Timer(self._save, SAVE_EVERY_S, now_s + SAVE_EVERY_S),
        )
        train(self.clock, self.step, lambda: self.steps, timers)
        self._check()
        self._save()

    def step(self, fraction: float) -> None:
        """One step; `fraction` of the budget is spent."""
        recipe = self.recipe
        self.steps += 1
        set_rate(self.optimiser, warmed(cosine(recipe.lr, recipe.lr_end, fraction), self.steps, recipe.warmup_steps))
        terms = smoother_loss(self.net, self._draw(self.steps, recipe.batch), recipe.weights, NOISE_SHARE)
        self.optimiser.zero_grad(set_to_none=True)
        terms["total"].backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.optimiser.step()
        self.following.follow(rising_keep(self.steps, recipe.ema))

    def _check(self) -> None:
        entry: dict[str, float] = {"minutes": self.clock.minutes, "steps": self.steps}
        for name, test in self.tests.items():
            scores = score(self.average.eval(), test.to(self.run_options.device))
            entry |= {name + figure: value for figure, value in scores.items()}
        self.log.add(dict(entry))
        print(" ".join(f"{name} {value:.2f}" for name, value in entry.items()), flush=True)


@torch.no_grad()
def spread_of(net: WindowSmoother, batch: WindowBatch) -> Tensor:
    """(147,): root mean square of the truth around the local linear fit."""
    answer = batch.truth.shape[1] - 1
    fit = net.window(batch.motion, batch.age_s[:, answer], batch.weight[:, answer]).values[:, :, REFERENCE]
    return (batch.truth[:, answer] - fit).square().mean((0, 1)).sqrt().clamp(min=0.01)


@torch.no_grad()
def score(net: WindowSmoother, batch: WindowBatch) -> dict[str, float]:
    """Errors of the answers at lags 0, 0.1 and 0.3 s: joints (mm, pelvis-aligned) and their acceleration (mm per
    frame^2), of the network and (`fit_`) of the local linear fit it starts from."""
    found = torch.stack(rollout(net, batch)[0], 1)
    answers = range(batch.truth.shape[1])
    fits = [net.window(batch.motion, batch.age_s[:, a], batch.weight[:, a]).values[:, :, REFERENCE] for a in answers]
    scores: dict[str, float] = {}
    for lag, slot in ((0, 0), (0.1, 3), (0.3, 9)):
        truth, _ = bodies(batch.truth[:, :, slot])
        for name, values in (("", found), ("fit_", torch.stack(fits, 1))):
            off = bodies(values[:, 1:, slot])[0] - truth[:, 1:]
            scores[f"{name}mm@{lag}"] = 1000 * float(off.norm(dim=-1).mean())
            turn = off[:, 1:].diff(dim=1).diff(dim=1)
            scores[f"{name}acc@{lag}"] = 1000 * float(turn.norm(dim=-1).mean())
    return scores


def main(argv: list[str] | None = None) -> int:
    """Command line. Exit code 2 for bad input."""
    parser = argparse.ArgumentParser(prog="python -m training.motion.train", description=__doc__)
    parser.add_argument("--recipe", default="motion-diffusion", help="name in training/motion/recipes, or a .toml file")
    parser.add_argument(
        "--mocap", type=Path, required=True, metavar="CLIPS", help="folder of motion clips (.bvh, .bvh.gz, AMASS .npz)"
    )
    parser.add_argument("--errors", type=Path, default=ERROR_MODEL, help="error model (training.motion.measure)")
    parser.add_argument("--pairs", type=Path, help="also learn from these pairs (training.motion.make_pairs)")
    parser.add_argument("--out", type=Path, default=None, help="default: work/NAME")
    parser.add_argument("--minutes", type=float, default=40.0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--check-every", type=float, default=240.0, help="seconds between two checks")
    parser.add_argument("--fresh", action="store_true", help="do not go on from --out")
    args = parser.parse_args(argv)
    try:
        recipe = load_motion_recipe(args.recipe)
        out = args.out or Path("work") / recipe.name
        run = MotionRun(
            mocap=args.mocap,
            errors=args.errors,
            out=out,
            minutes=args.minutes,
            device=args.device,
            threads=args.threads,
            check_every_s=args.check_every,
            resume=not args.fresh,
            pairs=args.pairs,
        )
        training = MotionTraining(recipe, run)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    training.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
