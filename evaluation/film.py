"""A network alone on a film: boxes are given per frame, no detector, tracker or smoother comes between.

Boxes come from true motion (a synthetic clip's .npz: one row per person and frame) or from a MediaPipe track (around
its landmarks). Predictions are told from others by `meta["kind"] == "film"`; `image_id` is the frame, `annotation_id`
the row of the boxes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bodycast.app.errors import UsageError
from bodycast.app.files.motion_file import ROW, TABLE, Motion, MotionMeta, motion_from_rows, read_motion
from bodycast.app.sources.video_file import open_video_file
from bodycast.hmr.body.body_model import BodyModel
from bodycast.hmr.body.joints import NUM_JOINTS
from bodycast.hmr.body.surface_joints import COCO_FROM_POINTS
from bodycast.hmr.geometry.boxes import from_points
from bodycast.hmr.geometry.camera import Intrinsics
from bodycast.npz import read_npz
from evaluation.predict_rows import EstimatesBodies, RowPredictor
from evaluation.predictions import Predictions, empty_columns
from training.datasets.coco import LabelledImage

KIND = "film"
TRACK_PADDING = 0.1  # landmarks end at the eyes, the fingertips and the toes
MIN_VISIBILITY = 0.3
MIN_LANDMARKS = 6
FALLBACK_FPS = 30.0

# MediaPipe's landmarks in the order of COCO's 17 joints.
MEDIAPIPE_OF_COCO = [0, 2, 5, 7, 8, 11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28]

CameraOf = Callable[[LabelledImage, tuple[int, int]], Intrinsics]


@dataclass(frozen=True)
class FilmBoxes:
    """`frame` (R,) index in the film, `person_id` (R,), `xyxy` (R,4) px; `focal_px` where the file knows it."""

    frame: NDArray[np.integer]
    person_id: NDArray[np.integer]
    xyxy: NDArray[np.floating]
    focal_px: float | None


def read_boxes(path: Path) -> FilmBoxes:
    """Boxes of a motion.npz or of a MediaPipe track. Raises: UsageError."""
    try:
        track = read_npz(path, ["keypoints_px"]).get("keypoints_px")
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: not a readable .npz ({error}); give a motion.npz or a MediaPipe track") from error
    if track is None:
        motion = read_motion(path)
        return FilmBoxes(motion.frame, motion.person_id, motion.bbox_xyxy, motion.focal_px or None)
    if track.ndim != 3 or track.shape[1:] != (33, 3):
        raise UsageError(f"{path}: keypoints_px: expected (F, 33, 3), got {track.shape}")
    seen = (track[..., 2] >= MIN_VISIBILITY) & np.isfinite(track).all(-1)
    frames = np.flatnonzero(seen.sum(1) >= MIN_LANDMARKS)
    boxes = from_points(track[frames, :, :2].astype(np.float64), seen[frames], TRACK_PADDING)
    return FilmBoxes(frames, np.ones(len(frames), np.int32), boxes, None)


def reference_keypoints(path: Path, boxes: FilmBoxes) -> NDArray[np.float64]:
    """(R,17,3) x, y and 0 or 1 whether it is known: COCO's joints of a track or of true motion (limbs only).

    Raises: UsageError for a file that is neither."""
    points = np.zeros((len(boxes.frame), 17, 3))
    track = read_npz(path, ["keypoints_px"]).get("keypoints_px")
    if track is not None:
        marks = track[boxes.frame][:, MEDIAPIPE_OF_COCO]
        points[..., :2], points[..., 2] = marks[..., :2], marks[..., 2] >= MIN_VISIBILITY
        return points
    limbs = COCO_FROM_POINTS < NUM_JOINTS
    points[:, limbs, :2] = np.nan_to_num(read_motion(path).joints_2d[:, COCO_FROM_POINTS[limbs]])
    points[:, limbs, 2] = 1
    return points


def predict_film(
    estimator: EstimatesBodies,
    body: BodyModel,
    film: Path,
    boxes: FilmBoxes,
    camera_of: CameraOf,
    batch: int,
    done: Callable[[int], None],
    token_width: int = 0,
) -> tuple[dict[str, NDArray[Any]], float]:
    """Prediction columns, one row per box, and the film's frames a second. Raises: UsageError, RunError."""
    columns = empty_columns(len(boxes.frame), token_width)
    columns["annotation_id"][:] = np.arange(len(boxes.frame))
    columns["image_id"][:] = boxes.frame
    columns["bbox_xyxy"][:] = boxes.xyxy
    columns["bbox"][:] = np.concatenate([boxes.xyxy[:, :2], boxes.xyxy[:, 2:] - boxes.xyxy[:, :2]], axis=1)
    usable = (boxes.xyxy[:, 2:] > boxes.xyxy[:, :2]).all(1)
    predictor = RowPredictor(estimator, body, columns, batch, done)
    source = open_video_file(film)
    last = int(boxes.frame.max(initial=-1))
    try:
        for frame in source:
            rows = np.flatnonzero((boxes.frame == frame.index) & usable)
            if len(rows):
                label = LabelledImage(frame.index, film.name, None, boxes.focal_px)
                predictor.add(rows.tolist(), frame.image, boxes.xyxy[rows], camera_of(label, frame.image_wh))
            if frame.index >= last:
                break
    finally:
        source.close()
    predictor.flush()
    return columns, source.info.fps or FALLBACK_FPS


def as_motion(predictions: Predictions, person_id: NDArray[np.integer]) -> Motion:
    """The valid rows as the motion of a run; person_id (R,) from 1, by annotation id."""
    keep = np.flatnonzero(predictions.valid)
    rows = np.zeros(len(keep), ROW)
    fps = float(predictions.meta["fps"])
    for name in TABLE:
        if name not in ("frame", "time_s", "person_id") and hasattr(predictions, name):
            rows[name] = getattr(predictions, name)[keep]
    rows["frame"] = predictions.image_id[keep]
    rows["time_s"] = rows["frame"] / fps
    rows["person_id"] = person_id[predictions.annotation_id[keep]]
    meta = MotionMeta(
        package=str(predictions.meta["package"]),
        body=str(predictions.meta["body"]),
        smoother="none",
        lag_s=0.0,
        source=str(predictions.meta["labels"]),
    )
    width, height = (int(side) for side in predictions.image_wh[keep[0]]) if len(keep) else (1, 1)
    focal = float(predictions.focal_px[keep[0]]) if len(keep) else 1.0
    return motion_from_rows(rows, focal, (width, height), fps, meta)
