"""The detector that needs no file: OpenCV's HOG pedestrian detector, and its face cascade for close-ups.

HOG (Dalal and Triggs 2005) finds whole, upright people; its window is 64x128 px with the person some 96 px high.
Somebody at a webcam shows no legs, so HOG misses them or finds a sleeve. The frontal face cascade (Viola and Jones
2001; its file is part of opencv-python) finds those, and a person's box is derived from the face. How often both
together find people, and at what cost: docs/detectors.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from bodycast.app.errors import UsageError
from bodycast.app.records import F32, U8, Detections, Frame
from bodycast.hmr.geometry.boxes import clip, iou_matrix
from bodycast.hmr.geometry.suppression import covered_share, non_maximum_suppression

WORK_PX = 360
"""Longer side at which HOG works: people from about a quarter of it in height are found."""

FACE_WORK_PX = 320
"""Longer side at which faces are sought; the smallest face found is 24 px of it."""

_WINDOW_HW = (128, 64)
_BORDER = 0.2
"""Share of the height added on every side (half of it left and right), as people who fill the picture need."""

_PYRAMID_STEP = 1.05
_SAME_PERSON_IOU = 0.45
_MIN_SUPPORT = 1.0
"""Sum of SVM margins over the windows that agree on a person; below it, windows are mostly furniture."""

_WINDOW_TO_PERSON_WH = (0.75, 0.8)
"""Size of the person within HOG's window."""

_WINDOW_TO_PERSON_DOWN = 0.02
"""How much lower than the window's middle the person's is, in window heights."""

_FACE_HALF_WIDTHS = 1.8
_FACE_UP = 0.35
_FACE_DOWN = 8.0
"""Person around a face box: half the width, and how far it reaches above and below the face's top, in face sizes."""


class HogDetector:
    """HOG for whole people, a face cascade for people close to the camera. Keeps no state between frames."""

    name = "hog"

    def __init__(self, work_px: int = WORK_PX) -> None:
        """work_px: longer side of the picture that HOG sees; larger finds smaller people, at a quadratic cost.

        Raises: UsageError where this OpenCV has no HOG (version 5 dropped it).
        """
        if not hasattr(cv2, "HOGDescriptor"):
            raise UsageError(f"OpenCV {cv2.__version__} has no HOG detector: pip install 'opencv-python<5'")
        self._work_px = work_px
        self._hog = cv2.HOGDescriptor()
        self._hog.setSVMDetector(np.array(cv2.HOGDescriptor.getDefaultPeopleDetector(), np.float32))
        cascade = Path(_cascade_folder()) / "haarcascade_frontalface_default.xml"
        self._faces = cv2.CascadeClassifier(str(cascade))
        if self._faces.empty():
            raise UsageError(
                f"OpenCV's face cascade is missing ({cascade}): pip install --force-reinstall opencv-python"
            )

    def describe(self) -> str:
        """One line: what it is and how to get better."""
        return "HOG and faces (needs no file); better: bodycast get detector"

    def detect(self, frame: Frame) -> Detections:
        """All people found, boxes in pixels of `frame.image`, best first."""
        whole_xyxy, whole_score = self._whole_people(frame.image)
        faces_xyxy, face_score = self._face_boxes(frame.image)
        close_xyxy = person_from_face(faces_xyxy)
        whole, close = merge_close_ups(whole_xyxy, faces_xyxy, close_xyxy)
        xyxy = clip(np.concatenate([whole_xyxy[whole], close_xyxy[close]]), frame.image_wh).astype(np.float32)
        score = np.concatenate([whole_score[whole], face_score[close]])
        order = np.argsort(-score, kind="stable")
        return Detections(xyxy[order], score[order])

    def close(self) -> None:
        """Nothing to release."""

    def _whole_people(self, image: U8) -> tuple[F32, F32]:
        """Person boxes (N,4) px, not yet clipped, and scores (N,)."""
        small, scale = _shrink(image, self._work_px)
        top = round(_BORDER * small.shape[0])
        side = top // 2
        padded = cv2.copyMakeBorder(small, top, top, side, side, cv2.BORDER_REPLICATE)
        if padded.shape[0] < _WINDOW_HW[0] or padded.shape[1] < _WINDOW_HW[1]:
            return np.zeros((0, 4), np.float32), np.zeros(0, np.float32)  # OpenCV would crash
        # groupThreshold 0: every window with its SVM margin; OpenCV's own grouping forgets how sure they were.
        windows, margins = self._hog.detectMultiScale(padded, winStride=(8, 8), scale=_PYRAMID_STEP, groupThreshold=0)
        xywh = np.asarray(windows, np.float32).reshape(-1, 4) - np.array([side, top, 0, 0], np.float32)
        boxes, support = group_windows(_person_in_window(xywh / scale), np.asarray(margins, np.float32).reshape(-1))
        sure = support >= _MIN_SUPPORT
        return boxes[sure], (support / (1 + support))[sure]

    def _face_boxes(self, image: U8) -> tuple[F32, F32]:
        """Face boxes (N,4) px and scores (N,)."""
        small, scale = _shrink(image, FACE_WORK_PX)
        grey = cv2.cvtColor(small, cv2.COLOR_BGR2GRAY)
        found = self._faces.detectMultiScale3(
            grey, scaleFactor=1.1, minNeighbors=4, minSize=(24, 24), outputRejectLevels=True
        )
        xywh = np.asarray(found[0], np.float32).reshape(-1, 4) / scale
        xyxy = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1).astype(np.float32)
        level = np.maximum(np.asarray(found[2], np.float32).reshape(-1), 0)
        return xyxy, (level / (3 + level)).astype(np.float32)


