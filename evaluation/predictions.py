"""PRED.npz: what a network said of every labelled person of a set of pictures; made once, scored many times.

One row per annotation, in the label file's order. Rows without a usable box have `valid` False, score 0 and NaN
elsewhere. No pickles inside.
"""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bodycast.app.errors import UsageError
from bodycast.app.files.motion_file import TABLE
from bodycast.app.files.npz_file import read_arrays
from bodycast.app.files.output_file import write_whole
from bodycast.app.records import F32, check_array
from bodycast.npz import member_names

SCHEMA_VERSION = 2

COLUMNS: dict[str, tuple[type, tuple[int, ...]]] = {
    "annotation_id": (np.int64, ()),
    "image_id": (np.int64, ()),
    "valid": (np.bool_, ()),
    "iscrowd": (np.bool_, ()),
    "bbox": (np.float32, (4,)),
    **{name: TABLE[name] for name in ("bbox_xyxy", "score", "poses", "betas", "trans", "joints_3d", "joints_2d")},
    "points_3d": (np.float32, (35, 3)),
    "points_2d": (np.float32, (35, 2)),
    "coco_3d": (np.float32, (17, 3)),
    "coco_2d": (np.float32, (17, 2)),
    "focal_px": (np.float32, ()),
    "image_wh": (np.int32, (2,)),
}
"""Column -> dtype and shape of one row; what motion.npz has too is as there."""
TOKEN = "token"
"""A further column (R, C) float32, where it was asked for: every person's token. It goes into a file of its own."""


@dataclass(frozen=True, slots=True)
class Predictions:
    """`annotation_id`, `image_id` (R,) int64; `valid`, `iscrowd` (R,) bool; `bbox` (R,4) x, y, width, height as it is
    labelled and `bbox_xyxy` (R,4), px; `score` (R,) 0..1; `poses` (R,72) axis-angle, `betas` (R,10), `trans` (R,3) as
    in motion.npz; `joints_3d` (R,24,3) camera frame, m; `joints_2d` (R,24,2) px in the picture; `points_*`: the same
    and the 11 points of the skin behind them (hmr.body.surface_joints.POINT_NAMES), NaN for bodies without a table;
    `coco_3d` (R,17,3), `coco_2d` (R,17,2): COCO's own keypoints on the body (hmr/body/coco_joints.py), NaN likewise;
    `focal_px` (R,), `image_wh` (R,2): the camera that was assumed. `meta`: package, body, engine, labels, rules."""

    annotation_id: NDArray[np.int64]
    image_id: NDArray[np.int64]
    valid: NDArray[np.bool_]
    iscrowd: NDArray[np.bool_]
    bbox: F32
    bbox_xyxy: F32
    score: F32
    poses: F32
    betas: F32
    trans: F32
    joints_3d: F32
    joints_2d: F32
    points_3d: F32
    points_2d: F32
    coco_3d: F32
    coco_2d: F32
    focal_px: F32
    image_wh: NDArray[np.int32]
    meta: dict[str, Any]

    def __len__(self) -> int:
        return len(self.annotation_id)


def empty_columns(rows: int, token_width: int = 0) -> dict[str, NDArray[Any]]:
    """Columns of `rows` rows: numbers NaN, ids and flags 0, scores 0. token_width: 0 for no column of tokens."""
    columns: dict[str, NDArray[Any]] = {}
    for name, (dtype, shape) in COLUMNS.items():
        fill = np.nan if dtype is np.float32 and name not in ("score",) else 0
        columns[name] = np.full((rows, *shape), fill, dtype)
    if token_width:
        columns[TOKEN] = np.full((rows, token_width), np.nan, np.float32)
    return columns


def write_predictions(path: Path, columns: dict[str, NDArray[Any]], meta: dict[str, Any]) -> None:
    """Write all or nothing. Raises OSError."""
    content = {name: columns[name] for name in COLUMNS}
    content["meta"] = np.array(json.dumps({**meta, "schema_version": SCHEMA_VERSION}))
    write_whole(path, lambda stream: np.savez_compressed(stream, allow_pickle=False, **content))


def is_predictions(path: Path) -> bool:
    """Whether `path` is an .npz with the columns of this file; False for anything else that can be read."""
    if not zipfile.is_zipfile(path):
        return False
    return {"annotation_id", "joints_2d"} <= set(member_names(path))


def read_predictions(path: Path) -> Predictions:
    """Read and check. Raises: UsageError, one line that names what is wrong."""
    content = read_arrays(path, (*COLUMNS, "meta"), "prediction", "`python -m evaluation predict` makes one")
    try:
        meta = json.loads(str(content.pop("meta")))
    except ValueError as error:
        raise UsageError(f"{path}: not a readable prediction file (meta: {error})") from error
    if not isinstance(meta, dict) or meta.get("schema_version") != SCHEMA_VERSION:
        raise UsageError(f"{path}: expected prediction schema {SCHEMA_VERSION}; predict again with this version")
    rows = len(content["annotation_id"])
    try:
        for name, (dtype, shape) in COLUMNS.items():
            check_array(name, content[name], (rows, *shape), dtype)
    except ValueError as error:
        raise UsageError(f"{path}: not a prediction file ({error}); predict again with this version") from error
    return Predictions(**content, meta=meta)  # COLUMNS are its fields; read_arrays gives no others
