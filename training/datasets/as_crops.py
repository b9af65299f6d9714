"""Real data sets as crop sets that the trainer reads: `python -m training.datasets.as_crops 3dpw FOLDER --out SET`.

The folder has the layout of training.synthetic.generate (one .npy a label, meta.json) and, since real labels are never
complete, the weights of `training.batch.Known`: `known_pose`, `known_betas`, `known_camera`, `known_parts` (N,),
`known_joints` (N,24), `points_2d` (N,35,2) places of POINT_NAMES in crop coordinates (px from the crop's centre, in
crop sides) and `known_points` (N,35). Labels that are not there are zeros with weight zero.

What is taken over: pixels by HMR2.0's crop rule; the pose, also from SMPL's body onto the embedded one (same joints,
same T-pose; shapes do not carry over, so `known_betas` is 0 there). With `--body smpl.npz` the set is of SMPL's body:
shapes of that body are taken as they are, those of its gendered twins (3DPW, EMDB) are converted through their files in
`--smpl`. Train with the same `--body`. Joints in space where the pelvis is among them;
keypoints by name. Without a known camera the focal length is the picture's diagonal, `known_camera` is 0 and the root's
orientation is taken as the crop shows it.
"""

from __future__ import annotations

import argparse
import functools
import json
import shutil
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress

from bodycast.hmr.body.joints import NUM_JOINTS, Joint
from bodycast.hmr.body.surface_joints import POINT_NAMES
from bodycast.hmr.geometry.camera import Intrinsics, cam_full_to_crop
from bodycast.hmr.geometry.crop import CropTransform, crop_transforms
from bodycast.hmr.geometry.crop_ray import crop_ray_rotation
from training.datasets.errors import DatasetError
from training.datasets.joint_sets import points_of
from training.datasets.readers import READERS
from training.datasets.sample import PersonSample
from training.datasets.smpl_files import SmplFiles
from training.datasets.target_body import TargetBody, load_target
from training.synthetic.generate import FIELDS

NUM_POINTS = len(POINT_NAMES)
KNOWN_FIELDS: dict[str, tuple[tuple[int, ...], str]] = {
    "known_pose": ((), "f4"),
    "known_betas": ((), "f4"),
    "known_camera": ((), "f4"),
    "known_parts": ((), "f4"),
    "known_joints": ((NUM_JOINTS,), "f4"),
    "points_2d": ((NUM_POINTS, 2), "f4"),
    "known_points": ((NUM_POINTS,), "f4"),
}
ROW_FIELDS = {**FIELDS, **KNOWN_FIELDS}
SHRINK_LIMIT = 1.1  # image pixels per crop pixel above which bilinear sampling would skip pixels

Row = dict[str, NDArray[Any] | np.generic]


def cut_crop(image: NDArray[np.uint8], transform: CropTransform) -> NDArray[np.uint8]:
    """(h,w,3) uint8 RGB of `image` (H,W,3) BGR, zero outside; averaged over areas where it shrinks."""
    matrix = transform.image_to_crop
    if transform.scale > SHRINK_LIMIT:
        kernel = max(2, round(transform.scale))
        image = np.asarray(cv2.blur(image, (kernel, kernel), borderType=cv2.BORDER_REPLICATE), np.uint8)
        # An even kernel has no middle pixel: what it writes at x is the average around x - 1/2.
        matrix = matrix.copy()
        matrix[:, 2] -= matrix[:, :2] @ np.full(2, 0.5 if kernel % 2 == 0 else 0.0)
    crop = cv2.warpAffine(image, matrix, transform.crop_hw[::-1], flags=cv2.INTER_LINEAR, borderValue=(0, 0, 0))
    return np.asarray(cv2.cvtColor(crop, cv2.COLOR_BGR2RGB), np.uint8)


@functools.cache
def _embedded() -> TargetBody:
    return load_target(None, None)


