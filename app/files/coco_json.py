"""COCO keypoint results (.json): 17 keypoints a person and frame, in pixels of the source, for tools that read COCO."""

from __future__ import annotations

import json

import numpy as np

from bodycast.app.errors import UsageError
from bodycast.app.files.motion_file import Motion

CATEGORY = 1


def encode(motion: Motion) -> bytes:
    """The file's content: a list as COCO's results are; `image_id` is the frame, `track_id` the person.

    Raises: UsageError where the network saw no keypoints.
    """
    if not np.isfinite(motion.keypoints_2d).all():
        raise UsageError("this motion has no keypoints: its network sees none, or an older version wrote it")
    rows: list[dict[str, object]] = []
    for row in range(len(motion)):
        x0, y0, x1, y1 = (round(float(side), 2) for side in motion.bbox_xyxy[row])
        points = motion.keypoints_2d[row].astype(np.float64).round(3)
        rows.append(
            {
                "image_id": int(motion.frame[row]),
                "track_id": int(motion.person_id[row]),
                "category_id": CATEGORY,
                "keypoints": points.reshape(-1).tolist(),
                "bbox": [x0, y0, round(x1 - x0, 2), round(y1 - y0, 2)],
                "score": round(float(motion.score[row]), 4),
            }
        )
    return (json.dumps(rows) + "\n").encode("ascii")
