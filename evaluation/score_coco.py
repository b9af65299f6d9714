"""Predictions against COCO keypoint labels: PCK by torso, head and box, OKS, AP; the network was given true boxes."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bodycast.app.errors import UsageError
from evaluation.keypoint_metrics import (
    LIMBS,
    box_length,
    coco_ap,
    head_length,
    oks,
    pck_over_people,
    torso_length,
)
from evaluation.predictions import Predictions
from training.datasets.coco import Annotation, CocoLabels

SHARES = (0.05, 0.1, 0.2, 0.5)


def labelled_people(labels: CocoLabels) -> list[Annotation]:
    """People that are scored: no crowds, a box, at least one labelled joint. Raises: UsageError where there is none."""
    people = [
        a
        for a in labels.annotations
        if not a.is_crowd and a.xyxy is not None and a.keypoints is not None and (a.keypoints[:, 2] > 0).any()
    ]
    if not people:
        raise UsageError(f"{labels.path}: no person with a box and labelled keypoints to score against")
    return people


def rows_of(predictions: Predictions, people: list[Annotation]) -> np.ndarray:
    """(P,) row of each person; -1 where it was not predicted. Raises: UsageError where nobody was."""
    row_of = {int(i): row for row, i in enumerate(predictions.annotation_id) if predictions.valid[row]}
    rows = np.array([row_of.get(person.id, -1) for person in people])
    if (rows < 0).all():
        raise UsageError(
            "none of the labelled people is among the predictions: were they made from another label file?"
        )
    return rows


@dataclass(frozen=True)
class ComparedPeople:
    """P labelled people beside their predictions: `distance` (P,17) px, NaN without a prediction; `labelled` and
    `limbs` (P,17) bool; `points` (P,17,3); `boxes` (P,4); `area` (P,) px^2."""

    people: list[Annotation]
    rows: NDArray[np.intp]
    points: NDArray[np.float64]
    distance: NDArray[np.float64]
    boxes: NDArray[np.float64]
    area: NDArray[np.float64]

    @property
    def labelled(self) -> NDArray[np.bool_]:
        return self.points[..., 2] > 0

    @property
    def limbs(self) -> NDArray[np.bool_]:
        limbs = self.labelled
        limbs[:, :5] = False
        return limbs

    @property
    def lengths(self) -> dict[str, NDArray[np.float64]]:
        """The three measures of a person that PCK goes by, px."""
        points = self.points[..., :2]
        return {
            "torso": torso_length(points, self.labelled),
            "head": head_length(points, self.labelled),
            "bbox": box_length(self.boxes),
        }


def compare(predictions: Predictions, labels: CocoLabels) -> ComparedPeople:
    """Raises: UsageError where there is nobody to compare, or the body has no face points."""
    people = labelled_people(labels)
    rows = rows_of(predictions, people)
    if np.isnan(predictions.coco_2d[rows[rows >= 0]]).all():
        raise UsageError(f"the body {predictions.meta.get('body')!r} has no face points: COCO's 17 joints need them")
    found = predictions.coco_2d[rows].astype(np.float64)
    found[rows < 0] = np.nan
    points = np.stack([a.keypoints for a in people if a.keypoints is not None])
    boxes = np.stack([a.xyxy for a in people if a.xyxy is not None])
    sides = boxes[:, 2:] - boxes[:, :2]
    area = np.array([s.prod() if a.area is None else a.area for a, s in zip(people, sides, strict=True)])
    return ComparedPeople(people, rows, points, np.linalg.norm(found - points[..., :2], axis=-1), boxes, area)


def score_coco(predictions: Predictions, labels: CocoLabels) -> dict[str, float]:
    """Figures by name; shares in per cent. A person without a prediction is a miss with all joints.

    `pck_torso@0.2` and so on: over the 12 joints of the limbs; `pck17_*`: over all 17; `visible`: only joints that the
    labels call visible. `oks`: mean; `ap*`: pycocotools, where it is installed. Raises: UsageError.
    """
    compared = compare(predictions, labels)
    distance, labelled, limbs, lengths = compared.distance, compared.labelled, compared.limbs, compared.lengths
    result: dict[str, float] = {
        "people": len(compared.people),
        "people_without_prediction": int((compared.rows < 0).sum()),
        "people_with_torso": int(np.isfinite(lengths["torso"]).sum()),
        "joints_labelled": int(labelled.sum()),
        "joints_of_limbs": int(limbs.sum()),
    }
    for name, length in lengths.items():
        for share in SHARES:
            result[f"pck_{name}@{share:g}"] = 100 * pck_over_people(distance, limbs, length, share)
    for name, length in lengths.items():
        result[f"pck17_{name}@0.2"] = 100 * pck_over_people(distance, labelled, length, 0.2)
    visible = limbs & (compared.points[..., 2] == 2)
    result["pck_torso_visible@0.2"] = 100 * pck_over_people(distance, visible, lengths["torso"], 0.2)
    for limb, joints in LIMBS.items():
        only = np.zeros_like(limbs)
        only[:, list(joints)] = limbs[:, list(joints)]
        result[f"pck_torso_{limb}@0.2"] = 100 * pck_over_people(distance, only, lengths["torso"], 0.2)
    result["oks"] = float(100 * np.nanmean(oks(distance, labelled, compared.area)))
    result["error_median_px"] = float(np.nanmedian(distance[limbs])) if np.isfinite(distance[limbs]).any() else np.nan
    if find_spec("pycocotools") is not None:
        result |= _average_precision(predictions, labels)
    return result


def people_csv(predictions: Predictions, labels: CocoLabels) -> str:
    """A table of the people, worst OKS first: where to look when pictures fall short. Raises: UsageError."""
    compared = compare(predictions, labels)
    similarity = oks(compared.distance, compared.labelled, compared.area)
    torso = compared.lengths["torso"]
    with np.errstate(invalid="ignore"):
        hits = (compared.distance <= 0.2 * torso[:, None]) & compared.limbs
    stream = io.StringIO()
    table = csv.writer(stream, lineterminator="\n")
    table.writerow(["annotation_id", "file_name", "oks", "pck_torso_0.2", "joints_of_limbs", "torso_px", "score"])
    for at in np.argsort(similarity, kind="stable"):
        person, row, count = compared.people[at], compared.rows[at], int(compared.limbs[at].sum())
        share = f"{hits[at].sum() / count:.3f}" if count and np.isfinite(torso[at]) else ""
        score = f"{predictions.score[row]:.3f}" if row >= 0 else ""
        name = labels.images[person.image_id].file_name
        table.writerow([person.id, name, f"{similarity[at]:.3f}", share, count, f"{torso[at]:.1f}", score])
    return stream.getvalue()


def score_results(path: Path, labels: CocoLabels) -> dict[str, float]:
    """COCO's AP of a keypoint result file, as pose estimators write it: a list of image_id, category_id, keypoints (51
    numbers), score. Raises: UsageError for another kind of file."""
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not JSON ({error})") from error
    if not isinstance(results, list):
        raise UsageError(f"{path}: expected COCO keypoint results (a list), or a file of `evaluation predict`")
    for index, row in enumerate(results):
        missing = [k for k in ("image_id", "category_id", "keypoints", "score") if k not in row]
        if missing or len(row["keypoints"]) != 51 or row["image_id"] not in labels.images:
            reason = f"{', '.join(missing)} missing" if missing else "expected 51 numbers, and an image of the labels"
            raise UsageError(f"{path}: result {index}: {reason}")
    return {"detections": len(results), **coco_ap(complete_labels(labels), results)}


def _average_precision(predictions: Predictions, labels: CocoLabels) -> dict[str, float]:
    """AP of all predicted rows (boxes were given, so this is AP "with ground-truth boxes")."""
    truth = complete_labels(labels)
    category = next((c["id"] for c in truth["categories"] if c.get("name") == "person"), truth["categories"][0]["id"])
    detections = []
    for row in np.flatnonzero(predictions.valid & ~predictions.iscrowd):
        flat = np.ones((17, 3))
        flat[:, :2] = predictions.coco_2d[row]
        detections.append(
            {
                "image_id": int(predictions.image_id[row]),
                "category_id": category,
                "keypoints": flat.ravel().tolist(),
                "score": float(predictions.score[row]),
            }
        )
    return coco_ap(truth, detections)


def complete_labels(labels: CocoLabels) -> dict[str, Any]:
    """The label file as pycocotools wants it: every key that COCO's own files have, numbers for ids."""
    truth = json.loads(labels.path.read_text(encoding="utf-8"))
    for image in truth["images"]:
        image["id"] = int(image["id"])
    # Its ids of people must be there and not 0, which pycocotools takes for "nobody".
    for number, annotation in enumerate(truth["annotations"], 1):
        annotation |= {"id": number, "image_id": int(annotation["image_id"])}
        if len(annotation.get("keypoints") or ()) != 51:
            annotation |= {"keypoints": [0] * 51, "num_keypoints": 0}
        annotation.setdefault("num_keypoints", sum(v > 0 for v in annotation["keypoints"][2::3]))
        annotation.setdefault("iscrowd", 0)
        annotation.setdefault("category_id", 1)
        if not annotation.get("bbox"):
            annotation["bbox"] = [0, 0, 0, 0]
        annotation.setdefault("area", annotation["bbox"][2] * annotation["bbox"][3])
    truth.setdefault("categories", [{"id": 1, "name": "person"}])
    return truth