def as_row(sample: PersonSample, body: TargetBody | None = None) -> Row | None:
    """The arrays of ROW_FIELDS for one sample; None for one without a picture or a box with area.

    body: whose shape basis the set is in; the embedded body where None.
    Raises: DatasetError for a picture that cannot be read, or a body's file that is missing.
    """
    body = body or _embedded()
    if sample.picture is None or sample.xyxy is None or not (sample.xyxy[2:] > sample.xyxy[:2]).all():
        return None
    image = sample.picture.read()
    camera = sample.camera or Intrinsics.default((image.shape[1], image.shape[0]))
    (transform,) = crop_transforms(sample.xyxy[None], FIELDS["pixels"][0][:2])  # type: ignore[arg-type]
    centre, size = np.array(transform.centre_px), transform.size_px
    row: Row = {name: np.zeros(shape, dtype) for name, (shape, dtype) in ROW_FIELDS.items()}
    row["pixels"] = cut_crop(image, transform)
    row["centre_px"], row["size_px"], row["score"] = centre, np.float64(size), np.float64(1)
    row["focal_px"] = np.float64(camera.focal_px)
    # The trainer takes the principal point to be the middle of the picture: this is the picture of which it is.
    principal = np.array([camera.cx, camera.cy])
    row["image_wh"] = 2 * principal
    row["pose"] = np.tile(np.eye(3), (NUM_JOINTS, 1, 1))
    if sample.pose is not None:
        pose = sample.pose.copy()
        if sample.camera is not None:
            pose[0] = crop_ray_rotation(centre, camera.focal_px, principal).T @ pose[0]
        row["pose"], row["known_pose"] = pose, np.float64(1)
    betas = body.betas(sample)
    if betas is not None:
        row["betas"], row["known_betas"] = betas, np.float64(1)
    _add_joints(row, sample, transform, camera, body.rest_root(betas))
    _add_keypoints(row, sample, transform)
    return row


def _tall(sample: PersonSample, height_px: float) -> bool:
    """Whether its box, where it has one, is at least so high."""
    return sample.xyxy is None or float(sample.xyxy[3] - sample.xyxy[1]) >= height_px


def _add_joints(
    row: Row, sample: PersonSample, transform: CropTransform, camera: Intrinsics, rest_root_m: NDArray[np.float64]
) -> None:
    """Joints in space and, where they are placed before a known camera, the crop's camera, which places the body's
    origin: its pelvis stands `rest_root_m` beside it."""
    if sample.joints_3d is None:
        return
    joints, known = np.zeros((NUM_JOINTS, 3)), np.zeros(NUM_JOINTS)
    for index, point in points_of(sample.joints_3d.joint_set):
        if point < NUM_JOINTS and sample.joints_3d.valid[index] and not known[point]:
            joints[point], known[point] = sample.joints_3d.m[index], 1
    if not known[Joint.PELVIS]:  # losses compare relative to the pelvis
        return
    row["joints"], row["known_joints"] = joints, known
    pelvis = joints[Joint.PELVIS]
    if not sample.joints_3d.absolute or sample.camera is None or pelvis[2] <= 0:
        return
    centre, principal = np.array([transform.centre_px]), np.array([camera.cx, camera.cy])
    placed = cam_full_to_crop(
        (pelvis - rest_root_m)[None], centre, np.array([transform.size_px]), camera.image_wh, camera.focal_px, principal
    )
    row["camera"], row["known_camera"] = placed[0], np.float64(1)


def _add_keypoints(row: Row, sample: PersonSample, transform: CropTransform) -> None:
    if sample.keypoints is None:
        return
    points, known = np.zeros((NUM_POINTS, 2)), np.zeros(NUM_POINTS)
    for index, point in points_of(sample.keypoints.joint_set):
        confidence = sample.keypoints.confidence[index]
        if confidence > known[point]:
            place = sample.keypoints.px[index] - transform.centre_px
            points[point], known[point] = place / transform.size_px, confidence
    row["points_2d"], row["known_points"] = points, known


