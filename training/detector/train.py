"""Train the person detector: `python -m training.detector.train --train DIR... --test DIR --out DIR --minutes 20`.

AdamW, cosine, a moving average of the weights; focal loss on the centres (Zhou et al. 2019, with the elliptical
Gaussians of TTFNet, Liu et al. 2019, arXiv 1909.00700) and generalised IoU on the boxes around them (Rezatofighi et al.
2019, arXiv 1902.09630). Pictures are mirrored, moved, zoomed, put together in fours, and their colours changed. One
process; stops when its minutes are over, writes `person-detector.pt` for `python -m export package` and `log.jsonl`.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hmr.geometry.boxes import iou_matrix
from hmr.geometry.letterbox import GREY, Letterbox, letterbox_of
from hmr.geometry.suppression import non_maximum_suppression
from hmr.networks.hmr_net import IMAGENET_MEAN, IMAGENET_STD
from hmr.networks.person_detector import STRIDE, DetectorMaps, PersonDetector, cell_middles
from training.crop_set import jitter_colours
from training.detector.pictures import MOST_PEOPLE, PICTURE_HW
from training.synthetic.pack import open_pack

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
Rng = np.random.Generator
SPREAD = 0.54 / 6
"""Standard deviation of a person's Gaussian in box sides (TTFNet's alpha over six)."""
NOBODY_SHARE = 0.25
"""Of the pictures, where there are photographs of nobody: else whatever stands out is taken for a person."""
BOX_HEAT = 0.25
"""Cells at least so hot learn the box."""
MOSAIC_SHARE = 0.2
SCORES = (0.2, 0.35, 0.5)
SAME_IOU = 0.6  # as in app/detectors/package_detector.py


@dataclass(frozen=True)
class Pictures:
    """A set of `training.detector.pictures`."""

    pixels: U8
    boxes: F32

    @staticmethod
    def open(folder: Path) -> Pictures:
        """Raises: ValueError where there is none."""
        if not (folder / "meta.json").is_file():
            raise ValueError(f"{folder} holds no finished set: python -m training.detector.pictures {folder}")
        return Pictures(np.load(folder / "pixels.npy", mmap_mode="r"), np.load(folder / "boxes.npy"))

    @staticmethod
    def of_nobody(pack: Path, split: str) -> Pictures:
        """A pack's photographs, whole, and each once more filling the picture. Raises: PackError, ValueError."""
        photographs = open_pack(pack, split).photographs
        if not photographs:
            raise ValueError(f"{pack} holds no photographs")
        made = []
        for photograph in photographs:
            height, width = photograph.shape[:2]
            made.append(letterboxed(photograph, PICTURE_HW)[0])
            part = min(height, round(width * PICTURE_HW[0] / PICTURE_HW[1]))
            top = (height - part) // 2
            made.append(cv2.resize(photograph[top : top + part], PICTURE_HW[::-1], interpolation=cv2.INTER_AREA))
        return Pictures(np.stack(made), np.full((len(made), MOST_PEOPLE, 5), -1, np.float32))


def letterboxed(picture: U8, hw: tuple[int, int]) -> tuple[U8, Letterbox]:
    """A picture (H,W,3) fitted into (h,w,3), grey around it, and where it lies there."""
    place = letterbox_of((picture.shape[1], picture.shape[0]), hw)
    whole = np.full((*hw, 3), GREY, np.uint8)
    whole[place.top : place.top + place.height, place.left : place.left + place.width] = cv2.resize(
        picture, (place.width, place.height), interpolation=cv2.INTER_AREA
    )
    return whole, place


