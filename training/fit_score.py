"""`python -m training.fit_score CHECKPOINT --train CROPS... --photographs PACK --out NEW.pt`: what is a person, again.

The score's readout alone is fitted anew, on the decoder's tokens of crops that show their person, of the sets' bad
crops, and of what a detector takes for people in photographs of nobody: a network has met few of these, and is as sure
of a bottle as of a body. Nothing else changes: bodies stay what they are to the bit. Logistic regression, whole batch.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from bodycast.engines.base import Engine
from bodycast.engines.errors import EngineError
from bodycast.engines.package import load_package
from bodycast.engines.registry import open_engine
from bodycast.hmr.geometry.crop import HMR_CROP_HW, crop_transforms
from bodycast.hmr.geometry.suppression import non_maximum_suppression
from bodycast.hmr.networks.hmr_net import HmrNet
from training.crop_set import CropSet, normalise
from training.detector.scoring import SAME_IOU
from training.detector.sets import letterboxed
from training.network import finished_network
from training.synthetic.pack import open_pack

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]
DETECTOR = Path(__file__).resolve().parents[1] / "assets" / "models" / "person-detector"
LEAST_SCORE = 0.1
BOXES_A_PHOTOGRAPH = 3
NOBODY_WEIGHT = 0.3
"""How much a box on nobody counts. As many as they are beside the crops, they would make real people doubtful; at this
weight a bending body, which is rare among the crops, is still believed."""

DECAY = 1e-3
BATCH = 64


def boxes_on_nobody(photographs: Sequence[U8], detector: Engine, mirrored: bool) -> tuple[U8, F32]:
    """Crops (N,256,192,3) RGB of what a detector package finds in photographs (H,W,3) RGB of nobody, and its scores."""
    height, width = (int(side) for side in detector.package.info.input("images").shape[1:3])
    crops, scores = [np.zeros((0, *HMR_CROP_HW, 3), np.uint8)], [np.zeros(0, np.float32)]
    for photograph in photographs:
        for picture in (photograph, np.ascontiguousarray(photograph[:, ::-1]))[: 1 + mirrored]:
            shown, place = letterboxed(picture, (height, width))
            out = detector.run({"images": shown[None]})
            boxes, score = out["boxes"][0], out["scores"][0]
            kept = np.flatnonzero(score >= LEAST_SCORE)
            kept = kept[np.argsort(-score[kept], kind="stable")]
            kept = kept[non_maximum_suppression(boxes[kept], score[kept], SAME_IOU)][:BOXES_A_PHOTOGRAPH]
            boxes = (boxes[kept] - np.array([place.left, place.top] * 2)) / place.scale
            sides = boxes[:, 2:] - boxes[:, :2]
            real = (sides > 12).all(1)
            for transform in crop_transforms(boxes[real]):
                cut = cv2.warpAffine(picture, transform.image_to_crop, HMR_CROP_HW[::-1], flags=cv2.INTER_LINEAR)
                crops.append(np.asarray(cut, np.uint8)[None])
            scores.append(score[kept][real].astype(np.float32))
    return np.concatenate(crops), np.concatenate(scores)


@torch.no_grad()
def tokens_of(net: HmrNet, pixels: NDArray[np.generic]) -> Tensor:
    """(N, C) the decoder's tokens of crops (N,256,192,3) uint8 RGB."""
    found = []
    for start in range(0, len(pixels), BATCH):
        images = normalise(torch.from_numpy(np.array(pixels[start : start + BATCH])), net.image_hw)
        found.append(net(images).token.float())
    return torch.cat(found) if found else torch.zeros(0, 1)


