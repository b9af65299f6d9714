"""`python -m evaluation predict PRESET|PACKAGE --images DIR --coco BOXES.json --out PRED.npz`: bodies for given boxes.

Once, saved; `python -m evaluation score` then scores the file as often as wanted. What runs is what the program runs
for a preset (its crops, networks, fusion, refinement and camera) on the box of every annotation, without detector,
tracker or smoother. Instead of labelled
pictures: `--film FILM --boxes FILE.npz` (boxes of true motion or of a MediaPipe track, frame by frame), or
`--crops SET`, a synthetic test set (a folder written by training.synthetic.generate), with its true cameras.

Rules. One row per annotation, in the file's order; where the file knows a category "person", only its annotations. A
box that is missing, without area or not finite gets an empty row (`valid` False). Crowd regions are predicted like the
rest and marked (`iscrowd`); scores leave them out. The focal length is --focal-px or --fov-deg, else the image's own
"focal_px" in the label file, else the diagonal of the picture in pixels (CLIFF's rule; a run assumes a shorter lens).
Pictures are turned as their EXIF tag says, unless the label file states the size of the unturned picture.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from bodycast.app.config import RunConfig
from bodycast.app.errors import BodycastError, RunError, UsageError
from bodycast.app.estimation.estimator import Estimator
from bodycast.app.files.motion_file import read_motion
from bodycast.app.files.output_file import check_target
from bodycast.app.model_packages import find_any_package
from bodycast.app.pipeline.build import load_body, open_estimator
from bodycast.app.pipeline.pose_only import PoseOnly
from bodycast.app.presets import PRESETS, preset_defaults
from bodycast.app.records import CropBatch
from bodycast.engines.package import METADATA_FILE
from bodycast.hmr.body.body_model import BodyModel
from bodycast.hmr.body.surface_joints import SURFACE_VERTICES
from bodycast.hmr.geometry.camera import Intrinsics
from bodycast.hmr.geometry.crop import CropTransform
from bodycast.npz import map_npy
from evaluation.film import KIND, predict_film, read_boxes
from evaluation.predict_rows import EstimatesBodies, RowPredictor, write_estimates
from evaluation.predictions import empty_columns, write_predictions
from evaluation.token_file import write_tokens
from training.datasets.coco import CocoLabels, LabelledImage, find_pictures, read_labels
from training.datasets.errors import DatasetError
from training.datasets.pictures import Picture

CROP_ARRAYS = ("pixels", "centre_px", "size_px", "focal_px", "image_wh")


@dataclass(frozen=True)
class CameraRule:
    """What to assume of the lens: `focal_px`, or `fov_deg` along the diagonal, or neither."""

    focal_px: float | None = None
    fov_deg: float | None = None

    def __post_init__(self) -> None:
        if self.focal_px is not None and self.fov_deg is not None:
            raise UsageError("--focal-px and --fov-deg say the same thing: give one of them")
        if self.focal_px is not None and not 10 <= self.focal_px <= 1e6:
            raise UsageError(f"--focal-px: expected 10 to 1000000 pixels, got {self.focal_px:g}")
        if self.fov_deg is not None and not 1 <= self.fov_deg <= 170:
            raise UsageError(f"--fov-deg: expected 1 to 170 degrees, got {self.fov_deg:g}")

    def camera(self, image: LabelledImage, wh: tuple[int, int]) -> Intrinsics:
        """The camera of a picture of size wh px."""
        if self.focal_px is not None:
            return Intrinsics.from_focal(self.focal_px, wh)
        if self.fov_deg is not None:
            return Intrinsics.default(wh, fov_rad=math.radians(self.fov_deg))
        if image.focal_px is not None:
            return Intrinsics.from_focal(image.focal_px, wh)
        return Intrinsics.default(wh)

    def describe(self) -> str:
        """For the file's meta."""
        if self.focal_px is not None:
            return f"{self.focal_px:g} px"
        return "image diagonal, or the label file's own" if self.fov_deg is None else f"{self.fov_deg:g} degrees"


