"""COCO-format label files: `images`, `annotations`, `categories` (Lin et al., "Microsoft COCO", ECCV 2014).

Keypoints are 17 triples x, y, v with v = 0 not labelled, 1 labelled but hidden, 2 visible. COCO counts pixels from the
upper left *corner* of the picture (0.0); keypoints are integers and were clicked on pixels, so they are taken as pixel
indices, as everybody does.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from training.datasets.errors import DatasetError
from training.datasets.files import numbers
from training.datasets.pictures import Picture, PictureFolder
from training.datasets.sample import F64, Keypoints2d, PersonSample


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """`wh`: width and height that the file states; None where it states none. `focal_px`: where it states one."""

    id: int
    file_name: str
    wh: tuple[int, int] | None
    focal_px: float | None = None


@dataclass(frozen=True, slots=True)
class Annotation:
    """`xyxy` (4,) float64 px, None where the box is missing, without area or not finite; `keypoints` (17,3) float64
    x, y, v, None where there are none or another number of them; `area` px^2 of the person, None where it is not
    stated."""

    id: int
    image_id: int
    xyxy: F64 | None
    is_crowd: bool
    keypoints: F64 | None
    area: float | None


@dataclass(frozen=True, slots=True)
class CocoLabels:
    """A label file: `images` by id, `annotations` of people in the file's order; `other`: annotations left out because
    they are of another category; `info`: the file's own `info`."""

    path: Path
    images: dict[int, LabelledImage]
    annotations: tuple[Annotation, ...]
    other: int
    info: dict[str, Any]


def read_labels(path: Path) -> CocoLabels:
    """Read and check a COCO-format file.

    Where the file names a category "person", only its annotations are taken; otherwise all.

    Raises: DatasetError naming the file and the entry at fault.
    """
    if not path.is_file():
        raise DatasetError(f"{path}: no such file; expected COCO-format labels (JSON)")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: not JSON ({error})") from error
    if not isinstance(content, dict) or not all(isinstance(content.get(k), list) for k in ("images", "annotations")):
        raise DatasetError(f"{path}: expected COCO-format labels with the lists 'images' and 'annotations'")
    images: dict[int, LabelledImage] = {}
    for row, entry in enumerate(content["images"]):
        image = _image(entry, f"{path}: images[{row}]")
        # Files put together from parts list a picture once a part.
        if images.get(image.id, image) != image:
            raise DatasetError(f"{path}: images[{row}]: id {image.id} occurs twice, and not for the same picture")
        images[image.id] = image
    people = _person_categories(content.get("categories"))
    annotations: list[Annotation] = []
    seen: set[int] = set()
    other = 0
    for row, entry in enumerate(content["annotations"]):
        where = f"{path}: annotations[{row}]"
        if not isinstance(entry, dict):
            raise DatasetError(f"{where}: expected an object, got {type(entry).__name__}")
        if people and _category(entry.get("category_id", min(people))) not in people:
            other += 1
            continue
        annotation = _annotation(entry, where)
        if annotation.image_id not in images:
            raise DatasetError(f"{where}: image_id {annotation.image_id} is not among the images")
        if annotation.id in seen:
            raise DatasetError(f"{where}: id {annotation.id} occurs twice")
        seen.add(annotation.id)
        annotations.append(annotation)
    info = content.get("info")
    return CocoLabels(path, images, tuple(annotations), other, info if isinstance(info, dict) else {})


def _person_categories(categories: object) -> set[str]:
    if not isinstance(categories, list):
        return set()
    return {
        _category(c["id"])
        for c in categories
        if isinstance(c, dict) and str(c.get("name")).lower() == "person" and "id" in c
    }