def disturbed(rng: Rng, sets: list[Pictures], nobody: Pictures | None = None) -> tuple[U8, F32]:
    """A picture (H,W,3) and boxes (K,5), moved, zoomed and mirrored; or four smaller ones together."""
    if rng.random() >= MOSAIC_SHARE:
        return _moved(rng, *_one(rng, sets, nobody), float(np.exp(rng.normal(0, 0.25))))
    pieces = [_moved(rng, *_one(rng, sets, nobody), float(np.exp(rng.normal(0, 0.15)))) for _ in range(4)]
    height, width = pieces[0][0].shape[:2]
    out = np.empty_like(pieces[0][0])
    boxes = []
    for k, (pixels, rows) in enumerate(pieces):
        y, x = (k // 2) * height // 2, (k % 2) * width // 2
        out[y : y + height // 2, x : x + width // 2] = cv2.resize(
            pixels, (width // 2, height // 2), interpolation=cv2.INTER_AREA
        )
        rows = rows.copy()
        rows[:, :4] = rows[:, :4] / 2 + [x, y, x, y]
        boxes.append(rows)
    return out, np.concatenate(boxes)


def _one(rng: Rng, sets: list[Pictures], nobody: Pictures | None) -> tuple[U8, F32]:
    if nobody is not None and rng.random() < NOBODY_SHARE:
        return nobody.pixels[rng.integers(len(nobody.pixels))], np.zeros((0, 5), np.float32)
    ends = np.cumsum([len(s.boxes) for s in sets])
    row = int(rng.integers(ends[-1]))
    which = int(np.searchsorted(ends, row, side="right"))
    row -= int(ends[which - 1]) if which else 0
    boxes = sets[which].boxes[row]
    return sets[which].pixels[row], boxes[boxes[:, 4] >= 0]


def _moved(rng: Rng, pixels: U8, boxes: F32, zoom: float) -> tuple[U8, F32]:
    height, width = pixels.shape[:2]
    mirror = -1.0 if rng.random() < 0.5 else 1.0
    shift = rng.normal(0, 0.08, 2) * [width, height]
    a = np.array([[zoom * mirror, 0, 0], [0, zoom, 0]])
    a[:, 2] = np.array([width / 2, height / 2]) + shift - a[:, :2] @ [width / 2, height / 2]
    out = cv2.warpAffine(pixels, a, (width, height), flags=cv2.INTER_LINEAR, borderValue=(GREY,) * 3)
    corners = np.stack([boxes[:, :2], boxes[:, 2:4]], axis=1) @ a[:, :2].T + a[:, 2]
    low, high = corners.min(1), corners.max(1)
    whole = np.maximum(np.prod(high - low, axis=1), 1e-3)
    low, high = np.clip(low, 0, [width, height]), np.clip(high, 0, [width, height])
    left = np.prod(high - low, axis=1) / whole
    rows = np.column_stack([low, high, boxes[:, 4]]).astype(np.float32)
    rows[left < 0.3, 4] = 0  # cut off: nothing is asked
    return out, rows[((high - low).min(1) > 6) & (left > 0.05)]


def _normalised(pixels: U8) -> Tensor:
    """Pictures (B,H,W,3) -> (B,3,H,W)."""
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    return (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255 - mean) / std


def batches(rng: Rng, sets: list[Pictures], nobody: Pictures | None, size: int) -> Iterator[tuple[Tensor, list[F32]]]:
    """Normalised pictures (B,3,H,W) and their boxes, without end."""
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    while True:
        drawn = [disturbed(rng, sets, nobody) for _ in range(size)]
        images = _normalised(np.stack([pixels for pixels, _ in drawn]))
        yield jitter_colours(images, generator), [boxes for _, boxes in drawn]


@dataclass(frozen=True)
class Targets:
    """heat (N,h,w) 0..1, peak (N,h,w) 1 at centres, ask (N,h,w) 0 where nothing is asked, box (N,h,w,4) px and its
    weight (N,h,w)."""

    heat: Tensor
    peak: Tensor
    ask: Tensor
    box: Tensor
    weight: Tensor


def targets(boxes: list[F32], hw: tuple[int, int]) -> Targets:
    """What the maps (h,w) should say about each picture's boxes (K,5)."""
    count = len(boxes)
    heat, peak, weight = (np.zeros((count, *hw), np.float32) for _ in range(3))
    ask, box = np.ones((count, *hw), np.float32), np.zeros((count, *hw, 4), np.float32)
    xs, ys = (m.numpy() for m in cell_middles(*hw))
    for n, rows in enumerate(boxes):
        area = (rows[:, 2] - rows[:, 0]) * (rows[:, 3] - rows[:, 1])
        for row in rows[np.argsort(-area)]:  # small ones last: they have the fewest cells
            middle, size = (row[:2] + row[2:4]) / 2, row[2:4] - row[:2]
            sigma = np.maximum(SPREAD * size, 0.5 * STRIDE)
            blob = np.exp(-0.5 * (((xs - middle[0]) / sigma[0]) ** 2 + ((ys - middle[1]) / sigma[1]) ** 2))
            if row[4] == 0:
                ask[n][blob > 0.1] = 0
                continue
            column, line = (int(np.clip(middle[k] // STRIDE, 0, hw[1 - k] - 1)) for k in (0, 1))
            blob[line, column] = 1
            heat[n] = np.maximum(heat[n], blob)
            peak[n, line, column] = 1
            near = blob > BOX_HEAT
            box[n][near], weight[n][near] = row[:4], blob[near] / blob[near].sum()
    return Targets(*(torch.from_numpy(a) for a in (heat, peak, np.maximum(ask, peak), box, weight)))


def losses(maps: DetectorMaps, wanted: Targets) -> tuple[Tensor, Tensor]:
    """Focal loss of the centres and generalised IoU of the boxes, both per person."""
    people = wanted.peak.sum().clamp_min(1)
    chance = maps.centre.sigmoid().clamp(1e-4, 1 - 1e-4)
    hit = wanted.peak * (1 - chance) ** 2 * chance.log()
    miss = (1 - wanted.peak) * (1 - wanted.heat) ** 4 * chance**2 * (1 - chance).log()
    centre = -((hit + miss) * wanted.ask).sum() / people
    x, y = cell_middles(*maps.centre.shape[1:])
    left, top, right, bottom = maps.sides.unbind(1)
    found = torch.stack([x - left, y - top, x + right, y + bottom], dim=-1)
    overlap = generalised_iou(found, wanted.box)
    return centre, ((1 - overlap) * wanted.weight).sum() / people


def generalised_iou(a: Tensor, b: Tensor) -> Tensor:
    """(..., 4) and (..., 4) xyxy -> (...) -1..1."""
    low, high = torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:])
    shared = (high - low).clamp_min(0).prod(-1)
    area_a, area_b = (c[..., 2:].sub(c[..., :2]).clamp_min(0).prod(-1) for c in (a, b))
    union = area_a + area_b - shared
    hull = (torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])).clamp_min(0).prod(-1)
    return shared / union.clamp_min(1e-6) - (hull - union) / hull.clamp_min(1e-6)


@torch.no_grad()
def answers(net: PersonDetector, pictures: Pictures, count: int, least: float) -> Iterator[tuple[F32, F32, F32]]:
    """Of the first `count` pictures: boxes (M,4) with scores (M,) from `least`, one a person, and the truth (4,5)."""
    for start in range(0, count, 32):
        rows = slice(start, min(start + 32, count))
        boxes, scores = (t.numpy() for t in net.detect(_normalised(np.array(pictures.pixels[rows]))))
        for k, truth in enumerate(pictures.boxes[rows]):
            kept = np.flatnonzero(scores[k] >= least)
            kept = kept[non_maximum_suppression(boxes[k][kept], scores[k][kept], SAME_IOU)]
            yield boxes[k][kept], scores[k][kept], truth


def score(net: PersonDetector, pictures: Pictures, count: int) -> dict[str, float]:
    """By score limit: people found (IoU 0.5), per cent, and boxes on nobody per 100 pictures; the first `count`."""
    found, wrong, people = dict.fromkeys(SCORES, 0), dict.fromkeys(SCORES, 0), 0
    for boxes, scores, truth in answers(net, pictures, count, min(SCORES)):
        real, anybody = truth[truth[:, 4] == 1, :4], truth[truth[:, 4] >= 0, :4]
        people += len(real)
        for limit in SCORES:
            shown = boxes[scores >= limit]
            found[limit] += int((iou_matrix(real, shown) >= 0.5).any(1).sum())
            wrong[limit] += int((~(iou_matrix(shown, anybody) >= 0.3).any(1)).sum())
    out: dict[str, float] = {}
    for limit in SCORES:
        out[f"found_percent@{limit}"] = 100 * found[limit] / max(people, 1)
        out[f"nobody_per_100@{limit}"] = 100 * wrong[limit] / count
    return out


def calibrate(net: PersonDetector, sets: list[Pictures], count: int) -> None:
    """Set `net.calibration` so that scores say how often a box lies on a person (IoU 0.5): Platt scaling on the first
    `count` pictures of each set. Nothing is changed where there are too few boxes to say."""
    net.calibration.copy_(torch.tensor([1.0, 0.0]))
    chance, right = [], []
    found = (answers(net, pictures, min(count, len(pictures.boxes)), 0.05) for pictures in sets)
    for boxes, scores, truth in chain.from_iterable(found):
        real, unasked = truth[truth[:, 4] == 1, :4], truth[truth[:, 4] == 0, :4]
        hit = (iou_matrix(boxes, real) >= 0.5).any(1)
        asked = hit | ~(iou_matrix(boxes, unasked) >= 0.3).any(1)
        chance.append(scores[asked])
        right.append(hit[asked])
    hits = np.concatenate(right)
    if min(int(hits.sum()), int((~hits).sum())) < 20:
        return
    logit = torch.logit(torch.from_numpy(np.concatenate(chance)).double(), 1e-4)
    wanted, line = torch.from_numpy(hits).double(), torch.tensor([1.0, 0.0]).double().requires_grad_()
    optimiser = torch.optim.LBFGS([line], max_iter=100, line_search_fn="strong_wolfe")

    def step() -> Tensor:
        optimiser.zero_grad()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logit * line[0] + line[1], wanted)
        loss.backward()
        return loss

    optimiser.step(step)
    net.calibration.copy_(line.detach())


