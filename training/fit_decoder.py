"""`python -m training.fit_decoder --recipe swin-t-s2`: fit the decoder of a run to its encoder's fixed maps.

In joint training the decoder sees each map once while the encoder pays for it. With the encoder held still (its moving
average), every crop and its mirror image is encoded once, and the decoder takes ten times as many steps in the same
time. The run then goes on jointly from here. Reads and writes the run's checkpoint.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from rich.progress import track
from torch import Tensor

from training.batch import Batch, joined, mirrored
from training.config import load_recipe
from training.crop_set import CropSet
from training.losses import HmrLoss
from training.optimiser import HybridOptimiser
from training.trainee import Trainee, save
from training.validate import validate

BATCH = 192
RATE, RATE_END = 1.5e-2, 3e-4


class MapCache:
    """Encoder maps (bfloat16) and labels of crops and their mirror images, in memory: `limit` crops of all sets
    together, of each as many as its share."""

    def __init__(self, encoder: torch.nn.Module, sets: list[CropSet], image_hw: tuple[int, int], limit: int) -> None:
        share = min(1.0, limit / sum(len(crops) for crops in sets))
        maps: list[Tensor] = []
        labels: list[Batch] = []
        empty = torch.zeros(0)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            for crops in sets:
                rows = np.arange(int(share * len(crops)))  # crops that miss their person teach the score
                for start in track(range(0, len(rows), 64), "encoding", disable=not sys.stderr.isatty()):
                    batch = crops.rows(rows[start : start + 64], image_hw)
                    for seen in (batch, mirrored(batch)):
                        maps.append(encoder(seen.images)[-1].bfloat16())
                        labels.append(replace(seen, images=empty, parts=empty))
        self.maps = torch.cat(maps)
        self.labels = joined(labels)

    def draw(self, generator: torch.Generator, size: int) -> tuple[Tensor, Batch]:
        """A random batch of maps and labels."""
        index = torch.randint(len(self.maps), (size,), generator=generator)
        return self.maps[index], self.labels.map(lambda tensor: tensor[index] if len(tensor) else tensor)


def fit(trainee: Trainee, cache: MapCache, minutes: float) -> float:
    """Train the decoder on the cache; returns the mean of the last losses."""
    head = trainee.net.smpl_head.train()
    optimiser = HybridOptimiser([], [head], trainee.recipe.weight_decay)
    loss = HmrLoss(trainee.recipe.weights)
    generator = torch.Generator().manual_seed(trainee.recipe.seed)
    began, mean, step = time.monotonic(), math.nan, 0
    while (progress := (time.monotonic() - began) / (60 * minutes)) < 1:
        optimiser.set_rate(RATE_END + (RATE - RATE_END) * 0.5 * (1 + math.cos(math.pi * progress)))
        maps, labels = cache.draw(generator, BATCH)
        with torch.autocast("cpu", torch.bfloat16):
            prediction = head(maps)
        total, terms = loss(prediction, None, labels)
        optimiser.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(head.parameters(), trainee.recipe.clip_norm)
        optimiser.step()
        value = float(total.detach())
        mean = value if math.isnan(mean) else 0.98 * mean + 0.02 * value
        step += 1
        if step % 100 == 0:
            shown = {k: round(float(v), 3) for k, v in terms.items()}
            print(f"{progress * minutes:5.1f} min, step {step}, loss {mean:.3f} {shown}", flush=True)
    return mean


def main(argv: list[str] | None = None) -> int:
    """Command line. Exit code 2 for bad input."""
    parser = argparse.ArgumentParser(prog="python -m training.fit_decoder", description=__doc__)
    parser.add_argument("--recipe", required=True)
    parser.add_argument("--train", type=Path, nargs="+", default=[Path("work/crops-train")])
    parser.add_argument("--test", type=Path, default=Path("work/crops-test"))
    parser.add_argument("--out", type=Path, default=None, help="folder of the run (default work/RECIPE)")
    parser.add_argument("--minutes", type=float, default=6.0)
    parser.add_argument("--limit", type=int, default=60000, help="crops to keep in memory, of all folders together")
    parser.add_argument("--threads", type=int, default=None)
    args = parser.parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    try:
        recipe = load_recipe(args.recipe)
        sets, test = [CropSet(folder) for folder in args.train], CropSet(args.test)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    path = (args.out or Path("work") / recipe.name) / "last.pt"
    if not path.is_file():
        print(f"no run to go on from: {path} is not there; start with python -m training", file=sys.stderr)
        return 2
    state = torch.load(path, map_location="cpu", weights_only=True)
    trainee = Trainee(recipe, {}, torch.device("cpu"))
    trainee.restore(state["trainees"][0])
    trainee.net.load_state_dict(trainee.ema.state_dict())
    cache = MapCache(trainee.net.backbone.eval(), sets, trainee.image_hw, args.limit)
    print(f"{len(cache.maps)} maps of {tuple(cache.maps.shape[1:])}", flush=True)
    fit(trainee, cache, args.minutes)
    trainee.ema.load_state_dict(trainee.net.state_dict())
    trainee.optimiser = trainee._optimiser()  # moments of the old weights mean nothing to the new ones
    scores = validate(trainee.ema, test, trainee.image_hw, 320)
    print({key: round(value, 1) for key, value in scores.items()})
    state["trainees"][0] = trainee.state()
    save(path, state)
    return 0


if __name__ == "__main__":
    sys.exit(main())
