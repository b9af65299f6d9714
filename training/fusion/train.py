"""`python -m training.fusion.train --bank BANK.npz --rendered SET --minutes 20 --out DIR`.

Teaches `KeypointFusion`: half of a batch are people without pictures (training/fusion/simulate.py), half rendered
people with the answers of the real network (training/fusion/sets.py). Writes last.pt, to go on from, and
at the end keypoint-fusion.pt (averaged weights). Every tenth chunk of the rendered set is held out and printed.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from bodycast.hmr.geometry.procrustes import fit_similarity
from bodycast.hmr.networks.keypoint_fusion import KeypointFusion
from bodycast.npz import read_npy
from training.core import (
    Clock,
    Entry,
    JsonLog,
    Timer,
    WeightAverage,
    cosine,
    load_checkpoint,
    save_checkpoint,
    set_rate,
    train,
    warmed,
)
from training.fusion.loss import fusion_loss
from training.fusion.sets import Rendered, load_rendered
from training.fusion.simulate import CocoBody, People, Simulation, error_rows
from training.synthetic.chunk import CHUNK

HELD_OUT_ONE_IN = 10
"""Of the rendered set's chunks."""
REPORT_EVERY_S, SAVE_EVERY_S = 60.0, 120.0
WARM_UP = 200
WITHOUT_BODY = 0.25
"""Share of the rendered people whose engine's body is left out."""


@dataclass(frozen=True)
class FusionRun:
    """What is trained, where, and how long; minutes of its own work, resumed runs counted in."""

    bank: Path
    rendered: Path
    out: Path
    networks: tuple[str, ...] = ("thunder", "lightning")
    minutes: float = 20.0
    width: int = 768
    depth: int = 3
    dropout: float = 0.1
    batch: int = 256
    rendered_batch: int = 128
    rate: float = 1e-3
    decay: float = 0.02
    threads: int = 1
    seed: int = 0
    init: Path | None = None
    bodies: Path | None = None
    score_only: bool = False


