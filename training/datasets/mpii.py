"""MPII Human Pose (Andriluka et al., CVPR 2014): the original .mat, or HRNet's train.json and valid.json.

The original: struct RELEASE with `annolist` (image.name, annorect with scale, objpos, annopoints.point x, y, id,
is_visible) and `img_train`. HRNet's JSON: rows with image, joints (16,2), joints_vis (16,), center, scale. Both count
pixels from 1. The box is the person's square: side 200 x scale x 1.25 around the centre moved down by 15 x scale.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from training.datasets.errors import DatasetError
from training.datasets.files import numbers, require_file, require_folder
from training.datasets.optional import require
from training.datasets.pictures import Picture
from training.datasets.sample import F64, Keypoints2d, PersonSample


def read_mpii(labels: Path, images: Path, split: str = "train") -> Iterator[PersonSample]:
    """One sample per person with labelled joints. The .mat holds the labels of its training pictures only.

    Raises: DatasetError.
    """
    require_folder(images, "MPII's pictures")
    require_file(labels, "MPII's .mat or HRNet's .json")
    rows = _json_rows(labels) if labels.suffix == ".json" else _mat_rows(labels)
    for number, (name, joints, known, centre, scale) in enumerate(rows):
        if not known.any() or not scale > 0:
            continue
        middle = centre - 1 + [0, 15 * scale]
        half = 0.5 * 1.25 * 200 * scale
        yield PersonSample(
            dataset="mpii",
            split=split,
            sequence=name,
            subject=str(number),
            frame=0,
            picture=Picture(images / name),
            xyxy=np.concatenate([middle - half, middle + half]),
            keypoints=Keypoints2d("mpii-16", np.where(known[:, None], joints - 1, 0.0), known.astype(np.float64)),
        )


Row = tuple[str, F64, Any, F64, float]


def _json_rows(path: Path) -> Iterator[Row]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: not JSON ({error})") from error
    if not isinstance(content, list):
        raise DatasetError(f"{path}: expected a list of people, got {type(content).__name__}")
    for index, row in enumerate(content):
        where = f"{path}: person {index}"
        missing = [k for k in ("image", "joints", "joints_vis", "center", "scale") if k not in row]
        if missing:
            raise DatasetError(f"{where}: {', '.join(missing)} missing")
        joints = numbers(row["joints"], (16, 2), f"{where}: joints")
        known = numbers(row["joints_vis"], (16,), f"{where}: joints_vis") > 0
        yield str(row["image"]), joints, known, numbers(row["center"], (2,), where), float(row["scale"])


def _mat_rows(path: Path) -> Iterator[Row]:
    loadmat = require("scipy.io").loadmat
    try:
        release = loadmat(path, struct_as_record=False, squeeze_me=True)["RELEASE"]
        pictures, train = _many(release.annolist), np.atleast_1d(release.img_train)
    except (KeyError, ValueError, NotImplementedError, OSError, AttributeError) as error:
        raise DatasetError(f"{path}: not MPII's release file ({error})") from error
    for picture, is_train in zip(pictures, train, strict=True):
        if not is_train:
            continue
        for person in _many(picture.annorect):
            points = getattr(getattr(person, "annopoints", None), "point", None)
            objpos: Any = getattr(person, "objpos", None)
            scale: Any = getattr(person, "scale", ())
            if points is None or not hasattr(objpos, "x") or not np.size(scale):
                continue
            joints, known = np.zeros((16, 2)), np.zeros(16, bool)
            for point in _many(points):
                joints[int(point.id)], known[int(point.id)] = (float(point.x), float(point.y)), True
            centre = np.array([float(objpos.x), float(objpos.y)])
            yield str(picture.image.name), joints, known, centre, float(scale)


def _many(value: Any) -> list[Any]:
    """scipy gives one struct, or an array of them."""
    return list(np.atleast_1d(value)) if np.size(value) else []