def group_windows(xyxy: F32, margin: F32) -> tuple[F32, F32]:
    """Overlapping windows (N,4) with SVM margins (N,) -> one box a person (M,4), and the sums of margins (M,).

    A group is the windows around the best one; its box is their mean, weighted by margin. A window mostly inside a
    better one joins no group: it is a limb or the same person at another size.
    """
    left = np.flatnonzero(margin > 0)
    left = left[np.argsort(-margin[left], kind="stable")]
    boxes: list[NDArray[Any]] = []
    supports: list[float] = []
    while len(left):
        best = xyxy[left[:1]]
        same = iou_matrix(xyxy[left], best)[:, 0] >= _SAME_PERSON_IOU
        same[0] = True
        weight = margin[left[same]]
        boxes.append((xyxy[left[same]] * weight[:, None]).sum(axis=0) / weight.sum())
        supports.append(float(weight.sum()))
        left = left[~same & (covered_share(xyxy[left], best)[:, 0] <= 0.7)]
    grouped, support = np.array(boxes, np.float32).reshape(-1, 4), np.array(supports, np.float32)
    keep = non_maximum_suppression(grouped, support, _SAME_PERSON_IOU)
    return grouped[keep], support[keep]


def person_from_face(faces_xyxy: F32) -> F32:
    """The box of an upright person with this face, (N,4) -> (N,4); it usually reaches out of the picture."""
    size = faces_xyxy[:, 2:] - faces_xyxy[:, :2]
    middle = 0.5 * (faces_xyxy[:, 0] + faces_xyxy[:, 2])
    top = faces_xyxy[:, 1]
    return np.stack(
        [
            middle - _FACE_HALF_WIDTHS * size[:, 0],
            top - _FACE_UP * size[:, 1],
            middle + _FACE_HALF_WIDTHS * size[:, 0],
            top + _FACE_DOWN * size[:, 1],
        ],
        axis=1,
    ).astype(np.float32)


def merge_close_ups(whole: F32, faces: F32, close: F32) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which HOG boxes (N,4) and which face-derived boxes (M,4) to keep, so that each person has one.

    A HOG box explains a face that lies in its upper third and is as small as a face is on a body; that face goes.
    Among the others the face wins: HOG boxes mostly inside its person are sleeves and shoulders.
    """
    height = whole[:, 3] - whole[:, 1]
    face_size = faces[:, 3] - faces[:, 1]
    middle = 0.5 * (faces[:, :2] + faces[:, 2:])
    inside = (
        (middle[None, :, 0] > whole[:, None, 0])
        & (middle[None, :, 0] < whole[:, None, 2])
        & (middle[None, :, 1] > whole[:, None, 1] - 0.05 * height[:, None])
        & (middle[None, :, 1] < whole[:, None, 1] + height[:, None] / 3)
    )
    ratio = height[:, None] / np.maximum(face_size[None, :], 1e-6)
    explains = inside & (ratio > 4.5) & (ratio < 14)
    keep_close: NDArray[np.bool_] = ~np.any(explains, axis=0)
    shadowed = covered_share(whole, close) > 0.5
    keep_whole = np.any(explains, axis=1) | ~np.any(shadowed & keep_close[None, :], axis=1)
    return np.asarray(keep_whole, np.bool_), keep_close


def _person_in_window(xywh: F32) -> F32:
    """HOG windows (N,4) as x, y, w, h -> person boxes (N,4) xyxy."""
    size = xywh[:, 2:]
    middle = xywh[:, :2] + size * np.array([0.5, 0.5 + _WINDOW_TO_PERSON_DOWN], np.float32)
    half = 0.5 * size * np.array(_WINDOW_TO_PERSON_WH, np.float32)
    return np.concatenate([middle - half, middle + half], axis=1).astype(np.float32)


def _shrink(image: U8, longer_px: int) -> tuple[U8, float]:
    """The picture with its longer side at `longer_px`, and the factor. Of a strip, in which people would become too
    small to be found, three times the shorter side counts, up to four times `longer_px`."""
    shorter, longer = sorted(image.shape[:2])
    scale = min(longer_px / min(longer, 3 * shorter), 4 * longer_px / longer)
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    small_wh = [max(round(side * scale), 1) for side in (image.shape[1], image.shape[0])]
    return np.asarray(cv2.resize(image, small_wh, interpolation=interpolation), np.uint8), scale


def _cascade_folder() -> str:
    # The stubs of opencv-python leave the submodule out.
    data = cast(Any, cv2).data
    return str(data.haarcascades)
