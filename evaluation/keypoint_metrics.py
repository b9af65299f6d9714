"""Errors of keypoints in the picture against COCO's labels: PCK by three measures of the person, OKS, AP.

OKS and AP: COCO keypoint evaluation (Lin et al., ECCV 2014; the evaluation page of the data set). PCK: Yang and
Ramanan, PAMI 2013 (by the box); PCKh of MPII (by the head), Sapp and Taskar, CVPR 2013 (by the torso).
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from bodycast.app.errors import require

F64 = NDArray[np.float64]
Bools = NDArray[np.bool_]

# Standard deviation of human annotators, per joint, as a share of the square root of the person's area.
COCO_SIGMAS: F64 = np.array(
    [
        *(0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062),
        *(0.107, 0.107, 0.087, 0.087, 0.089, 0.089),
    ]
)
FACE = np.arange(5)
SHOULDERS, HIPS = np.array([5, 6]), np.array([11, 12])
LIMBS: dict[str, tuple[int, int]] = {
    "shoulders": (5, 6), "elbows": (7, 8), "wrists": (9, 10), "hips": (11, 12), "knees": (13, 14), "ankles": (15, 16),
}  # fmt: skip


def torso_length(points: F64, labelled: Bools) -> F64:
    """(P,17,2) px, (P,17) -> (P,): middle of the shoulders to middle of the hips; NaN where one of the four is not
    labelled."""
    ends = points[:, SHOULDERS].mean(1) - points[:, HIPS].mean(1)
    known = labelled[:, SHOULDERS].all(1) & labelled[:, HIPS].all(1)
    return np.where(known, np.linalg.norm(ends, axis=-1), np.nan)


def head_length(points: F64, labelled: Bools) -> F64:
    """(P,): the largest distance between two labelled points of the face (nose, eyes, ears); NaN with fewer than two.

    COCO has no head box as MPII has; this is about the width of a head that looks at the camera."""
    face, known = points[:, FACE], labelled[:, FACE]
    distance = np.linalg.norm(face[:, :, None] - face[:, None], axis=-1)
    distance[~(known[:, :, None] & known[:, None])] = 0
    longest = distance.max(axis=(1, 2))
    return np.where(longest > 0, longest, np.nan)


def box_length(xyxy: F64) -> F64:
    """(P,): the larger side of the box."""
    return (xyxy[:, 2:] - xyxy[:, :2]).max(axis=1)


def pck_over_people(distance_px: F64, counted: Bools, length_px: F64, share: float) -> float:
    """Share (0..1) of counted joints within `share` of their person's length, over all people together.

    distance_px (P,K), counted (P,K), length_px (P,). People without a length (NaN) are left out; a joint without a
    prediction (distance NaN) is a miss. NaN where no joint counts.
    """
    counts = counted & np.isfinite(length_px)[:, None]
    if not counts.any():
        return float("nan")
    with np.errstate(invalid="ignore"):
        hit = distance_px <= share * length_px[:, None]
    return float(hit[counts].mean())


def oks(distance_px: F64, labelled: Bools, area_px2: F64) -> F64:
    """Object keypoint similarity (P,) of 17 joints: mean over labelled joints of exp(-d^2 / (2 area (2 sigma)^2)).

    A joint without a prediction counts 0; NaN for people without a labelled joint."""
    variance = 2 * area_px2[:, None] * (2 * COCO_SIGMAS) ** 2
    similarity = np.where(np.isfinite(distance_px), np.exp(-(np.nan_to_num(distance_px) ** 2) / variance), 0.0)
    count = labelled.sum(axis=1)
    return np.where(count > 0, (similarity * labelled).sum(axis=1) / np.maximum(count, 1), np.nan)


AP_NAMES = ("ap", "ap50", "ap75", "ap_medium", "ap_large", "ar", "ar50", "ar75", "ar_medium", "ar_large")


def coco_ap(truth: dict[str, Any], detections: Sequence[dict[str, Any]]) -> dict[str, float]:
    """COCO's keypoint AP and AR in per cent, by pycocotools.

    truth: COCO-format labels; detections: image_id, category_id, keypoints (51 numbers), score. NaN where COCO has no
    people of that size. Raises: UsageError where pycocotools is not installed.
    """
    coco = require("pycocotools.coco", "train.txt")
    cocoeval = require("pycocotools.cocoeval", "train.txt")
    with redirect_stdout(io.StringIO()):  # it prints its progress
        labels = coco.COCO()
        labels.dataset = truth
        labels.createIndex()
        found = labels.loadRes(list(detections)) if detections else coco.COCO()
        evaluation = cocoeval.COCOeval(labels, found, "keypoints")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    stats = cast("F64", evaluation.stats)
    return {
        name: float(100 * value) if value >= 0 else float("nan") for name, value in zip(AP_NAMES, stats, strict=True)
    }
