"""Whether the camera moves, and how it turns: optical flow of what is behind the people.

Corners of a small grey picture are followed from a key frame (Lucas and Kanade, by OpenCV); people are left out. A
camera that turns about its own place, in a hand or on a tripod, moves every far corner by one rotation, which is fitted
robustly and summed over key frames. Corners that no one rotation explains are a camera that walks: then nothing is
known of the world.
"""

from __future__ import annotations

from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from bodycast.app.records import F32, F64, U8
from bodycast.hmr.geometry.camera import Intrinsics

WIDTH_PX = 320
MOST_CORNERS, LEAST_CORNERS = 120, 12
STILL_PX = 0.35
"""Corners that moved less than this (median, in the small picture) say that the camera stands still."""
CORNER = 2e-4
"""Least eigenvalue of a corner's gradients (OpenCV's scale) that the noise of a plain wall does not reach."""
INLIER_PX = (0.5, 1.2)
INLIER_SHARE = 0.25
"""What a corner may be off, as a share of the corners' motion: from key frame to key frame parallax is small too."""
LEAST_INLIERS = 0.5
LOST_AFTER_S = 1.0
"""So long without an explanation, and the world is given up."""
LOOK_EVERY_S = 0.2
"""A camera that stands still is looked at so seldom."""
PEOPLE_MARGIN = 0.15
KEY_SHARE = 0.6


class CameraMotion:
    """Follows the camera frame by frame. Use it from one thread."""

    def __init__(self) -> None:
        self._key: U8 | None = None
        self._corners: F32 = np.zeros((0, 1, 2), np.float32)
        self._key_turn: F64 = np.eye(3)
        self._turn: F64 = np.eye(3)
        self._moves = False
        self._unexplained_s: float | None = None
        self._lost = False
        self._next_s = -np.inf

    @property
    def moves(self) -> bool:
        """Whether the camera has been seen to move."""
        return self._moves

    @property
    def lost(self) -> bool:
        """Whether it moves in a way that is no rotation."""
        return self._lost

    def reset(self) -> None:
        """A cut: another camera."""
        self.__init__()

    def update(self, image: U8, time_s: float, xyxy: F32, intrinsics: Intrinsics) -> F64:
        """(3,3) this frame's camera frame -> the first one's; NaN once the camera is lost.

        image (H,W,3) BGR; xyxy (N,4) px boxes of people, where nothing is followed.
        """
        if self._lost:
            return np.full((3, 3), np.nan)
        if time_s < self._next_s and not self._moves:
            return self._turn
        self._next_s = time_s + LOOK_EVERY_S
        scale = WIDTH_PX / image.shape[1]
        small = cv2.resize(image, (WIDTH_PX, max(round(image.shape[0] * scale), 16)), interpolation=cv2.INTER_AREA)
        grey = np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY), np.uint8)
        if self._key is None or self._key.shape != grey.shape:
            self._begin(grey, xyxy * scale, np.eye(3) if self._key is None else self._turn)
            return self._turn
        if len(self._corners) < LEAST_CORNERS:  # nothing to hold on to, such as a plain wall
            self._begin(grey, xyxy * scale, self._turn)
            return self._turn
        self._follow(grey, xyxy * scale, time_s, intrinsics, scale)
        return np.full((3, 3), np.nan) if self._lost else self._turn

    def _begin(self, grey: U8, boxes: F32, turn: F64) -> None:
        """Take a new key frame."""
        mask = np.full(grey.shape, 255, np.uint8)
        for x0, y0, x1, y1 in boxes.tolist():
            margin = PEOPLE_MARGIN * max(x1 - x0, y1 - y0)
            low, high = (max(int(x0 - margin), 0), max(int(y0 - margin), 0)), (int(x1 + margin), int(y1 + margin))
            mask[low[1] : max(high[1], 0), low[0] : max(high[0], 0)] = 0
        strong = np.asarray(cv2.cornerMinEigenVal(grey, 3)) > CORNER
        mask[~strong] = 0
        # OpenCV gives None where there is no corner, which its types do not say.
        found = cast("F32 | None", cv2.goodFeaturesToTrack(grey, MOST_CORNERS, 0.02, 8, mask=mask))
        self._key, self._key_turn = grey, turn
        self._corners = np.zeros((0, 1, 2), np.float32) if found is None else found.astype(np.float32)

    def _follow(self, grey: U8, boxes: F32, time_s: float, intrinsics: Intrinsics, scale: float) -> None:
        assert self._key is not None
        moved, status, _ = cv2.calcOpticalFlowPyrLK(
            self._key, grey, self._corners, self._corners.copy(), winSize=(15, 15), maxLevel=3
        )
        moved = moved.astype(np.float32)
        kept = (status.ravel() > 0) & ~_inside(moved[:, 0], boxes)
        before, after = self._corners[kept, 0], moved[kept, 0]
        if len(before) < LEAST_CORNERS:
            if self._moves:
                self._explain(False, time_s)
            self._begin(grey, boxes, self._turn)
            return
        moved_px = float(np.median(np.linalg.norm(after - before, axis=1)))
        if moved_px < STILL_PX:
            self._turn = self._key_turn
            self._explain(True, time_s)
            return
        inlier_px = float(np.clip(INLIER_SHARE * moved_px, *INLIER_PX))
        turn, inliers = fit_turn(before / scale, after / scale, intrinsics, inlier_px / scale)
        explained = inliers >= LEAST_INLIERS
        self._moves = True
        self._explain(explained, time_s)
        if explained:
            self._turn = self._key_turn @ turn
        if not explained or kept.mean() < KEY_SHARE or inliers < KEY_SHARE:
            self._begin(grey, boxes, self._turn)

    def _explain(self, explained: bool, time_s: float) -> None:
        if explained:
            self._unexplained_s = None
        elif self._unexplained_s is None:
            self._unexplained_s = time_s
        elif time_s - self._unexplained_s > LOST_AFTER_S:
            self._lost = True


