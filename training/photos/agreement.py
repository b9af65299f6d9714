"""What two teachers and a mirror image agree on: keypoints with weights, or nothing.

MoveNet looks at a person and at the mirror image, BlazePose at the person. A keypoint counts where all three place it
within a share of the person's torso, the more the closer they are and the surer the teachers. Groups, statues without
limbs, drawings and mostly hidden people drop out: teachers that guess guess differently.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.photos.teachers import Landmarks

F64 = NDArray[np.float64]

LANDMARKS = 33
COCO_LANDMARKS = np.array([0, 2, 5, 7, 8, 11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28], np.intp)
"""BlazePose's landmark of each of COCO's 17 keypoints."""
FOLLOWERS: dict[int, int] = {17: 9, 19: 9, 21: 9, 18: 10, 20: 10, 22: 10, 29: 15, 31: 15, 30: 16, 32: 16}
"""Landmark that only BlazePose knows (hands, heels, toes) -> COCO keypoint that must agree for it to count."""

TOLERANCE = 0.25
"""Torso lengths within which places agree; COCO's hips and BlazePose's differ by up to a tenth by definition."""
LEAST_TORSO = 0.2
"""Of the person's longer side: somebody who bends towards the camera has a short torso."""
SURE_MOVENET, SURE_BLAZEPOSE = 0.35, 0.6
"""Confidence and visibility from which a keypoint counts in full."""
LEAST_PERSON = 0.5
"""BlazePose's confidence of a person."""
COUNTS = 0.2
"""Weight from which a keypoint counts as agreed upon."""
LEAST_AGREED = 0.6
"""Of the keypoints that MoveNet is sure of."""
LEAST_COVER = 0.4
"""Of the box's longer side, covered by the keypoints that agree: less is somebody in a group's box."""
FOLLOWER_WEIGHT = 0.7


@dataclass(frozen=True)
class Label:
    """`points` (33,3): BlazePose's landmarks, x, y px in the picture and weight 0..1; `space` (33,3) m from the middle
    of the hips, camera axes, by BlazePose alone; `agreed`: how many of COCO's 17 count."""

    points: F64
    space: F64
    agreed: int


def torso_length(points: F64, longer_side: float) -> float:
    """px, from COCO keypoints (17,>=2); at least LEAST_TORSO of the person's longer side."""
    shoulders, hips = points[[5, 6], :2].mean(0), points[[11, 12], :2].mean(0)
    return max(float(np.linalg.norm(shoulders - hips)), LEAST_TORSO * longer_side)


def agree(seen: F64, mirrored: F64, blaze: Landmarks, xywh: F64) -> Label | None:
    """The label of one box, or None. seen, mirrored (17,3): MoveNet's keypoints x, y px and confidence; xywh px."""
    if blaze.person < LEAST_PERSON:
        return None
    side = float(max(xywh[2:]))
    length = torso_length(seen, side)
    places = np.stack([seen[:, :2], mirrored[:, :2], blaze.points[COCO_LANDMARKS, :2]])
    apart = np.linalg.norm(places - places[[1, 2, 0]], axis=-1).max(0) / length
    sure = np.minimum(seen[:, 2], mirrored[:, 2])
    weight = np.clip(1 - (apart / TOLERANCE) ** 2, 0, 1)
    weight = weight * np.clip(sure / SURE_MOVENET, 0, 1)
    weight = weight * np.clip(blaze.points[COCO_LANDMARKS, 2] / SURE_BLAZEPOSE, 0, 1)
    counts = weight >= COUNTS
    asked = sure >= SURE_MOVENET
    limbs, face = int(counts[5:].sum()), int(counts[:5].sum())
    if limbs < 4 and not (counts[5] and counts[6] and face >= 3):
        return None
    if asked.sum() < 4 or (counts & asked).sum() < LEAST_AGREED * asked.sum():
        return None
    fused = places[:2].mean(0) * (2 / 3) + places[2] / 3
    extent = np.ptp(fused[counts], axis=0).max()
    # A head and two shoulders cover half of what is seen of somebody behind a desk.
    if extent < LEAST_COVER * side or not _inside(fused[counts], xywh):
        return None
    points = np.concatenate([blaze.points[:, :2], np.zeros((LANDMARKS, 1))], axis=1)
    points[COCO_LANDMARKS] = np.concatenate([fused, np.where(counts, weight, 0)[:, None]], axis=1)
    for landmark, parent in FOLLOWERS.items():
        points[landmark, 2] = FOLLOWER_WEIGHT * points[COCO_LANDMARKS[parent], 2] * blaze.points[landmark, 2]
    return Label(points, blaze.space, int(counts.sum()))


def _inside(points: F64, xywh: F64) -> bool:
    """Whether the middle of the points lies in the middle two thirds of the box, and most points in the box."""
    low, size = xywh[:2], xywh[2:]
    middle = (points.min(0) + points.max(0)) / 2
    near = np.abs(middle - (low + size / 2)) <= size / 3
    within = ((points >= low - 0.1 * size) & (points <= low + 1.1 * size)).all(1)
    return bool(near.all() and within.mean() >= 0.8)


def same_person(one: Label, other: Label) -> bool:
    """Whether two labels of a picture are one person's: most keypoints that count in both lie together."""
    both = (one.points[COCO_LANDMARKS, 2] > 0) & (other.points[COCO_LANDMARKS, 2] > 0)
    if both.sum() < 3:
        return False
    a, b = one.points[COCO_LANDMARKS, :2], other.points[COCO_LANDMARKS, :2]
    extent = max(np.ptp(a[both], axis=0).max(), np.ptp(b[both], axis=0).max(), 1e-6)
    return bool(np.median(np.linalg.norm(a[both] - b[both], axis=1)) < 0.1 * extent)