class FusionTraining:
    """One run."""

    def __init__(self, run: FusionRun) -> None:
        torch.set_num_threads(run.threads)
        torch.manual_seed(run.seed)
        self.run_options = run
        run.out.mkdir(parents=True, exist_ok=True)
        self.body = CocoBody.load()
        arrays = load_rendered(run.rendered, run.networks)
        if run.bodies is not None:
            arrays["bodies"] = read_npy(run.bodies)[: len(arrays["score"])]
        held = np.arange(len(arrays["score"])) // CHUNK % HELD_OUT_ONE_IN == 0
        self.rendered = Rendered({name: array[~held] for name, array in arrays.items()}, self.body)
        self.held = Rendered({name: array[held] for name, array in arrays.items()}, self.body)
        people = self.rendered.people
        good = (people.weight > 0) & (people.points[..., 2].mean(1) > 0.3)
        errors = error_rows(people.keypoints[good], people.points[good])
        self.simulation = Simulation(run.bank, errors, run.seed)
        self.arguments = {
            "body": run.bodies is not None, "width": run.width, "depth": run.depth, "dropout": run.dropout,
        }  # fmt: skip
        self.net = KeypointFusion(**self.arguments)
        self.following = WeightAverage(self.net)
        self.average = cast("KeypointFusion", self.following.mean)
        self.optimiser = torch.optim.AdamW(self.net.parameters(), run.rate, (0.9, 0.98), weight_decay=run.decay)
        self.clock, self.steps, self.skipped = Clock(run.minutes), 0, 0
        self.losses: dict[str, float] = {}
        self.log = JsonLog(run.out / "log.jsonl")
        self._resume()

    def _resume(self) -> None:
        path, init = self.run_options.out / "last.pt", self.run_options.init
        if init is not None and not path.is_file():
            weights = load_checkpoint(init)["state_dict"]
            # A fusion without an engine's body may grow one.
            self.net.load_state_dict(weights, strict=self.net.enter_body is None)
            self.average.load_state_dict(self.net.state_dict())
        if path.is_file():
            state = load_checkpoint(path)
            self.net.load_state_dict(state["net"])
            self.average.load_state_dict(state["average"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.clock.spent_s, self.steps = state["spent_s"], state["steps"]
        if not self.run_options.score_only:
            self.log.open(self.clock.minutes if path.is_file() else None)

    def _save(self) -> None:
        state = {
            "net": self.net.state_dict(), "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(), "spent_s": self.clock.spent_s, "steps": self.steps,
        }  # fmt: skip
        save_checkpoint(self.run_options.out / "last.pt", state)

    def _batch(self) -> tuple[People, Tensor, Tensor | None]:
        run = self.run_options
        drawn = self.simulation.draw(run.batch)
        seen, score, bodies = self.rendered.take(torch.randint(len(self.rendered), (run.rendered_batch,)))
        people = People(*(torch.cat(pair) for pair in zip(drawn, seen, strict=True)))
        if bodies is not None:
            bodies = torch.where(torch.rand(len(bodies), 1) < WITHOUT_BODY, torch.zeros(()), bodies)
            bodies = torch.cat([torch.zeros(len(drawn.weight), bodies.shape[1]), bodies])
        return people, torch.cat([torch.ones(len(drawn.weight)), score]), bodies

    def fit_score(self, steps: int = 1500) -> None:
        """Teach the score's readout alone, on rendered people, missed boxes and nobody; bodies stay to the bit."""
        people, score, bodies = self.rendered.take(torch.arange(len(self.rendered)))
        with torch.no_grad():
            features = self.average.features_of(people.keypoints, people.geometry, bodies)
        layer = self.average.leave
        weight, bias = (p[-1].detach().clone().requires_grad_() for p in (layer.weight, layer.bias))
        optimiser = torch.optim.AdamW([weight, bias], 3e-3, weight_decay=0.01)
        share = float(score.mean())
        balance = torch.where(score > 0, 0.5 / share, 0.5 / (1 - share))
        for _ in range(steps):
            loss = F.binary_cross_entropy_with_logits(features @ weight + bias, score, balance)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        with torch.no_grad():
            layer.weight[-1], layer.bias[-1] = weight, bias
        print(json.dumps({"score_loss": round(float(loss.detach()), 4)} | self.measure()), flush=True)
        self._publish()

    def train(self) -> None:
        """Until the minutes are spent."""
        now_s = self.clock.spent_s
        timers = (
            Timer(self._report, REPORT_EVERY_S, now_s + REPORT_EVERY_S),
            Timer(self._save, SAVE_EVERY_S, now_s + SAVE_EVERY_S),
        )
        train(self.clock, self.step, lambda: self.steps, timers)
        self._report()
        self._save()
        self._publish()

    def step(self, fraction: float) -> None:
        """One step; `fraction` of the budget is spent."""
        set_rate(self.optimiser, warmed(cosine(self.run_options.rate, 0.0, fraction), self.steps, WARM_UP) + 1e-6)
        people, score, bodies = self._batch()
        predicted = self.net(people.keypoints, people.geometry, bodies)
        loss, parts = fusion_loss(predicted, people, score, self.body)
        self.optimiser.zero_grad()
        loss.backward()
        length = torch.nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.steps += 1
        if not torch.isfinite(length):
            self.skipped += 1
            return
        self.optimiser.step()
        self.following.follow(min(0.999, self.steps / (self.steps + 20)))
        self.losses = {"loss": float(loss.detach()), **parts}

    def _report(self) -> None:
        line: Entry = {"minutes": self.clock.minutes, "step": self.steps, "skipped": self.skipped}
        line |= {**self.losses, **self.measure()}
        print(json.dumps({name: round(float(value), 4) for name, value in line.items()}), flush=True)
        self.log.add(line)

    def measure(self) -> dict[str, float]:
        """On held-out rendered people: MPJPE and PA-MPJPE, mm."""
        people, _, bodies = self.held.take(torch.nonzero(self.held.people.weight > 0)[:, 0])
        with torch.inference_mode():
            body = self.average(people.keypoints, people.geometry, bodies)
            joints = self.body.pose(body.rotmat, body.betas)[0].numpy()
        truth = people.joints.numpy()
        aligned = fit_similarity(joints, truth).apply(joints)
        errors = {"mpjpe_mm": joints, "pa_mpjpe_mm": aligned}
        return {name: float(1000 * np.linalg.norm(at - truth, axis=2).mean()) for name, at in errors.items()}

    def _publish(self) -> None:
        run = self.run_options
        training = (
            f"poses of motion capture (CMU, DeepMimic, MakeHuman) and gestures with simulated keypoints, and rendered "
            f"people seen by MoveNet {' and '.join(run.networks)}; score fitted on crops of nobody too"
        )
        save_checkpoint(
            run.out / "keypoint-fusion.pt",
            {
                "model": "keypoint-fusion", "arguments": self.arguments, "state_dict": self.average.state_dict(),
                "metrics": self.measure(), "training": training,
            },
        )  # fmt: skip


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bank", type=Path, required=True, help="made by training.fusion.pose_bank")
    parser.add_argument("--rendered", type=Path, required=True, help="made by training.fusion.rendered")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--networks", nargs="+", default=FusionRun.networks, help="whose keypoints, default both")
    parser.add_argument("--bodies", type=Path, help="made by training.fusion.bodies: the fusion takes an HMR body too")
    parser.add_argument("--init", type=Path, help="a fusion to begin with")
    parser.add_argument("--score-only", action="store_true", help="fit the score's readout of --init, nothing else")
    for name in ("minutes", "dropout", "rate", "width", "depth", "batch", "rendered_batch", "threads", "seed"):
        default = getattr(FusionRun, name)
        flag = f"--{name.replace('_', '-')}"
        parser.add_argument(flag, type=type(default), default=default, help=f"default {default}")
    training = FusionTraining(FusionRun(**vars(parser.parse_args())))
    training.fit_score() if training.run_options.score_only else training.train()


if __name__ == "__main__":
    main()
