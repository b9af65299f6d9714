"""How many people the detector finds in letterboxed pictures, and how sure it may say that it is."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bodycast.hmr.geometry.boxes import iou_matrix
from bodycast.hmr.geometry.suppression import covered_share, non_maximum_suppression
from bodycast.hmr.networks.hmr_net import IMAGENET_MEAN, IMAGENET_STD
from bodycast.hmr.networks.person_detector import PersonDetector
from training.detector.sets import HIDDEN, NO_ROW, PERSON, REGION, Pictures

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
SCORES = (0.2, 0.35, 0.5)
SAME_IOU = 0.6  # as in app/detectors/package_detector.py
PROGRAM_LIMIT = 0.35
"""Score from which the program takes a box."""
NOBODY_PERCENT = 3.0
LEAST_HEIGHT = 0.15
"""Of the frame: smaller people are not counted in photographs."""


def normalised(pixels: U8) -> Tensor:
    """Pictures (B,H,W,3) -> (B,3,H,W)."""
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    return (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255 - mean) / std


@torch.no_grad()
def answers(net: PersonDetector, pictures: Pictures, count: int, least: float) -> Iterator[tuple[F32, F32, F32]]:
    """Of the first `count` pictures: boxes (M,4) with scores (M,) from `least`, one a person, and the truth (R,5)."""
    device = net.calibration.device
    for start in range(0, count, 16):
        rows = slice(start, min(start + 16, count))
        images = normalised(np.array(pictures.pixels[rows])).to(device)
        boxes, scores = (t.cpu().numpy() for t in net.detect(images))
        for k, truth in enumerate(pictures.boxes[rows]):
            kept = np.flatnonzero(scores[k] >= least)
            kept = kept[non_maximum_suppression(boxes[k][kept], scores[k][kept], SAME_IOU)]
            yield boxes[k][kept], scores[k][kept], truth


def score(net: PersonDetector, pictures: Pictures, count: int, least_height: float = 0.0) -> dict[str, float]:
    """By score limit: people found (IoU 0.5), per cent, boxes on nobody per 100 pictures, and pictures with such boxes,
    per cent; the first `count`. least_height: of the frame; people who are smaller are not counted."""
    found, wrong, spoiled, people = (dict.fromkeys(SCORES, 0) for _ in range(4))
    for boxes, scores, truth in answers(net, pictures, count, min(SCORES)):
        tall = truth[:, 3] - truth[:, 1] >= least_height * pictures.pixels.shape[1]
        real, anybody = truth[(truth[:, 4] == PERSON) & tall, :4], truth[truth[:, 4] != NO_ROW, :4]
        region = truth[truth[:, 4] == REGION, :4]
        for limit in SCORES:
            shown = boxes[scores >= limit]
            people[limit] += len(real)
            found[limit] += int((iou_matrix(real, shown) >= 0.5).any(1).sum())
            lost = ~((iou_matrix(shown, anybody) >= 0.3).any(1) | (covered_share(shown, region) >= 0.7).any(1))
            wrong[limit] += int(lost.sum())
            spoiled[limit] += int(lost.any())
    out: dict[str, float] = {}
    for limit in SCORES:
        out[f"found_percent@{limit}"] = 100 * found[limit] / max(people[limit], 1)
        out[f"nobody_per_100@{limit}"] = 100 * wrong[limit] / max(count, 1)
        out[f"spoiled_percent@{limit}"] = 100 * spoiled[limit] / max(count, 1)
    return out


def hold_back(net: PersonDetector, nobody: Pictures, percent: float = NOBODY_PERCENT) -> None:
    """Lower `net.calibration`'s shift where at `PROGRAM_LIMIT` more than `percent` of `nobody`'s pictures have a box:
    Platt's line is that of pictures full of people, and most of a camera's time shows few or none."""
    most = [float(scores.max(initial=0.0)) for _, scores, _ in answers(net, nobody, len(nobody), 0.0)]
    allowed = int(len(most) * percent / 100)
    if not most or allowed >= len(most):
        return
    surest = torch.logit(torch.tensor(sorted(most, reverse=True)[allowed], dtype=torch.float64), 1e-6)
    above = float(surest) - float(torch.logit(torch.tensor(PROGRAM_LIMIT, dtype=torch.float64)))
    net.calibration[1] -= max(above + 1e-3, 0.0)


def calibrate(net: PersonDetector, sets: list[Pictures], count: int) -> None:
    """Set `net.calibration` so that scores say how often a box lies on a person (IoU 0.5): Platt scaling on the first
    `count` pictures of each set. Nothing is changed where there are too few boxes to say."""
    net.calibration.copy_(torch.tensor([1.0, 0.0]))
    chance, right = [], []
    found = (answers(net, pictures, min(count, len(pictures)), 0.05) for pictures in sets)
    for boxes, scores, truth in chain.from_iterable(found):
        real, hidden = truth[truth[:, 4] == PERSON, :4], truth[truth[:, 4] == HIDDEN, :4]
        hit = (iou_matrix(boxes, real) >= 0.5).any(1)
        unasked = (iou_matrix(boxes, hidden) >= 0.3).any(1)
        unasked |= (covered_share(boxes, truth[truth[:, 4] == REGION, :4]) >= 0.7).any(1)
        asked = hit | ~unasked
        chance.append(scores[asked])
        right.append(hit[asked])
    hits = np.concatenate(right) if right else np.zeros(0, bool)
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
