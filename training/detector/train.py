"""Train the person detector on photographs and rendered people.

    python -m training.detector.train --people PHOTOS --labels COMPLETED.json --nobody BACKGROUNDS --train PICTURES \\
        --test PICTURES --start nanodet.json --out OUT --minutes 60

AdamW, cosine, a moving average of the weights; the losses are in `targets.py`, how pictures are disturbed in `sets.py`.
One process, which stops when its minutes are over and writes `person-detector.pt` for `bodycast export package` and
`log.jsonl`. `--resume` goes on where a run was ended; `--device cuda --workers 12` is the same run on a GPU.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from bodycast.hmr.checkpoints.loading import CheckpointMismatch
from bodycast.hmr.networks.encoders.csp_net import CspNet
from bodycast.hmr.networks.encoders.mobile_net_v2 import MobileNetV2
from bodycast.hmr.networks.person_detector import STRIDE, PersonDetector
from training.core import (
    Clock,
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
from training.crop_set import jitter_colours
from training.detector.pictures import PICTURE_HW
from training.detector.scoring import LEAST_HEIGHT, SCORES, calibrate, hold_back, normalised, score
from training.detector.sets import Photographs, Pictures, Source, drawn
from training.detector.starts import ORIGINS, detector
from training.detector.targets import Targets, losses, targets

F64 = NDArray[np.float64]
SHARES = {"people": 0.55, "rendered": 0.25, "nobody": 0.2}
"""How often each kind of picture is drawn, where there is one: without enough pictures of nobody, whatever stands out
is taken for a person."""
CALIBRATION = {"people": 150, "nobody": 60}
"""Photographs of the training part, kept for the calibration alone: what was learned gets higher scores."""
MEAN_STEPS = 500
"""Steps that the moving average reaches back, about."""
SMALL_HW = (192, 320)
"""Size of the pictures at first: half the time a step."""


@dataclass(frozen=True)
class Material:
    """What a run learns from, is calibrated on (`nobody`: those of its pictures that show nobody), and is scored on (by
    name; least height of the people counted)."""

    sources: list[Source]
    shares: F64
    calibration: list[Pictures]
    nobody: Pictures | None
    tests: dict[str, tuple[Pictures, float]]


class Batches(IterableDataset[tuple[Tensor, Targets]]):
    """Normalised pictures (B,3,H,W) and their targets, without end; every worker draws others."""

    def __init__(self, material: Material, hw: tuple[int, int], size: int, seed: int) -> None:
        self.material, self.hw, self.size, self.seed = material, hw, size, seed

    def __iter__(self) -> Iterator[tuple[Tensor, Targets]]:
        worker = get_worker_info()
        if worker is not None:
            cv2.setNumThreads(0)
        rng = np.random.default_rng([self.seed, worker.id if worker else 0])
        generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
        cells = self.hw[0] // STRIDE, self.hw[1] // STRIDE
        while True:
            one = [drawn(rng, self.material.sources, self.material.shares, self.hw) for _ in range(self.size)]
            images = normalised(np.stack([pixels for pixels, _ in one]))
            yield jitter_colours(images, generator), targets([boxes for _, boxes in one], cells)


def gather(args: argparse.Namespace, hw: tuple[int, int]) -> Material:
    """Open everything that the command line names. Raises: ValueError."""
    kinds: dict[str, list[Source]] = {"people": [], "rendered": [], "nobody": []}
    calibration: list[Pictures] = []
    nobody = None
    tests: dict[str, tuple[Pictures, float]] = {}
    for name, folder in (("people", args.people), ("nobody", args.nobody)):
        if folder is None:
            continue
        train, test = (_photographs(name, folder, args.labels, test=test) for test in (False, True))
        learned, kept = parted(train, min(CALIBRATION[name], len(train) // 4))
        kinds[name].append(learned)
        calibration.append(kept.letterboxed(hw))
        if name == "nobody":
            nobody = calibration[-1]
        tests[name] = test.letterboxed(hw), LEAST_HEIGHT
    for folder in args.train:
        rendered = _rendered(folder, hw)
        kinds["rendered"].append(rendered)
        if args.people is None:
            calibration.append(rendered)
    if args.test is not None:
        tests["rendered"] = _rendered(args.test, hw), 0.0
    sources = [source for of_kind in kinds.values() for source in of_kind]
    if not sources or not tests:
        raise ValueError("nothing to learn from or no test: give --people and --labels, or --train and --test")
    shares = [SHARES[kind] * len(s) / sum(map(len, of_kind)) for kind, of_kind in kinds.items() for s in of_kind]
    return Material(sources, np.array(shares) / sum(shares), calibration, nobody, tests)


def _photographs(kind: str, folder: Path, labels: Path | None, *, test: bool) -> Photographs:
    if kind == "nobody":
        return Photographs.of_nobody(folder, test=test)
    if labels is None:
        raise ValueError("--people needs --labels: python -m training.detector.complete")
    return Photographs.of_people(folder, labels, test=test)


def _rendered(folder: Path, hw: tuple[int, int]) -> Pictures:
    made = Pictures.open(folder)
    if made.pixels.shape[1:3] != hw:
        raise ValueError(
            f"{folder}: its pictures are {made.pixels.shape[1]}x{made.pixels.shape[2]}, not {hw[0]}x{hw[1]}"
        )
    return made


def parted(photographs: Photographs, count: int) -> tuple[Photographs, Photographs]:
    """All but every n-th, and these, about `count`."""
    every = max(len(photographs) // max(count, 1), 1)
    rows = np.arange(len(photographs)) % every == every // 2
    return photographs.rows(~rows), photographs.rows(rows)


def network(args: argparse.Namespace) -> PersonDetector:
    """The network that a run begins with. Raises: ValueError, CheckpointMismatch."""
    net = detector(args.backbone, args.start, PICTURE_HW)
    if args.init is not None:
        net.load_state_dict(load_checkpoint(args.init)["state_dict"])
    return net.to(args.device, memory_format=torch.channels_last)


def optimiser_of(net: PersonDetector, args: argparse.Namespace) -> torch.optim.AdamW:
    """AdamW; a backbone that knows something learns slower, its first layers not at all."""
    pretrained = args.start is not None
    if pretrained and isinstance(net.backbone, MobileNetV2 | CspNet):
        first = [net.backbone.first] if isinstance(net.backbone, MobileNetV2) else []
        for part in (net.backbone.stem, *first, *net.backbone.stages[: args.frozen_stages]):
            part.requires_grad_(False)
    groups: list[dict[str, Any]] = []
    inside = {id(parameter) for parameter in net.backbone.parameters()}
    for in_backbone in (False, True):
        factor = args.backbone_lr if pretrained and in_backbone else 1.0
        of_part = [p for p in net.parameters() if p.requires_grad and (id(p) in inside) == in_backbone]
        groups.append({"params": [p for p in of_part if p.ndim > 1], "weight_decay": 0.02, "factor": factor})
        groups.append({"params": [p for p in of_part if p.ndim <= 1], "weight_decay": 0.0, "factor": factor})
    return torch.optim.AdamW(groups, lr=args.lr, fused=True)


class Run:
    """A run's state: weights, their moving average, the optimiser, steps and the clock."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.net = network(args)
        self.following = WeightAverage(self.net, buffers=True)
        self.mean = cast(PersonDetector, self.following.mean)
        self.optimiser = optimiser_of(self.net, args)
        self.steps, self.clock = 0, Clock(None if args.steps else args.minutes, steps=args.steps)
        self.file = args.out / "run.pt"
        self.log = JsonLog(args.out / "log.jsonl")
        self.losses = np.zeros(3)
        if args.resume:
            self._restore()
        self.log.open(self.clock.minutes if args.resume else None)

    def _restore(self) -> None:
        if not self.file.is_file():
            raise ValueError(f"{self.file} is missing: there is no run to resume")
        state = load_checkpoint(self.file, self.args.device)
        factors = [group["factor"] for group in self.optimiser.param_groups]
        for part in ("net", "mean", "optimiser"):
            getattr(self, part).load_state_dict(state[part])
        for group, factor in zip(self.optimiser.param_groups, factors, strict=True):
            group["factor"] = factor  # as this command line says, not the one before
        self.steps, self.clock.spent_s = int(state["steps"]), 60 * float(state["minutes"])

    def step(self, images: Tensor, wanted: Targets, fraction: float) -> None:
        """One step; `fraction` of the run is over. Adds the losses of centres and boxes to `losses`, and 1."""
        args, device = self.args, self.args.device
        set_rate(self.optimiser, warmed(cosine(args.lr, 0.01 * args.lr, fraction), self.steps + 1, args.warm_up))
        images = images.to(device, non_blocking=True).contiguous(memory_format=torch.channels_last)
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=args.bf16):
            maps = self.net(images)
        centre, box = losses(maps, wanted.on(device))
        self.optimiser.zero_grad()
        (centre + 2 * box).backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 10.0)
        self.optimiser.step()
        self.steps += 1
        self.following.follow(1 - 1 / min(self.steps, MEAN_STEPS))
        self.losses += [float(centre.detach()), float(box.detach()), 1]

    def report(self, found: dict[str, float], pictures: int) -> None:
        """Log the mean losses since the last report beside `found`, and save."""
        centre, box = self.losses[:2] / max(self.losses[2], 1)
        entry = {"minutes": self.clock.minutes, "steps": self.steps, "centre": centre, "box": box, **found}
        self.log.add(dict(entry))
        print({key: round(value, 2) for key, value in entry.items() if "@0.2" not in key}, flush=True)
        self.save({key: value for key, value in entry.items() if "@" in key}, pictures)
        self.losses[:] = 0

    def save(self, metrics: dict[str, float], pictures: int) -> None:
        """Write `person-detector.pt` and what `--resume` needs."""
        args = self.args
        training = {
            "pictures": pictures, "minutes": self.clock.minutes, "steps": self.steps, "device": args.device,
            "began as": ORIGINS[args.backbone] if args.start else "random numbers",
        }  # fmt: skip
        state = {
            "model": "person-detector",
            "arguments": {
                "image_hw": list(self.net.image_hw), "backbone": args.backbone, "neck": self.net.lateral[0].out_channels
            },
            "metrics": metrics, "training": str(training),
            "state_dict": {k: v.cpu().contiguous() for k, v in self.mean.state_dict().items()},
        }  # fmt: skip
        save_checkpoint(args.out / "person-detector.pt", state)
        run = {part: getattr(self, part).state_dict() for part in ("net", "mean", "optimiser")}
        save_checkpoint(self.file, run | {"steps": self.steps, "minutes": self.clock.minutes})


