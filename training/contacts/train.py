"""`python -m training.contacts.train WATCHED --mocap CLIPS --out FILE.npz`: the network of app/world/contacts.py.

WATCHED comes from `python -m training.contacts.watch`: WATCHED/train is learned from, WATCHED/test is scored on. Half
of each batch is motion capture with simulated errors (`training.contacts.simulate`); half of the batches know later
frames. The camera's tilt is jittered, left and right are swapped at random.
"""

from __future__ import annotations

import argparse
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from bodycast.app.world.contacts import FEATURES, Signals, features
from bodycast.app.world.person_series import Skeleton
from bodycast.hmr.body.body_model import BodyModel
from bodycast.hmr.geometry.rotations import axis_angle_to_matrix
from training.contacts.simulate import simulate
from training.contacts.truth import seen_series, true_contacts, true_series
from training.contacts.watched import WatchedMotion
from training.motion.data import at_rate, load_split
from training.motion.make_pairs import pieces

F32 = NDArray[np.float32]
Pair = tuple[F32, F32]
HIDDEN = (96, 48)
TILT_RAD = 0.18
FLAG = 6
"""The input that says whether later frames are known."""
SWAP = [2, 3, 0, 1]


def load_set(folder: Path, skeleton: Skeleton, rng: np.random.Generator, copies: int) -> dict[bool, Pair]:
    """Features (R,FEATURES) and contacts (R,4), by whether later frames are known. Raises ValueError for no files."""
    files = sorted(folder.glob("*.npz"))
    if not files:
        raise ValueError(f"{folder}: nothing was watched; python -m training.contacts.watch makes it")
    rows: dict[bool, list[Pair]] = {True: [], False: []}
    for file in files:
        watched = WatchedMotion.load(file)
        truth = true_series(watched, skeleton)
        heights = truth.soles_m @ watched.floor[:3] + watched.floor[3]
        contact = true_contacts(watched.time_s, truth.soles_m, heights).astype(np.float32)
        for copy in range(copies):
            seen = seen_series(watched, skeleton, ("one-euro", "none")[copy % 2])
            tilt = axis_angle_to_matrix(rng.normal(0, TILT_RAD if copies > 1 else 0, 3).astype(np.float32))
            signals = Signals.of(seen, (tilt @ watched.floor[:3]).astype(np.float64))
            for ahead in (True, False):
                rows[ahead].append((features(watched.time_s, signals, slice(None), ahead=ahead), contact))
    return {ahead: _joined(parts) for ahead, parts in rows.items()}


def simulated_set(folder: Path, skeleton: Skeleton, rng: np.random.Generator, rounds: int) -> dict[bool, Pair]:
    """The same from motion capture with simulated errors. Raises ValueError for no clips."""
    rows: dict[bool, list[Pair]] = {True: [], False: []}
    clips = load_split(folder, "train")
    for _ in range(rounds):
        for piece in pieces(clips, 6.0, 1e9, int(rng.integers(1 << 30))):
            clip = piece if piece.fps <= 31 else at_rate(piece, 30.0)
            time_s, signals, contact = simulate(clip, skeleton, rng)
            for ahead in (True, False):
                rows[ahead].append((features(time_s, signals, slice(None), ahead=ahead), contact))
    return {ahead: _joined(parts) for ahead, parts in rows.items()}


def _joined(parts: list[Pair]) -> Pair:
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])


def swapped(inputs: torch.Tensor, contact: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The mirror image: left and right soles change places, x changes its sign."""
    out = [inputs[:, :4][:, SWAP], inputs[:, 4:6].flip(1), inputs[:, 6:7]]
    for start in range(7, FEATURES, 14):
        part = inputs[:, start : start + 14]
        across = part[:, :10].reshape(-1, 5, 2)[:, [*SWAP, 4]] * torch.tensor([-1.0, 1.0])
        out += [across.reshape(-1, 10), part[:, 10:][:, SWAP]]
    return torch.cat(out, dim=1), contact[:, SWAP]


def scores(probability: F32, contact: F32) -> dict[str, float]:
    """Precision, recall and F1 at one half, and the share of right answers."""
    said, true = probability > 0.5, contact > 0.5
    hits = float((said & true).sum())
    precision, recall = hits / max(float(said.sum()), 1), hits / max(float(true.sum()), 1)
    right = float((said == true).mean())
    return {"precision": precision, "recall": recall, "f1": 2 * precision * recall / max(precision + recall, 1e-9),
            "accuracy": right}  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    """Command line. Exit code 2 for bad input."""
    parser = argparse.ArgumentParser(prog="python -m training.contacts.train", description=__doc__)
    parser.add_argument("watched", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--mocap", type=Path, required=True, metavar="CLIPS", help="folder of motion clips")
    parser.add_argument("--rounds", type=int, default=2, help="simulations of every clip")
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    torch.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    skeleton = Skeleton.of(BodyModel.load())
    try:
        learned = load_set(args.watched / "train", skeleton, rng, copies=4)
        simulated = simulated_set(args.mocap, skeleton, rng, args.rounds)
        held_out = load_set(args.watched / "test", skeleton, rng, copies=1)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    known = np.concatenate([learned[True][0], simulated[True][0]])
    mean, scale = known.mean(0), 1 / (known.std(0) + 1e-3)
    mean[FLAG], scale[FLAG] = 0.5, 2.0
    sizes = (known.shape[1], *HIDDEN, 4)
    layers = [nn.Linear(a, b) for a, b in pairwise(sizes)]
    network = nn.Sequential(layers[0], nn.ReLU(), nn.Dropout(0.1), layers[1], nn.ReLU(), nn.Dropout(0.1), layers[2])
    optimiser = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, args.steps)
    tables = [
        {ahead: tuple(map(torch.from_numpy, pair)) for ahead, pair in one.items()} for one in (learned, simulated)
    ]
    norm = torch.from_numpy(mean), torch.from_numpy(scale)
    for step in range(args.steps):
        drawn = []
        for table in tables:
            inputs, contact = table[step % 2 == 0]
            rows = torch.randint(len(inputs), (256,))
            drawn.append((inputs[rows], contact[rows]))
        batch, wanted = (torch.cat(part) for part in zip(*drawn, strict=True))
        if step % 4 > 1:
            batch, wanted = swapped(batch, wanted)
        said = network((batch - norm[0]) * norm[1])
        loss = nn.functional.binary_cross_entropy_with_logits(said, 0.02 + 0.96 * wanted)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    network.eval()
    with torch.no_grad():
        for ahead, (inputs, contact) in held_out.items():
            said = torch.sigmoid(network((torch.from_numpy(inputs) - norm[0]) * norm[1])).numpy()
            figures = ", ".join(f"{name} {value:.3f}" for name, value in scores(said, contact).items())
            print(f"{'with' if ahead else 'without'} later frames, {len(inputs)} held-out frames: {figures}")
    arrays = {"mean": mean, "scale": scale}
    for number, layer in enumerate(layers):
        arrays[f"weight_{number}"] = layer.weight.detach().numpy().T
        arrays[f"bias_{number}"] = layer.bias.detach().numpy()
    np.savez_compressed(args.out, **{name: value.astype(np.float16) for name, value in arrays.items()})
    print(f"{args.out}: {args.out.stat().st_size / 1e3:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
