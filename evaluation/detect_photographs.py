"""How many people a detector finds in held-out photographs, and in how many photographs of nobody it sees somebody.

    python -m evaluation detect-photographs auto --people PHOTOS --labels COMPLETED.json --nobody BACKGROUNDS

PHOTOS holds `boxes.json` and `images/`; the held-out tenth is `training/photos/split.py`'s, the fifth of BACKGROUNDS
`training/detector/sets.py`'s; COMPLETED.json is written by `python -m training.detector.complete`. People below
--min-height of the picture's height are not counted. The rows:

- `given`: every box of the label file, groups, statues, posters and drawings with the rest;
- `single`: those that the teacher of COMPLETED.json does not see as a group of several people;
- `confirmed`: those of `single` in which the teacher, too, sees a person;
- `completed`: `confirmed`, and the people without a label of whom the teacher is sure.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter

import cv2
import numpy as np

from bodycast.app.detectors.base import Detector
from bodycast.app.detectors.factory import open_detector
from bodycast.app.errors import BodycastError, UsageError
from bodycast.app.records import F64, U8, Frame
from bodycast.hmr.geometry.boxes import iou_matrix
from bodycast.hmr.geometry.suppression import covered_share
from evaluation.detect import one_to_one
from training.detector.sets import nobody_files
from training.photos.split import held_out

ROWS: dict[str, tuple[str, ...]] = {
    "given": ("given", "doubted", "group"),
    "single": ("given", "doubted"),
    "confirmed": ("given",),
    "completed": ("given", "added"),
}
"""Whose boxes each row counts, by their `origin` in the label file."""
ON_NOBODY_IOU, INSIDE_GROUP = 0.2, 0.7


@dataclass(frozen=True)
class Photograph:
    """`image` (H,W,3) BGR, its stretch undone; `boxes` (P,4) px with their `origins`."""

    image: U8
    boxes: F64
    origins: tuple[str, ...]


@dataclass(frozen=True)
class Report:
    """`found_percent` of `people`, by row; `on_nobody`: boxes on nobody known per 100 of `photographs`;
    `nobody_percent`: of `nobody` photographs without people, those with a box; `ms`: median time."""

    detector: str
    photographs: int
    people: dict[str, int]
    found_percent: dict[str, float]
    on_nobody: float
    nobody: int
    nobody_percent: float
    ms: float


def main(argv: Sequence[str]) -> int:
    """Print one block a detector; 2 for a wrong command line, 1 where the work fails."""
    options = _parser().parse_args(argv)
    try:
        people = list(read_people(options.people, options.labels))
        nobody = [_read(file) for file, out in nobody_files(options.nobody) if out] if options.nobody else []
        reports = [measure(spec, people, nobody, options.min_height, options.iou) for spec in options.detectors]
    except (BodycastError, ValueError, OSError) as error:
        print(f"detect-photographs: {error}", file=sys.stderr)
        return getattr(error, "exit_code", 1)
    for report in reports:
        print(f"{report.detector}: {report.photographs} photographs, {report.ms:.1f} ms")
        for row, count in report.people.items():
            print(f"  {row:<10} {report.found_percent[row]:5.1f} % of {count} people found")
        print(f"  boxes on nobody known: {report.on_nobody:.1f} per 100 photographs")
        if report.nobody:
            print(f"  of {report.nobody} photographs of nobody {report.nobody_percent:.1f} % have a box")
    if options.json:
        options.json.write_text(json.dumps([asdict(r) for r in reports], indent=2) + "\n", encoding="utf-8")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m evaluation detect-photographs",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("detectors", nargs="*", default=["auto"], help="as --detector takes them (auto)")
    parser.add_argument("--people", type=Path, required=True, help="folder with images/")
    parser.add_argument("--labels", type=Path, required=True, help="label file of training.detector.complete")
    parser.add_argument("--nobody", type=Path, help="folder of photographs without people")
    parser.add_argument("--min-height", type=float, default=0.15, help="of the picture's height (default 0.15)")
    parser.add_argument("--iou", type=float, default=0.5, help="overlap from which a person is found (default 0.5)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    return parser


def read_people(folder: Path, labels: Path) -> Iterator[Photograph]:
    """The held-out photographs, their stretch undone. Raises: UsageError, OSError."""
    try:
        content = json.loads(labels.read_text(encoding="utf-8"))
        rows: dict[int, list[tuple[list[float], str]]] = {image["id"]: [] for image in content["images"]}
        for annotation in content["annotations"]:
            x, y, w, h = annotation["bbox"]
            rows[annotation["image_id"]].append(([x, y, x + w, y + h], annotation["origin"]))
    except (KeyError, ValueError) as error:
        raise UsageError(f"{labels}: no label file of training.detector.complete ({error!r})") from error
    for entry in content["images"]:
        if not held_out(entry["file_name"]):
            continue
        image, wide = _read(folder / "images" / entry["file_name"]), float(entry.get("stretch_x", 1.0))
        boxes = np.array([box for box, _ in rows[entry["id"]]]).reshape(-1, 4) * [wide, 1, wide, 1]
        if wide != 1:
            image = np.asarray(cv2.resize(image, None, fx=wide, fy=1.0), np.uint8)
        yield Photograph(image, boxes, tuple(origin for _, origin in rows[entry["id"]]))


def _read(file: Path) -> U8:
    image = cv2.imread(str(file), cv2.IMREAD_COLOR)
    if image is None:
        raise UsageError(f"{file} is not a readable picture")
    return np.asarray(image, np.uint8)


def measure(
    spec: str, people: Sequence[Photograph], nobody: Sequence[U8], min_height: float = 0.15, iou: float = 0.5
) -> Report:
    """Run one detector over all photographs. Raises: UsageError, RunError."""
    detector: Detector = open_detector(spec)
    counts, found, times = dict.fromkeys(ROWS, 0), dict.fromkeys(ROWS, 0), []
    wrong = spoiled = 0
    try:
        for index, photograph in enumerate(people):
            start = perf_counter()
            boxes = detector.detect(Frame(photograph.image, index, float(index))).xyxy.astype(np.float64)
            times.append(1e3 * (perf_counter() - start))
            tall = photograph.boxes[:, 3] - photograph.boxes[:, 1] >= min_height * photograph.image.shape[0]
            for row, origins in ROWS.items():
                counted = photograph.boxes[tall & np.isin(photograph.origins, origins)]
                counts[row] += len(counted)
                found[row] += one_to_one(iou_matrix(boxes, counted), iou)
            groups = photograph.boxes[np.isin(photograph.origins, ("group",))]
            known = iou_matrix(boxes, photograph.boxes).max(axis=1, initial=0.0) >= ON_NOBODY_IOU
            inside = covered_share(boxes.astype(np.float32), groups.astype(np.float32)).max(axis=1, initial=0.0)
            wrong += int((~known & (inside < INSIDE_GROUP)).sum())
        for index, image in enumerate(nobody):
            spoiled += len(detector.detect(Frame(image, index, float(index))).xyxy) > 0
    finally:
        detector.close()
    shares = {row: 100 * found[row] / max(counts[row], 1) for row in ROWS}
    ms = float(np.median(times)) if times else 0.0
    on_nobody, percent = 100 * wrong / max(len(people), 1), 100 * spoiled / max(len(nobody), 1)
    return Report(spec, len(people), counts, shares, on_nobody, len(nobody), percent, ms)