def predict_labels(
    estimator: EstimatesBodies,
    body: BodyModel,
    labels: CocoLabels,
    pictures: dict[int, Path],
    rule: CameraRule,
    batch: int,
    done: Callable[[int], None],
    unreadable: list[str] | None = None,
    token_width: int = 0,
) -> dict[str, NDArray[Any]]:
    """Prediction columns for all annotations of `labels`; `pictures`: image id -> file. Rows whose picture is not among
    them, or whose box is unusable, stay empty.

    Raises: DatasetError for a picture that cannot be read; where `unreadable` is given the reason is added there."""
    columns = empty_columns(len(labels.annotations), token_width)
    by_image: dict[int, list[int]] = {}
    for row, annotation in enumerate(labels.annotations):
        columns["annotation_id"][row] = annotation.id
        columns["image_id"][row] = annotation.image_id
        columns["iscrowd"][row] = annotation.is_crowd
        if annotation.xyxy is not None:
            columns["bbox_xyxy"][row] = annotation.xyxy
            columns["bbox"][row] = [*annotation.xyxy[:2], *(annotation.xyxy[2:] - annotation.xyxy[:2])]
            if annotation.image_id in pictures:
                by_image.setdefault(annotation.image_id, []).append(row)
    predictor = RowPredictor(estimator, body, columns, batch, done)
    for image_id, rows in by_image.items():
        label = labels.images[image_id]
        try:
            image = Picture(pictures[image_id], labelled_wh=label.wh).read()
        except DatasetError as error:
            if unreadable is None:
                raise
            unreadable.append(str(error))
            continue
        boxes = np.stack([_usable(labels.annotations[row].xyxy) for row in rows])
        predictor.add(rows, image, boxes, rule.camera(label, (image.shape[1], image.shape[0])))
    predictor.flush()
    return columns


def _usable(xyxy: NDArray[np.float64] | None) -> NDArray[np.float64]:
    assert xyxy is not None, "rows without a box are left out before"
    return xyxy


def predict_crops(
    estimator: EstimatesBodies,
    body: BodyModel,
    folder: Path,
    limit: int | None,
    done: Callable[[int], None],
    token_width: int = 0,
) -> dict[str, NDArray[Any]]:
    """Prediction columns for a synthetic crop set: row i is sample i, seen by its true camera.

    Raises: DatasetError where the folder holds no set.
    """
    count = _crop_count(folder, limit)
    arrays = {name: map_npy(folder / f"{name}.npy") for name in CROP_ARRAYS}
    columns = empty_columns(count, token_width)
    columns["annotation_id"][:] = columns["image_id"][:] = np.arange(count)
    for row in range(count):
        centre, size = arrays["centre_px"][row], float(arrays["size_px"][row])
        width, height = (int(side) for side in arrays["image_wh"][row])
        transform = CropTransform((float(centre[0]), float(centre[1])), size, estimator.input_hw)
        crops = CropBatch(_resized(arrays["pixels"][row], estimator.input_hw)[None], (transform,), np.ones(1, np.int32))
        intrinsics = Intrinsics.from_focal(float(arrays["focal_px"][row]), (width, height))
        estimates = estimator.estimate(crops, intrinsics, (width, height))
        half = np.array([0.375 * size, 0.5 * size])
        columns["bbox_xyxy"][row] = np.concatenate([centre - half, centre + half])
        columns["bbox"][row] = np.concatenate([centre - half, 2 * half])
        write_estimates(columns, np.array([row])[estimates.id - 1], estimates, body, intrinsics)
        done(1)
    return columns


def _crop_count(folder: Path, limit: int | None) -> int:
    missing = [name for name in CROP_ARRAYS if not (folder / f"{name}.npy").is_file()]
    if missing or not (folder / "meta.json").is_file():
        raise DatasetError(f"{folder}: no crop set ({', '.join(missing) or 'meta.json'} missing)")
    finished = int(json.loads((folder / "meta.json").read_text())["finished"])
    return finished if limit is None else min(limit, finished)


def _resized(pixels: NDArray[np.uint8], input_hw: tuple[int, int]) -> NDArray[np.uint8]:
    import cv2

    if pixels.shape[:2] == input_hw:
        return np.ascontiguousarray(pixels)
    return np.asarray(cv2.resize(pixels, input_hw[::-1], interpolation=cv2.INTER_AREA), np.uint8)