def fit(tokens: Tensor, label: Tensor, weight: Tensor, steps: int = 100) -> tuple[Tensor, Tensor]:
    """Weight (1, C) and bias (1,) of a logistic regression of label (N,) on tokens (N, C), each row weighted (N,)."""
    mean, std = tokens.mean(0), tokens.std(0).clamp_min(1e-6)
    x = (tokens - mean) / std
    slope, shift = torch.zeros(x.shape[1], requires_grad=True), torch.zeros(1, requires_grad=True)
    optimiser = torch.optim.LBFGS([slope, shift], max_iter=steps, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        errors = F.binary_cross_entropy_with_logits(x @ slope + shift, label, reduction="none")
        value = (errors * weight).sum() / weight.sum() + DECAY * slope.square().sum()
        value.backward()
        return value

    optimiser.step(loss)
    found = slope.detach() / std
    return found[None], shift.detach() - (found * mean).sum()


def readout_of(net: HmrNet) -> nn.Linear:
    """The layer that reads the score from the token. Raises ValueError where there is none."""
    readout = getattr(net.smpl_head, "readout_score", None)
    if not isinstance(readout, nn.Linear):
        raise ValueError(
            "this network has no score that is read from its token (decoder = joint-queries, score = true)"
        )
    return readout


def shares(readout: nn.Linear, groups: dict[str, Tensor]) -> dict[str, float]:
    """Of each group of tokens, how many per cent score at least one half."""
    with torch.no_grad():
        return {name: 100 * float((readout(rows) >= 0).float().mean()) for name, rows in groups.items() if len(rows)}


def _of_sets(net: HmrNet, folders: Sequence[Path], each: int, seed: int) -> tuple[Tensor, Tensor]:
    """Tokens and labels of up to `each` crops of every set."""
    tokens, labels = [], []
    for folder in folders:
        crops = CropSet(folder)
        rows = np.sort(np.random.default_rng(seed).choice(len(crops), min(each, len(crops)), replace=False))
        tokens.append(tokens_of(net, crops.stored["pixels"][rows]))
        labels.append(torch.from_numpy((np.asarray(crops.stored["score"])[rows] > 0.5).astype(np.float32)))
    return torch.cat(tokens), torch.cat(labels)


def run(args: argparse.Namespace) -> None:
    """Everything after parsing. Raises ValueError, OSError, EngineError."""
    torch.manual_seed(args.seed)
    if args.threads:
        torch.set_num_threads(args.threads)
    state = torch.load(args.checkpoint, map_location="cpu", weights_only=True)
    net = finished_network(state)
    if not isinstance(net, HmrNet):
        raise ValueError(f"{args.checkpoint}: expected a network that recovers bodies")
    readout = readout_of(net)
    with open_engine(load_package(args.detector), "onnxruntime", "cpu", threads=args.threads) as detector:
        nobody = [boxes_on_nobody(open_pack(args.photographs, split).photographs, detector, split == "train")
                  for split in ("train", "test")]  # fmt: skip
    known, label = _of_sets(net, args.train, args.each, args.seed)
    objects, (unseen, sure) = tokens_of(net, nobody[0][0]), nobody[1]
    test, wanted = _of_sets(net, args.test, args.each, args.seed)
    groups = {
        "people": test[wanted > 0.5],
        "bad crops": test[wanted < 0.5],
        "boxes on nobody": tokens_of(net, unseen[sure >= args.shown_score]),
    }
    before = shares(readout, groups)
    weight = torch.cat([torch.ones(len(known)), torch.full((len(objects),), NOBODY_WEIGHT)])
    slope, shift = fit(torch.cat([known, objects]), torch.cat([label, torch.zeros(len(objects))]), weight)
    with torch.no_grad():
        readout.weight.copy_(slope)
        readout.bias.copy_(shift)
    for name, share in shares(readout, groups).items():
        print(f"{name}, {len(groups[name])}: {before[name]:.1f} -> {share:.1f} % score one half or more")
    for part in ("weight", "bias"):
        key = f"smpl_head.readout_score.{part}"
        state["state_dict"][key] = getattr(readout, part).detach().to(state["state_dict"][key].dtype)
    done = state.get("training", "")
    words = f"score fitted to {len(known)} crops and {len(objects)} boxes on nobody"
    state["training"] = {**done, "score": words} if isinstance(done, dict) else f"{done}; {words}"
    torch.save(state, args.out)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line. Exit code 2 for bad input."""
    parser = argparse.ArgumentParser(prog="python -m training.fit_score", description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--train", type=Path, nargs="+", required=True, help="crop sets to learn from")
    parser.add_argument("--test", type=Path, nargs="+", required=True, help="crop sets to score on")
    parser.add_argument(
        "--photographs", type=Path, required=True, metavar="PACK", help="pack with photographs of nobody"
    )
    parser.add_argument("--detector", type=Path, default=DETECTOR, help="package that looks for people in them")
    parser.add_argument("--shown-score", type=float, default=0.35, help="of the detector, from which the program asks")
    parser.add_argument("--each", type=int, default=3000, help="crops of each set")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    try:
        run(args)
    except (ValueError, OSError, EngineError) as error:
        print(f"training.fit_score: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