class CropSetWriter:
    """Appends rows to the .npy files of a new set; the folder appears under its name when all is written."""

    def __init__(self, out: Path, meta: dict[str, object]) -> None:
        """Raises: DatasetError where `out` exists."""
        if out.exists():
            raise DatasetError(f"{out} exists; give another name, or remove it")
        self._out, self._meta, self._count = out, meta, 0
        self._folder = out.with_name(f".{out.name}.part")
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        self._files: dict[str, BinaryIO] = {}
        for name in ROW_FIELDS:
            self._files[name] = open(self._folder / f"{name}.npy", "wb")  # noqa: SIM115 - closed in __exit__
            self._write_header(name)

    def _write_header(self, name: str) -> None:
        """numpy pads a header so that the number of rows can grow in place."""
        shape, dtype = ROW_FIELDS[name]
        header = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": (self._count, *shape)}
        self._files[name].seek(0)
        np.lib.format.write_array_header_1_0(self._files[name], header)

    def add(self, row: Row) -> None:
        """One row. Raises: OSError."""
        for name, (shape, dtype) in ROW_FIELDS.items():
            array = np.ascontiguousarray(row[name], dtype)
            if array.shape != shape and not (shape == () and array.shape == (1,)):
                raise ValueError(f"{name}: expected {shape}, got {array.shape}")
            self._files[name].write(array.tobytes())
        self._count += 1

    def __enter__(self) -> CropSetWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self._count:
            for name in ROW_FIELDS:
                self._write_header(name)
        for stream in self._files.values():
            stream.close()
        if kind is not None or not self._count:
            shutil.rmtree(self._folder, ignore_errors=True)
            return
        meta = {**self._meta, "count": self._count, "finished": self._count}
        (self._folder / "meta.json").write_text(json.dumps(meta, indent=1))
        self._folder.rename(self._out)


@dataclass(frozen=True)
class Written:
    """How many rows were written, and how many samples had no picture or box."""

    rows: int
    left_out: int


def write_crop_set(
    samples: Iterable[PersonSample],
    out: Path,
    *,
    source: str,
    body: TargetBody | None = None,
    limit: int | None = None,
    done: Callable[[], object] = lambda: None,
) -> Written:
    """Write a crop set of `samples` to the new folder `out`. Raises: DatasetError, OSError."""
    rows = left_out = 0
    body = body or _embedded()
    meta: dict[str, object] = {"split": "train", "source": source, "body": body.name, "photographs": False, "seed": 0}
    with CropSetWriter(out, meta) as writer:
        for sample in samples:
            row = as_row(sample, body)
            if row is None:
                left_out += 1
                continue
            writer.add(row)
            rows += 1
            done()
            if rows == limit:
                break
    if not rows:
        raise DatasetError(f"{source}: no sample with a picture and a box ({left_out} without)")
    return Written(rows, left_out)


def main(argv: list[str] | None = None) -> int:
    """Command line. Exit code 2 for bad input."""
    parser = argparse.ArgumentParser(
        prog="python -m training.datasets.as_crops",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("dataset", choices=sorted(READERS))
    parser.add_argument("path", type=Path, help="the data set's folder; label file or tar where it has one")
    parser.add_argument("--out", type=Path, required=True, help="new folder for the crop set")
    parser.add_argument("--images", type=Path, help="folder of the pictures, where labels are a file")
    parser.add_argument("--split", default="train")
    parser.add_argument("--every", type=int, default=1, help="only every so many-th sample")
    parser.add_argument("--min-height", type=float, default=0.0, metavar="PX", help="leave smaller boxes out")
    parser.add_argument("--limit", type=int, help="at most so many crops")
    parser.add_argument(
        "--smpl", type=Path, help="folder with SMPL's files: joints for EMDB, gendered shapes for --body"
    )
    parser.add_argument("--body", type=Path, help="the set's body, e.g. smpl.npz; the embedded one where left out")
    args = parser.parse_args(argv)
    try:
        if args.every < 1:
            raise DatasetError(f"--every: expected 1 or more, got {args.every}")
        body = load_target(args.body, None if args.smpl is None else SmplFiles(args.smpl))
        found = (s for s in READERS[args.dataset](args.path, args) if _tall(s, args.min_height))
        samples = (s for i, s in enumerate(found) if i % args.every == 0)
        with Progress(disable=not sys.stderr.isatty()) as progress:
            task = progress.add_task("crops", total=args.limit)
            written = write_crop_set(
                samples, args.out, source=args.dataset, body=body, limit=args.limit, done=lambda: progress.advance(task)
            )
    except (DatasetError, OSError) as error:
        print(f"as_crops: {error}", file=sys.stderr)
        return 2
    print(f"{args.out}: {written.rows} crops, {written.left_out} samples without a picture or a box left out")
    return 0


if __name__ == "__main__":
    sys.exit(main())