def scores(net: PersonDetector, material: Material, count: int | None) -> dict[str, float]:
    """`score` of every test set, at most `count` pictures of each."""
    out: dict[str, float] = {}
    for name, (pictures, least) in material.tests.items():
        seen = len(pictures) if count is None else min(count, len(pictures))
        rows = score(net, pictures, seen, least)
        out |= {f"{name}_{key}": value for key, value in rows.items() if name != "nobody" or "found" not in key}
    return out


def stream(args: argparse.Namespace, material: Material, hw: tuple[int, int], step: int) -> Iterator[Any]:
    """Batches of pictures of hw, without end; `step`: of the run, so that it does not see the same ones again."""
    loader = DataLoader(
        Batches(material, hw, args.batch, args.seed + step), batch_size=None, num_workers=args.workers,
        pin_memory=args.device != "cpu",
    )  # fmt: skip
    return iter(loader)


def learn(args: argparse.Namespace) -> dict[str, float]:
    """The whole run; gives the final figures. Raises: ValueError."""
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    run = Run(args)
    hw = cast("tuple[int, int]", tuple(run.net.image_hw))
    material = gather(args, hw)
    pictures = sum(map(len, material.sources))
    batches: dict[bool, Iterator[Any]] = {}  # of small pictures (True), and then of whole ones

    def step(fraction: float) -> None:
        small = fraction < args.small
        if small not in batches:
            batches.clear()
            batches[small] = stream(args, material, SMALL_HW if small else hw, run.steps)
        run.step(*next(batches[small]), fraction)

    def report() -> None:
        run.report(scores(run.mean, material, args.check), pictures)

    every_s = 60 * args.report_every
    train(run.clock, step, lambda: run.steps, [Timer(report, every_s, run.clock.spent_s + every_s)])
    if run.losses[2]:
        report()
    calibrate(run.mean, material.calibration, args.calibrate)
    if material.nobody is not None:
        hold_back(run.mean, material.nobody)
    final = scores(run.mean, material, None)
    run.save(final, pictures)
    return final


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=Path, metavar="DIR", help="photographs of people: images/ and labels")
    parser.add_argument("--labels", type=Path, help="their label file, of training.detector.complete")
    parser.add_argument("--nobody", type=Path, metavar="DIR", help="photographs without people")
    parser.add_argument("--train", type=Path, nargs="*", default=[], help="sets of training.detector.pictures")
    parser.add_argument("--test", type=Path, help="a set of training.detector.pictures")
    parser.add_argument("--backbone", choices=("csp", "mobilenet-v2", "residual"), default="csp")
    starts = "published numbers to begin with: nanodet.json for csp, MoveNet's .onnx for mobilenet-v2"
    parser.add_argument("--start", type=Path, metavar="FILE", help=starts)
    parser.add_argument("--init", type=Path, help="checkpoint to begin with")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--steps", type=int, help="so many steps instead of minutes")
    parser.add_argument("--warm-up", type=int, default=100, help="steps in which the rate rises")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--small", type=float, default=0.6, help="share of the run with pictures of 320x192")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--backbone-lr", type=float, default=0.15, help="factor on the rate of a backbone with --start")
    parser.add_argument(
        "--frozen-stages", type=int, choices=range(5), default=1, help="of a backbone with --start, kept as they are"
    )
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--workers", type=int, default=0, help="processes that draw pictures; 0: the same one")
    parser.add_argument("--bf16", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--report-every", type=float, default=4, help="minutes")
    parser.add_argument("--check", type=int, default=128, help="pictures of each test looked at on the way")
    parser.add_argument("--calibrate", type=int, default=1024, help="pictures of a set that scores are calibrated on")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    try:
        final = learn(args)
    except (ValueError, CheckpointMismatch, OSError) as error:
        print(f"training.detector.train: {error}", file=sys.stderr)
        return 1
    for limit in SCORES:
        print({key: round(value, 2) for key, value in final.items() if key.endswith(f"@{limit}")})
    return 0


if __name__ == "__main__":
    sys.exit(main())
