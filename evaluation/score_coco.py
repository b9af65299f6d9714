"""Predictions against COCO keypoint labels: PCK by torso, head and box, OKS, AP; the network was given true boxes."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from app.errors import UsageError
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
from hmr.body.surface_joints import COCO_FROM_POINTS
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


def score_coco(predictions: Predictions, labels: CocoLabels) -> dict[str, float]:
    """Figures by name; shares in per cent. A person without a prediction is a miss with all joints.

    `pck_torso@0.2` and so on: over the 12 joints of the limbs; `pck17_*`: over all 17; `visible`: only joints that the
    labels call visible. `oks`: mean; `ap*`: pycocotools, where it is installed.
    """
    people = labelled_people(labels)
    rows = rows_of(predictions, people)
    if np.isnan(predictions.points_2d[rows[rows >= 0]]).all():
        raise UsageError(f"the body {predictions.meta.get('body')!r} has no face points: COCO's 17 joints need them")
    found = predictions.points_2d[rows][:, COCO_FROM_POINTS].astype(np.float64)
    found[rows < 0] = np.nan
    keypoints = np.stack([a.keypoints for a in people if a.keypoints is not None])
    points, labelled = keypoints[..., :2], keypoints[..., 2] > 0
    boxes = np.stack([a.xyxy for a in people if a.xyxy is not None])
    distance = np.linalg.norm(found - points, axis=-1)
    limbs = labelled.copy()
    limbs[:, :5] = False
    visible = limbs & (keypoints[..., 2] == 2)
    lengths = {
        "torso": torso_length(points, labelled),
        "head": head_length(points, labelled),
        "bbox": box_length(boxes),
    }
    result: dict[str, float] = {
        "people": len(people),
        "people_without_prediction": int((rows < 0).sum()),
        "people_with_torso": int(np.isfinite(lengths["torso"]).sum()),
        "joints_labelled": int(labelled.sum()),
        "joints_of_limbs": int(limbs.sum()),
    }
    for name, length in lengths.items():
        for share in SHARES:
            result[f"pck_{name}@{share:g}"] = 100 * pck_over_people(distance, limbs, length, share)
    for name, length in lengths.items():
        result[f"pck17_{name}@0.2"] = 100 * pck_over_people(distance, labelled, length, 0.2)
    result["pck_torso_visible@0.2"] = 100 * pck_over_people(distance, visible, lengths["torso"], 0.2)
    for limb, joints in LIMBS.items():
        only = np.zeros_like(limbs)
        only[:, list(joints)] = limbs[:, list(joints)]
        result[f"pck_torso_{limb}@0.2"] = 100 * pck_over_people(distance, only, lengths["torso"], 0.2)
    area = np.array(
        [a.area if a.area is not None else np.prod(b[2:] - b[:2]) for a, b in zip(people, boxes, strict=True)]
    )
    result["oks"] = float(100 * np.nanmean(oks(distance, labelled, area)))
    result["error_median_px"] = float(np.nanmedian(distance[limbs])) if np.isfinite(distance[limbs]).any() else np.nan
    if find_spec("pycocotools") is not None:
        result |= _average_precision(predictions, labels)
    return result


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
    return {"detections": len(results), **coco_ap(_complete_labels(labels), results)}


def _average_precision(predictions: Predictions, labels: CocoLabels) -> dict[str, float]:
    """AP of all predicted rows (boxes were given, so this is AP "with ground-truth boxes")."""
    truth = _complete_labels(labels)
    category = next((c["id"] for c in truth["categories"] if c.get("name") == "person"), truth["categories"][0]["id"])
    detections = []
    for row in np.flatnonzero(predictions.valid & ~predictions.iscrowd):
        flat = np.ones((17, 3))
        flat[:, :2] = predictions.points_2d[row][COCO_FROM_POINTS]
        detections.append(
            {
                "image_id": int(predictions.image_id[row]),
                "category_id": category,
                "keypoints": flat.ravel().tolist(),
                "score": float(predictions.score[row]),
            }
        )
    return coco_ap(truth, detections)


def _complete_labels(labels: CocoLabels) -> dict[str, Any]:
    """The label file as pycocotools wants it: every key that COCO's own files have."""
    truth = json.loads(labels.path.read_text(encoding="utf-8"))
    for annotation in truth["annotations"]:
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