def train(args: argparse.Namespace) -> dict[str, float]:
    """The whole run; gives the final figures. Raises: ValueError."""
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    sets, test = [Pictures.open(folder) for folder in args.train], Pictures.open(args.test)
    nobody, unseen = None, None
    if args.photographs is not None:
        nobody, unseen = (Pictures.of_nobody(args.photographs, split) for split in ("train", "test"))
    net = PersonDetector().to(memory_format=torch.channels_last)
    if args.init is not None:
        net.load_state_dict(torch.load(args.init, map_location="cpu", weights_only=True)["state_dict"])
    mean = copy.deepcopy(net)
    decayed = [p for p in net.parameters() if p.ndim > 1]
    plain = [p for p in net.parameters() if p.ndim <= 1]
    optimiser = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.02}, {"params": plain, "weight_decay": 0}])
    args.out.mkdir(parents=True, exist_ok=True)
    log = (args.out / "log.jsonl").open("w")
    begin, steps, shown, sums = time.monotonic(), 0, 0.0, np.zeros(3)
    for images, boxes in batches(rng, sets, nobody, args.batch):
        spent = (time.monotonic() - begin) / 60
        done = min((spent / args.minutes) if args.steps is None else (steps + 1) / args.steps, 1.0)
        rate = args.lr * min(1.0, (steps + 1) / args.warm_up) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))
        for group in optimiser.param_groups:
            group["lr"] = rate
        with torch.autocast("cpu", torch.bfloat16, enabled=args.bf16):
            maps = net(images.contiguous(memory_format=torch.channels_last))
        centre, box = losses(maps, targets(boxes, maps.centre.shape[1:]))  # type: ignore[arg-type]
        optimiser.zero_grad()
        (centre + 2 * box).backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 10.0)
        optimiser.step()
        steps += 1
        _follow(mean, net, 1 - 1 / min(steps, 500))
        sums += [centre.item(), box.item(), 1]
        if spent - shown >= args.report_every or done >= 1:
            entry = {"minutes": spent, "steps": steps, "centre": float(sums[0] / sums[2])}
            entry["box"] = float(sums[1] / sums[2])
            entry |= _scores(mean.eval(), test, unseen, args.check)
            log.write(json.dumps(entry) + "\n")
            log.flush()
            print({key: round(value, 3) for key, value in entry.items()}, flush=True)
            shown, sums = spent, np.zeros(3)
            _save(args, mean, entry)
        if done >= 1:
            break
    calibrate(mean.eval(), [*sets, *([nobody] if nobody else [])], args.calibrate)
    final = _scores(mean, test, unseen, len(test.boxes))
    _save(args, mean, {"minutes": (time.monotonic() - begin) / 60, "steps": steps} | final)
    return final


