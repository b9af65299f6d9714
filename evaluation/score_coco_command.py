"""`python -m evaluation score-coco NETWORK --images DIR --coco KEYPOINTS.json`: COCO AP and OKS of a keypoint network.

By the protocol of ViTPose's tables (`evaluation/coco_protocol.py`). NETWORK: a pose package, or a checkpoint (with
--model a published one), which is run in torch and gives heat maps. Boxes: the labelled ones, or --boxes, COCO
detection results.
No other test-time augmentation than the flip test, which is the protocol's.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bodycast.app.errors import BodycastError, UsageError
from bodycast.engines.errors import EngineError
from evaluation.coco_protocol import BoxOfPerson, LooksAtCrops, look_at_boxes, open_network, results_of
from evaluation.keypoint_metrics import coco_ap, oks
from evaluation.score_coco import complete_labels
from training.datasets.coco import CocoLabels, find_pictures, read_labels
from training.datasets.errors import DatasetError
from training.datasets.pictures import Picture


def boxes_of(labels: CocoLabels) -> list[tuple[BoxOfPerson, int]]:
    """Labelled boxes and rows of their annotations: people with a labelled keypoint, no crowds."""
    return [
        (BoxOfPerson(a.image_id, (*a.xyxy[:2].tolist(), *(a.xyxy[2:] - a.xyxy[:2]).tolist()), 1.0), row)
        for row, a in enumerate(labels.annotations)
        if a.xyxy is not None and not a.is_crowd and a.keypoints is not None and (a.keypoints[:, 2] > 0).any()
    ]


def read_boxes(path: Path, labels: CocoLabels) -> list[tuple[BoxOfPerson, int]]:
    """COCO detection results of people: image_id, category_id 1, bbox, score. Raises: UsageError."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        found = [
            BoxOfPerson(int(row["image_id"]), tuple(map(float, row["bbox"])), float(row["score"]))
            for row in document
            if row.get("category_id", 1) == 1
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{path}: no COCO detection results ({error})") from error
    usable = [box for box in found if len(box.xywh) == 4 and min(box.xywh[2:]) > 0 and box.image_id in labels.images]
    if not usable:
        raise UsageError(f"{path}: no box of a labelled picture in it")
    return [(box, -1) for box in usable]


def score(
    network: LooksAtCrops,
    labels: CocoLabels,
    pictures: dict[int, Path],
    boxes: list[tuple[BoxOfPerson, int]],
    flip: bool,
) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Figures by name, in per cent, and the COCO results that they are of. Raises: DatasetError, EngineError."""
    results: list[dict[str, Any]] = []
    similarities: list[float] = []
    for image_id in sorted({box.image_id for box, _ in boxes}):
        here = [(box, row) for box, row in boxes if box.image_id == image_id]
        image = Picture(pictures[image_id], labelled_wh=labels.images[image_id].wh).read()
        found = look_at_boxes(network, image, [box for box, _ in here], flip)
        results += results_of(found, [box for box, _ in here])
        for (box, row), points in zip(here, found, strict=True):
            truth = labels.annotations[row].keypoints if row >= 0 else None
            if truth is not None:
                area = labels.annotations[row].area or box.xywh[2] * box.xywh[3]
                distance = np.linalg.norm(points[None, :, :2] - truth[None, :, :2], axis=-1)
                similarities.append(float(oks(distance, truth[None, :, 2] > 0, np.array([area]))[0]))
    figures: dict[str, float] = {"people": float(len(boxes)), "results": float(len(results))}
    figures |= coco_ap(complete_labels(labels), results)
    if similarities:
        figures["oks"] = 100 * float(np.mean(similarities))
    return figures, results


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m evaluation score-coco",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("network", metavar="NETWORK", help="a pose package, a checkpoint, or a registered name")
    parser.add_argument("--model", help="registered network that a published checkpoint fills (pose-vit-b, ...)")
    parser.add_argument("--images", type=Path, required=True, help="folder of the pictures, sub-folders included")
    parser.add_argument("--coco", type=Path, required=True, help="COCO keypoint labels (person_keypoints_val2017.json)")
    parser.add_argument("--boxes", type=Path, help="COCO detection results, in place of the labelled boxes")
    parser.add_argument(
        "--flip-test", action=argparse.BooleanOptionalAction, default=True, help="(default: as the paper)"
    )
    parser.add_argument("--engine", default="auto", help="of a package, as in bodycast run")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--threads", type=int, help="CPU threads of the network")
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--results", type=Path, help="write the COCO results there")
    return parser


def run(args: argparse.Namespace) -> dict[str, float]:
    """Everything after parsing. Raises: BodycastError, DatasetError."""
    labels = read_labels(args.coco)
    boxes = read_boxes(args.boxes, labels) if args.boxes else boxes_of(labels)
    if not boxes:
        raise UsageError(f"{args.coco}: no person with a box and labelled keypoints to score against")
    pictures, missing = find_pictures(labels, args.images, {box.image_id for box, _ in boxes})
    if missing:
        raise UsageError(f"{args.images}: {len(missing)} pictures are not there, {missing[0]} among them")
    network, words = open_network(args.network, args.model, args.engine, args.device, args.threads)
    flips = f"flip test ({network.flips})" if args.flip_test else "no flip test"
    given = "found boxes" if args.boxes else "labelled boxes"
    print(f"evaluation score-coco: {words}; {given}, {flips}", file=sys.stderr)
    try:
        figures, results = score(network, labels, pictures, boxes, args.flip_test)
    except EngineError as error:
        raise UsageError(str(error)) from error
    for path, content in ((args.json, figures), (args.results, results)):
        if path is not None:
            clean = {k: None if math.isnan(v) else v for k, v in content.items()} if content is figures else content
            path.write_text(json.dumps(clean, indent=1), encoding="utf-8")
    return figures


def main(argv: Sequence[str]) -> int:
    """Command line. Exit code 2 for bad input."""
    args = _parser().parse_args(argv)
    try:
        figures = run(args)
    except (BodycastError, DatasetError, OSError) as error:
        print(f"evaluation score-coco: {error}", file=sys.stderr)
        return 2
    for name, value in figures.items():
        print(f"{name:<10}  {value:8.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
