"""How many labelled people a detector finds, and how many boxes it puts on nobody.

Pictures with COCO-format boxes (`--images DIR --coco FILE`), or a film whose people are known by a motion.npz or a
MediaPipe track, or were drawn by hand (`--film F --boxes FILE`; `evaluation/outdoors.json` is for
`assets/demo/outdoors.mp4`). A person counts as found where a box overlaps theirs by --iou; a box that overlaps nobody's
by 0.2 is on nobody, or on somebody without a label.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter

import numpy as np

from bodycast.app.detectors.base import Detector
from bodycast.app.detectors.factory import open_detector
from bodycast.app.errors import BodycastError, UsageError
from bodycast.app.records import F64, U8, Frame
from bodycast.app.sources.video_file import open_video_file
from bodycast.hmr.geometry.boxes import clip, iou_matrix
from evaluation.film import read_boxes
from training.datasets.coco import find_pictures, read_labels
from training.datasets.errors import DatasetError
from training.datasets.pictures import Picture

ON_NOBODY_IOU = 0.2


@dataclass(frozen=True)
class Found:
    """`found_percent` of `people` in `pictures`; `nobody`: boxes on nobody per 100 pictures; `ms`: median time."""

    detector: str
    pictures: int
    people: int
    found_percent: float
    nobody: float
    ms: float


def main(argv: Sequence[str]) -> int:
    """Print one line a detector; 2 for a wrong command line, 1 where the work fails."""
    options = _parser().parse_args(argv)
    try:
        labelled = list(_labelled(options))
        rows = [measure(spec, labelled, options.iou) for spec in options.detectors]
    except (BodycastError, DatasetError) as error:
        print(f"detect: {error}", file=sys.stderr)
        return getattr(error, "exit_code", 1)
    print(f"{'detector':<24}{'pictures':>9}{'people':>8}{'found %':>9}{'on nobody / 100':>17}{'ms':>7}")
    for row in rows:
        counts = f"{row.detector:<24}{row.pictures:>9}{row.people:>8}"
        print(f"{counts}{row.found_percent:>9.1f}{row.nobody:>17.1f}{row.ms:>7.1f}")
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n", encoding="utf-8")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m evaluation detect", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("detectors", nargs="*", default=["auto", "hog"], help="as --detector takes them (auto hog)")
    parser.add_argument("--images", type=Path, help="folder of the pictures")
    parser.add_argument("--coco", type=Path, help="COCO-format label file with the boxes")
    parser.add_argument("--film", type=Path, help="a film, instead of --images; needs --boxes")
    boxes = "motion.npz with truth, a MediaPipe track, or boxes drawn by hand (.json), of the film"
    parser.add_argument("--boxes", type=Path, help=boxes)
    every = "one frame of so many (default 10); of boxes drawn by hand, the frames that have some"
    parser.add_argument("--every", type=int, default=10, help=every)
    parser.add_argument("--iou", type=float, default=0.5, help="overlap from which a person is found (default 0.5)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    return parser


def _labelled(options: argparse.Namespace) -> Iterator[tuple[U8, F64]]:
    """Pictures (H,W,3) BGR and boxes (P,4). Raises: UsageError, DatasetError."""
    if options.images and options.coco and not (options.film or options.boxes):
        labels = read_labels(options.coco)
        files, missing = find_pictures(labels, options.images)
        if missing:
            raise UsageError(f"{options.images}: {len(missing)} pictures are not there: {', '.join(missing[:3])}")
        for image_id, path in files.items():
            known = [a.xyxy for a in labels.annotations if a.image_id == image_id and a.xyxy is not None]
            yield Picture(path, labelled_wh=labels.images[image_id].wh).read(), np.array(known).reshape(-1, 4)
    elif options.film and options.boxes and not (options.images or options.coco):
        yield from _film(options)
    else:
        raise UsageError("give --images and --coco, or --film and --boxes")


def _film(options: argparse.Namespace) -> Iterator[tuple[U8, F64]]:
    if options.every < 1:
        raise UsageError("--every: expected 1 or more")
    drawn = options.boxes.suffix == ".json"
    if drawn:
        boxes = _drawn(options.boxes)
    else:
        track = read_boxes(options.boxes)
        boxes = {int(f): track.xyxy[track.frame == f].astype(np.float64) for f in np.unique(track.frame)}
    source = open_video_file(options.film)
    try:
        for frame in source:
            if frame.index in boxes if drawn else frame.index % options.every == 0:
                known = boxes.get(frame.index, np.zeros((0, 4))) * (np.tile(frame.image_wh, 2) if drawn else 1)
                yield frame.image, clip(known, frame.image_wh).astype(np.float64)
    finally:
        source.close()


def _drawn(path: Path) -> dict[int, F64]:
    """Boxes (P,4) by frame, drawn by hand, in shares of the picture's sides: `{"wh": [1280, 720], "frames": {"0": [[x0,
    y0, x1, y1], ...]}}`, px of a picture of that size. Raises: UsageError."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        size = np.array([*content["wh"], *content["wh"]], np.float64)
        return {int(f): np.array(boxes, np.float64).reshape(-1, 4) / size for f, boxes in content["frames"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{path}: no boxes by frame ({error!r})") from error


def measure(spec: str, labelled: Sequence[tuple[U8, F64]], iou: float) -> Found:
    """Run one detector over all pictures. Raises: UsageError, RunError."""
    detector: Detector = open_detector(spec)
    people = found = nobody = 0
    times: list[float] = []
    try:
        for index, (image, known) in enumerate(labelled):
            start = perf_counter()
            boxes = detector.detect(Frame(image, index, float(index))).xyxy
            times.append(1e3 * (perf_counter() - start))
            overlap = iou_matrix(boxes.astype(np.float64), known)
            people += len(known)
            found += one_to_one(overlap, iou)
            nobody += int((overlap.max(axis=1, initial=0.0) < ON_NOBODY_IOU).sum())
    finally:
        detector.close()
    pictures = max(len(labelled), 1)
    median = float(np.median(times)) if times else 0.0
    return Found(spec, len(labelled), people, 100 * found / max(people, 1), 100 * nobody / pictures, median)


def one_to_one(overlap: F64, least: float) -> int:
    """How many columns get a row of their own, the best first."""
    overlap, count = overlap.copy(), 0
    while overlap.max(initial=0.0) >= least:
        row, column = np.unravel_index(int(overlap.argmax()), overlap.shape)
        overlap[row, :] = overlap[:, column] = 0
        count += 1
    return count