def _scores(net: PersonDetector, test: Pictures, unseen: Pictures | None, count: int) -> dict[str, float]:
    """Those of the test set, and boxes per 100 photographs of nobody that were not trained on."""
    out = score(net, test, min(count, len(test.boxes)))
    if unseen is not None:
        nobody = score(net, unseen, len(unseen.boxes))
        out |= {f"photographs_{key}": value for key, value in nobody.items() if key.startswith("nobody")}
    return out


@torch.no_grad()
def _follow(mean: PersonDetector, net: PersonDetector, keep: float) -> None:
    for a, b in zip(mean.state_dict().values(), net.state_dict().values(), strict=True):
        if a.dtype.is_floating_point:
            a.lerp_(b, 1 - keep)
        else:
            a.copy_(b)


def _save(args: argparse.Namespace, net: PersonDetector, entry: dict[str, float]) -> None:
    training = {
        "pictures": sum(len(Pictures.open(folder).boxes) for folder in args.train),
        "minutes": entry["minutes"], "steps": entry["steps"], "device": "cpu",
    }  # fmt: skip
    metrics = {key: value for key, value in entry.items() if "@" in key}
    state = {
        "model": "person-detector", "arguments": {"image_hw": list(net.image_hw)}, "metrics": metrics,
        "state_dict": {k: v.contiguous() for k, v in net.state_dict().items()}, "training": str(training),
    }  # fmt: skip
    torch.save(state, args.out / "person-detector.pt")


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=Path, nargs="+", required=True, help="sets of training.detector.pictures")
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument("--photographs", type=Path, metavar="PACK", help="a pack whose photographs show nobody")
    parser.add_argument("--init", type=Path, help="checkpoint to go on from")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--steps", type=int, help="so many steps instead of minutes")
    parser.add_argument("--warm-up", type=int, default=100, help="steps in which the rate rises")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--bf16", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--report-every", type=float, default=2, help="minutes")
    parser.add_argument("--check", type=int, default=512, help="test pictures looked at on the way")
    parser.add_argument("--calibrate", type=int, default=2048, help="training pictures that scores are calibrated on")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    try:
        final = train(args)
    except ValueError as error:
        print(f"training.detector.train: {error}", file=sys.stderr)
        return 1
    print({key: round(value, 2) for key, value in final.items()})
    return 0


if __name__ == "__main__":
    sys.exit(main())