@contextmanager
def progress_bar(total: int, quiet: bool) -> Iterator[Callable[[int], None]]:
    """People a second and time left, on stderr; gives the function that is told of finished rows."""
    # None: shown where stderr is a terminal.
    with tqdm(total=total, unit=" people", leave=False, disable=True if quiet else None, dynamic_ncols=True) as bar:

        def show(count: int) -> None:
            bar.update(count)

        yield show


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m evaluation predict", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("network", metavar="PRESET|PACKAGE",
                        help="a preset, as the program runs it, or an hmr or pose package")  # fmt: skip
    parser.add_argument("--images", type=Path, help="folder of the pictures, sub-folders included")
    parser.add_argument("--coco", type=Path, help="COCO-format label file with the boxes")
    parser.add_argument("--film", type=Path, help="a film, instead of --images; needs --boxes")
    parser.add_argument("--boxes", type=Path, help="motion.npz with truth, or a MediaPipe track, of the film")
    parser.add_argument("--crops", type=Path, help="a synthetic crop set, instead of --images and --coco")
    parser.add_argument("--out", type=Path, required=True, help="the .npz to write")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing --out")
    parser.add_argument("--focal-px", type=float, help="focal length of all pictures, px")
    parser.add_argument("--fov-deg", type=float, help="field of view along the diagonal, instead of --focal-px")
    parser.add_argument("--engine", default="auto", help="as in run_webcam.py (default auto)")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--threads", type=int, help="CPU threads of the network")
    parser.add_argument("--flip-test", action=argparse.BooleanOptionalAction, help="flip test (default: the preset's)")
    parser.add_argument("--refine-keypoints", action=argparse.BooleanOptionalAction,
                        help="keypoint refinement (default: the preset's)")  # fmt: skip
    parser.add_argument("--body", default="auto", help="body file, for packages of another body than the embedded one")
    parser.add_argument("--pose-only", action="store_true", help="keep the poses where the body is another one")
    parser.add_argument("--tokens", type=Path, metavar="TOKENS.npz",
                        help="with --film and true motion as --boxes: write the network's tokens and the true poses, "
                        "for training.motion.prior --tokens")  # fmt: skip
    parser.add_argument("--batch", type=int, default=16, help="people a call of the network (default 16)")
    parser.add_argument("--limit", type=int, help="only the first so many annotations")
    parser.add_argument("--allow-missing", action="store_true", help="empty rows for missing or broken pictures")
    parser.add_argument("--quiet", action="store_true", help="no progress bar, no notes")
    return parser


def _check_sources(args: argparse.Namespace) -> None:
    """Raises: UsageError unless exactly one kind of source is given, whole."""
    kinds = {"--images and --coco": (args.images, args.coco), "--film and --boxes": (args.film, args.boxes)}
    given = [name for name, parts in kinds.items() if any(parts)] + (["--crops"] if args.crops else [])
    halves = [name for name, parts in kinds.items() if any(parts) and not all(parts)]
    if len(given) != 1 or halves:
        raise UsageError("give --images and --coco, or --film and --boxes, or --crops alone")
    if args.tokens is not None:
        if args.film is None:
            raise UsageError("--tokens is for --film, with true motion as --boxes")
        check_target(args.tokens, args.overwrite)
    for path in (args.film, args.boxes):
        if path is not None and not path.is_file():
            raise UsageError(f"{path}: no such file")
    if args.batch < 1 or (args.limit is not None and args.limit < 1):
        raise UsageError("--batch and --limit: expected 1 or more")
    if args.crops is not None and (args.focal_px or args.fov_deg):
        raise UsageError("--crops brings its own cameras: leave --focal-px and --fov-deg out")


def run_config(args: argparse.Namespace, protocol: bool = False) -> RunConfig:
    """The program's configuration that finds bodies with these networks. protocol: the boxes are those of a paper's
    protocol, which knows no test-time augmentation: a preset's flip test counts only where it is asked for.

    Raises: UsageError.
    """
    config = preset_defaults(args.network if args.network in PRESETS else RunConfig().preset)
    network = replace(config.network, engine=args.engine, device=args.device)
    if args.network not in PRESETS:
        package = find_any_package(args.network)
        if package.info.task not in ("hmr", "pose"):
            raise UsageError(f"{args.network} is a package for {package.info.task}, expected one for hmr or pose")
        names = ("none", args.network) if package.info.task == "pose" else (args.network, "none")
        network = replace(network, model=names[0], keypoints=names[1])
    if args.flip_test is not None or protocol:
        network = replace(network, flip_test=bool(args.flip_test))
    if args.refine_keypoints is not None:
        network = replace(network, refine_keypoints=args.refine_keypoints)
    return replace(config, network=network)


