"""`python -m evaluation score-real3d PRED.npz TRUTH.npz`: MPJPE and PA-MPJPE on photographs with triangulated joints.

PRED comes from `python -m evaluation predict PACKAGE --images DIR --coco BOXES.json --out PRED.npz`, with one person a
picture. TRUTH.npz holds P pictures in the order of their image ids: `joints_m` (P,12,3) camera frame, m;
`keypoints_px` (P,12,2); `intrinsics` (P,3,3); `joint_names` (12,). Pictures with the same intrinsics are one camera's;
figures are also given by camera, whose difference says how far to trust the mean. Twelve joints, aligned at the middle
of the hips: no paper's numbers. The truth itself is good to 30 to 40 mm.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bodycast.app.errors import BodycastError, UsageError
from bodycast.app.files.npz_file import read_arrays
from bodycast.app.pipeline.build import load_body
from bodycast.hmr.body.body_model import BodyModel
from bodycast.hmr.body.surface_joints import COCO_JOINT_NAMES, POINT_NAMES
from bodycast.hmr.geometry.metrics import mpjpe_mm, pa_mpjpe_mm, root_relative
from evaluation.predictions import Predictions, read_predictions

F64 = NDArray[np.float64]
JOINTS = 12
HIPS = ("left_hip", "right_hip")
SAME_FOCAL = 0.02
"""So much may the assumed focal length differ from the true one, as a share."""


@dataclass(frozen=True)
class RealTruth:
    """P pictures: `joints_m` (P,12,3) camera frame, m; `keypoints_px` (P,12,2); `focal_px` (P,); `camera` (P,) number
    of the camera; `names` of the 12 joints."""

    joints_m: F64
    keypoints_px: F64
    focal_px: F64
    camera: NDArray[np.intp]
    names: tuple[str, ...]


def read_truth(path: Path) -> RealTruth:
    """Raises: UsageError, one line that names what is wrong."""
    arrays = read_arrays(path, ("joints_m", "keypoints_px", "intrinsics", "joint_names"), "truth", "see --help")
    joints, intrinsics = arrays["joints_m"], arrays["intrinsics"]
    names = tuple(str(name) for name in arrays["joint_names"].ravel())
    count = len(joints) if joints.ndim else 0
    shapes = (joints.shape, arrays["keypoints_px"].shape, intrinsics.shape)
    if shapes != ((count, JOINTS, 3), (count, JOINTS, 2), (count, 3, 3)) or not count:
        raise UsageError(f"{path}: expected joints_m (P,12,3), keypoints_px (P,12,2), intrinsics (P,3,3), got {shapes}")
    unknown = sorted(set(names) - set(POINT_NAMES))
    if len(names) != JOINTS or unknown or not set(HIPS) <= set(names):
        raise UsageError(f"{path}: expected 12 joints of the limbs, hips among them; unknown: {', '.join(unknown)}")
    _, camera = np.unique(intrinsics.reshape(count, 9), axis=0, return_inverse=True)
    focal = intrinsics[:, 0, 0].astype(np.float64)
    return RealTruth(joints.astype(np.float64), arrays["keypoints_px"].astype(np.float64), focal, camera.ravel(), names)


def _body_points(predictions: Predictions, rows: NDArray[np.intp], names: Sequence[str], body: BodyModel) -> F64:
    """(P,12,3): the joints of the body's skeleton."""
    del body
    return predictions.points_3d[rows][:, [POINT_NAMES.index(name) for name in names]].astype(np.float64)


def _coco_points(predictions: Predictions, rows: NDArray[np.intp], names: Sequence[str], body: BodyModel) -> F64:
    """(P,12,3): COCO's own keypoints on the body, as the pictures' joints were found."""
    del body
    return predictions.coco_3d[rows][:, [COCO_JOINT_NAMES.index(name) for name in names]].astype(np.float64)


PointChoice = Callable[[Predictions, NDArray[np.intp], Sequence[str], BodyModel], F64]
POINTS: dict[str, PointChoice] = {"coco": _coco_points, "smpl": _body_points}
"""What of the predicted body is compared: (predictions, rows (P,), joint names, body) -> (P,12,3) camera frame, m."""