def fit_turn(before_px: F32, after_px: F32, intrinsics: Intrinsics, inlier_px: float) -> tuple[F64, float]:
    """The rotation (3,3) that takes the later camera's frame to the earlier one's, from corners (C,2) px seen by both,
    and the share of corners that it explains. A least-squares rotation (Kabsch 1976), reweighted five times."""
    first, second = _rays(before_px, intrinsics), _rays(after_px, intrinsics)
    weight = np.ones(len(first))
    off = np.zeros(len(first))
    turn: F64 = np.eye(3)
    for _ in range(6):
        left, _, right = np.linalg.svd((first * weight[:, None]).T @ second)
        turn = left @ np.diag([1.0, 1.0, float(np.sign(np.linalg.det(left @ right)))]) @ right
        off = np.linalg.norm(first - second @ turn.T, axis=1) * intrinsics.focal_px
        weight = 1 / (1 + np.square(off / (inlier_px / 2)))
    return turn, float((off < inlier_px).mean())


def _rays(px: F32, intrinsics: Intrinsics) -> F64:
    """(C,3) unit vectors."""
    centre, focal = np.array([intrinsics.cx, intrinsics.cy]), np.array([intrinsics.fx, intrinsics.fy])
    rays = np.concatenate([(px.astype(np.float64) - centre) / focal, np.ones((len(px), 1))], axis=1)
    return rays / np.linalg.norm(rays, axis=1, keepdims=True)


def _inside(points: F32, boxes: F32) -> NDArray[np.bool_]:
    """(C,) which points (C,2) lie in any of the boxes (N,4)."""
    inside = np.zeros(len(points), np.bool_)
    for x0, y0, x1, y1 in boxes.tolist():
        inside |= (points[:, 0] > x0) & (points[:, 0] < x1) & (points[:, 1] > y0) & (points[:, 1] < y1)
    return inside