def run(args: argparse.Namespace) -> None:
    """Everything after parsing. Raises BodycastError, DatasetError."""
    _check_sources(args)
    check_target(args.out, args.overwrite)
    rule = CameraRule(args.focal_px, args.fov_deg)
    labels, pictures, notes = _labels(args) if args.coco is not None else (None, {}, [])
    protocol = labels is not None and "protocol" in labels.info
    if protocol:
        augmented = "the flip test, as asked for" if args.flip_test else "none"
        notes.append(f"boxes of protocol {labels.info['protocol']}: test-time augmentation: {augmented}")
    estimator = open_estimator(run_config(args, protocol), args.threads, look_turned=not protocol)
    try:
        body = load_body(args.body, estimator.body_name, args.pose_only)
        network: EstimatesBodies = estimator if body.name == estimator.body_name else PoseOnly(estimator)
        if body.name not in SURFACE_VERTICES:
            notes.append(f"the body {body.name!r} has no face and foot points: points_2d and points_3d stay empty")
        width = estimator.token_width if args.tokens else 0
        if args.tokens and not width:
            raise UsageError(f"--tokens: {args.network} gives no token; an hmr package does, a preset does not")
        truth = read_motion(args.boxes) if args.tokens else None
        _say(notes, args.quiet)
        meta: dict[str, Any] = {"kind": "labels", "focal": rule.describe()}
        if labels is not None:
            usable = sum(a.xyxy is not None and a.image_id in pictures for a in labels.annotations)
            with progress_bar(usable, args.quiet) as done:
                unreadable: list[str] | None = [] if args.allow_missing else None
                columns = predict_labels(network, body, labels, pictures, rule, args.batch, done, unreadable, width)
            notes += unreadable or []
            _say(unreadable or [], args.quiet)
            meta |= {"labels": args.coco.name, "info": labels.info}
        elif args.film is not None:
            boxes = read_boxes(args.boxes)
            with progress_bar(len(boxes.frame), args.quiet) as done:
                columns, fps = predict_film(network, body, args.film, boxes, rule.camera, args.batch, done, width)
            meta |= {"kind": KIND, "labels": args.boxes.name, "fps": fps}
            if truth is not None:
                write_tokens(args.tokens, columns, truth, fps, estimator.package.info.name)
        else:
            if not isinstance(estimator, Estimator):
                raise UsageError("--crops holds HMR2.0's crops: give an hmr package; presets look at whole pictures")
            with progress_bar(_crop_count(args.crops, args.limit), args.quiet) as done:
                columns = predict_crops(network, body, args.crops, args.limit, done, width)
            meta |= {"kind": "crops", "labels": str(args.crops.name), "focal": "true cameras of the crop set"}
        meta |= {
            "package": estimator.package.info.name,
            "package_sha256": hashlib.sha256((estimator.package.folder / METADATA_FILE).read_bytes()).hexdigest(),
            "engine": estimator.describe(),
            "body": body.name,
            "notes": notes,
        }
    finally:
        estimator.close()
    try:
        write_predictions(args.out, columns, meta)
    except OSError as error:
        raise RunError(f"{args.out}: cannot be written ({error.strerror or error})") from error
    _say([f"{args.out}: {int(columns['valid'].sum())} of {len(columns['valid'])} rows predicted"], args.quiet)


def _labels(args: argparse.Namespace) -> tuple[CocoLabels, dict[int, Path], list[str]]:
    labels = read_labels(args.coco)
    if args.limit is not None:
        labels = CocoLabels(labels.path, labels.images, labels.annotations[: args.limit], labels.other, labels.info)
    if not labels.annotations:
        raise UsageError(f"{args.coco}: no annotations of people")
    wanted = {a.image_id for a in labels.annotations if a.xyxy is not None}
    pictures, missing = find_pictures(labels, args.images, wanted)
    if missing and not args.allow_missing:
        names = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        raise UsageError(
            f"{args.images}: {len(missing)} of {len(wanted)} pictures are not there, or not by one clear name: "
            f"{names}; give the folder that the file names start from, or --allow-missing"
        )
    notes: list[str] = []
    if labels.other:
        notes.append(f"{labels.other} annotations are of other categories than person: left out")
    without = sum(a.xyxy is None for a in labels.annotations)
    if without:
        notes.append(f"{without} annotations have no box with area: their rows are empty")
    crowds = sum(a.is_crowd and a.xyxy is not None for a in labels.annotations)
    if crowds:
        notes.append(f"{crowds} crowd regions are predicted like one person each and marked; scores leave them out")
    if missing:
        notes.append(f"{len(missing)} pictures are missing: rows of their people are empty")
    return labels, pictures, notes


def _say(lines: Sequence[str], quiet: bool) -> None:
    if not quiet:
        for line in lines:
            print(f"evaluation predict: {line}", file=sys.stderr)


def main(argv: Sequence[str]) -> int:
    """Command line. Exit code 2 for bad input, 1 where the run fails."""
    args = _parser().parse_args(argv)
    try:
        run(args)
    except BodycastError as error:
        print(f"evaluation predict: {error}", file=sys.stderr)
        return error.exit_code
    except DatasetError as error:
        print(f"evaluation predict: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