def rows_by_picture(predictions: Predictions, pictures: int) -> NDArray[np.intp]:
    """(P,) row of each picture, -1 where nobody was predicted. Raises: UsageError for other than one person each."""
    ids = predictions.image_id
    if len(ids) != pictures or len(np.unique(ids)) != pictures:
        raise UsageError(
            f"the truth has {pictures} pictures of one person, the predictions {len(ids)} people in "
            f"{len(np.unique(ids))} pictures"
        )
    rows = np.argsort(ids)
    return np.where(predictions.valid[rows], rows, -1)


def score_real3d(predictions: Predictions, truth: RealTruth, body: BodyModel, points: str = "coco") -> dict[str, float]:
    """Figures by name: `mpjpe_mm` (middle of the hips), `pa_mpjpe_mm`, each also `_camera_N` and `_spread` (largest
    less smallest camera); error in the picture in torso lengths. Raises: UsageError."""
    rows = rows_by_picture(predictions, len(truth.camera))
    found = rows >= 0
    if not found.any():
        raise UsageError("nobody was predicted in these pictures")
    rows = rows[found]
    off = np.abs(predictions.focal_px[rows] / truth.focal_px[found] - 1).max()
    if off > SAME_FOCAL:
        raise UsageError(f"the predictions assume focal lengths up to {100 * off:.0f} % off the true ones; see --coco")
    wanted, camera = truth.joints_m[found], truth.camera[found]
    ours = POINTS[points](predictions, rows, truth.names, body)
    hips = [truth.names.index(name) for name in HIPS]
    errors = {
        "mpjpe_mm": mpjpe_mm(*(root_relative(points, points[:, hips].mean(1)) for points in (ours, wanted))),
        "pa_mpjpe_mm": pa_mpjpe_mm(ours, wanted),
        "error_2d_torso": _error_2d(predictions, rows, truth, found),
    }  # fmt: skip
    result: dict[str, float] = {"pictures": len(found), "pictures_without_prediction": int((~found).sum())}
    for name, values in errors.items():
        by_camera = [float(values[camera == number].mean()) for number in np.unique(camera)]
        result[name] = float(values.mean())
        result |= {f"{name}_camera_{n}": value for n, value in zip(np.unique(camera), by_camera, strict=True)}
        result[f"{name}_spread"] = max(by_camera) - min(by_camera)
    return result


def _error_2d(predictions: Predictions, rows: NDArray[np.intp], truth: RealTruth, found: NDArray[np.bool_]) -> F64:
    """(P,) mean distance of the skeleton's joints in the picture, in lengths of the torso in space seen from the front:
    a torso that points at the camera has no length in the picture."""
    ours = predictions.points_2d[rows][:, [POINT_NAMES.index(name) for name in truth.names]]
    joints = truth.joints_m[found]
    shoulders = joints[:, [truth.names.index("left_shoulder"), truth.names.index("right_shoulder")]].mean(1)
    hips = joints[:, [truth.names.index(name) for name in HIPS]].mean(1)
    torso_px = np.linalg.norm(shoulders - hips, axis=-1) / hips[:, 2] * truth.focal_px[found]
    distance = np.linalg.norm(ours - truth.keypoints_px[found], axis=-1).mean(-1)
    return np.asarray(distance / torso_px, np.float64)


def main(argv: Sequence[str]) -> int:
    """Command line. Exit code 2 for bad input."""
    parser = argparse.ArgumentParser(prog="python -m evaluation score-real3d", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("predicted", type=Path, help="PRED.npz of `python -m evaluation predict`")
    parser.add_argument("truth", type=Path, help="the .npz with joints in space")
    parser.add_argument(
        "--points", choices=sorted(POINTS), default="coco", help="points of the body to compare (default: coco)"
    )
    parser.add_argument("--body", default="auto", help="body file of the predictions, where it is not the embedded one")
    parser.add_argument("--json", action="store_true", help="print JSON")
    args = parser.parse_args(argv)
    try:
        predictions = read_predictions(args.predicted)
        body = load_body(args.body, str(predictions.meta["body"]), False)
        result = score_real3d(predictions, read_truth(args.truth), body, args.points)
    except BodycastError as error:
        print(f"evaluation score-real3d: {error}", file=sys.stderr)
        return error.exit_code
    if args.json:
        print(json.dumps(result, indent=1))
        return 0
    width = max(map(len, result))
    for key, value in result.items():
        print(f"{key:<{width}}  {value:10.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