def _category(value: object) -> str:
    """A category's id for comparison: 1, 1.0 and "1" are the same."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _integer(entry: dict[str, Any], key: str, where: str) -> int:
    value = entry.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise DatasetError(f"{where}: expected an integer {key!r}, got {value!r}")
    try:
        number = int(value)
    except (ValueError, OverflowError) as error:
        raise DatasetError(f"{where}: expected an integer {key!r}, got {value!r}") from error
    if (isinstance(value, float) and number != value) or abs(number) >= 2**63:
        raise DatasetError(f"{where}: expected an integer {key!r}, got {value!r}")
    return number


def _image(entry: object, where: str) -> LabelledImage:
    if not isinstance(entry, dict) or not isinstance(entry.get("file_name"), str):
        raise DatasetError(f"{where}: expected an object with 'id' and 'file_name'")
    wh = None
    if entry.get("width") and entry.get("height"):
        wh = (_integer(entry, "width", where), _integer(entry, "height", where))
    focal = entry.get("focal_px")
    if focal is not None and not (isinstance(focal, int | float) and math.isfinite(focal) and focal > 0):
        raise DatasetError(f"{where}: expected focal_px in pixels, above 0, got {focal!r}")
    return LabelledImage(_integer(entry, "id", where), entry["file_name"], wh, None if focal is None else float(focal))


def _annotation(entry: dict[str, Any], where: str) -> Annotation:
    keypoints = None
    raw = entry.get("keypoints")
    if raw is not None:
        flat = numbers(raw, (None,), f"{where}: keypoints")
        if len(flat) % 3 or not np.isfinite(flat).all():
            raise DatasetError(f"{where}: keypoints: expected triples of finite numbers, got {len(flat)} numbers")
        # Other joint sets (14 of CrowdPose, 133 of COCO-WholeBody) are fine where only the boxes are wanted.
        keypoints = flat.reshape(17, 3) if len(flat) == 51 else None
    area = entry.get("area")
    return Annotation(
        id=_integer(entry, "id", where),
        image_id=_integer(entry, "image_id", where),
        xyxy=_box(entry.get("bbox"), where),
        is_crowd=bool(entry.get("iscrowd", 0)),
        keypoints=keypoints,
        area=float(area) if isinstance(area, int | float) and area > 0 else None,
    )


def _box(value: object, where: str) -> F64 | None:
    """COCO's x, y, width, height as xyxy; None without area."""
    if value is None or value == []:
        return None
    if not isinstance(value, list) or len(value) != 4 or not all(isinstance(v, int | float) for v in value):
        raise DatasetError(f"{where}: expected bbox as [x, y, width, height], got {value!r}")
    x, y, width, height = (float(v) for v in value)
    if not all(map(math.isfinite, (x, y, width, height))) or width <= 0 or height <= 0:
        return None
    return np.array([x, y, x + width, y + height])


def find_pictures(
    labels: CocoLabels, folder: Path, wanted: set[int] | None = None
) -> tuple[dict[int, Path], list[str]]:
    """Files of the images (those with ids `wanted`, or all), and the names of those that are not in `folder`."""
    pictures = PictureFolder(folder)
    found: dict[int, Path] = {}
    missing: list[str] = []
    for image in labels.images.values():
        if wanted is not None and image.id not in wanted:
            continue
        path = pictures.find(image.file_name)
        if path is None:
            missing.append(image.file_name)
        else:
            found[image.id] = path
    return found, missing


def read_coco(labels_path: Path, folder: Path, split: str = "val", min_keypoints: int = 1) -> Iterator[PersonSample]:
    """Samples of a keypoint label file: one per person with a box and at least `min_keypoints` labelled points; with 0
    also of a file of boxes alone.

    Crowd regions are left out: they are no single person. Raises: DatasetError.
    """
    labels = read_labels(labels_path)
    found, missing = find_pictures(labels, folder, {a.image_id for a in labels.annotations})
    if missing:
        raise DatasetError(f"{folder}: {len(missing)} pictures of {labels_path.name} are missing, first {missing[0]}")
    for annotation in labels.annotations:
        keypoints = annotation.keypoints
        if annotation.is_crowd or annotation.xyxy is None:
            continue
        labelled = np.zeros(0) if keypoints is None else keypoints[:, 2] > 0
        if labelled.sum() < min_keypoints:
            continue
        image = labels.images[annotation.image_id]
        yield PersonSample(
            dataset="coco",
            split=split,
            sequence=image.file_name,
            subject=str(annotation.id),
            frame=0,
            picture=Picture(found[image.id], labelled_wh=image.wh),
            image_wh=image.wh,
            xyxy=annotation.xyxy,
            keypoints=None
            if keypoints is None
            else Keypoints2d("coco-17", keypoints[:, :2], labelled.astype(np.float64)),
        )
