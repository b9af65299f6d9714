"""Pose estimators that label photographs: MoveNet thunder (17 COCO keypoints) and BlazePose heavy (33, in space too).

MoveNet: google/movenet/singlepose/thunder, version 4, as ONNX: input (1,256,256,3) int32 RGB, output (1,1,17,3) y, x,
confidence. BlazePose: `pose_landmark_heavy.tflite` of the npm package @mediapipe/pose 0.5.1675469404: input
(1,256,256,3) float32 RGB 0..1; outputs (1,195): 39 times x, y, z in input pixels and two logits (visibility,
presence), (1,1) confidence of a person, (1,256,256,1) logits of the silhouette, (1,117): 39 points in space, m, from
the middle of the hips. Points 33 and 34 are the middle of the hips and a point on the circle around the body, which is
above the head. Both models are Google's, Apache-2.0. OpenVINO runs them; nothing of theirs is shipped.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from training.datasets.errors import DatasetError

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
SIDE = 256
MOVENET_SCALE = 1.25
"""Square around a person, in longer sides of the box."""
BODY_CIRCLE = 1.25
"""BlazePose's square, in diameters of the circle around the body (MediaPipe's pose_detection_to_roi)."""
COCO_MIRROR = np.array([0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15], np.intp)
"""COCO's keypoints seen in a mirror."""


@dataclass(frozen=True)
class Square:
    """A square in a picture: `centre` x, y and `side`, px; `angle` rad: its upright axis is turned clockwise."""

    centre: tuple[float, float]
    side: float
    angle: float = 0.0

    @property
    def to_picture(self) -> NDArray[np.float64]:
        """(2,3) from crop pixels (of SIDE) to picture pixels; pixel indices are pixel centres."""
        scale = self.side / SIDE
        cos, sin = scale * np.cos(self.angle), scale * np.sin(self.angle)
        linear = np.array([[cos, -sin], [sin, cos]])
        offset = np.array(self.centre) - linear @ np.full(2, (SIDE - 1) / 2)
        return np.concatenate([linear, offset[:, None]], axis=1)

    def cut(self, image: U8) -> U8:
        """(SIDE,SIDE,3) of `image`, averaged where it shrinks, black outside."""
        return warp_averaged(image, cv2.invertAffineTransform(self.to_picture), (SIDE, SIDE))

    def place(self, points: NDArray[Any]) -> NDArray[np.float64]:
        """Crop pixels (..., 2) in the picture."""
        matrix = self.to_picture
        return points @ matrix[:, :2].T + matrix[:, 2]


def warp_averaged(image: U8, to_crop: NDArray[np.float64], wh: tuple[int, int], border: int = 0) -> U8:
    """`image` under the affine map to_crop (2,3), of size wh; blurred first where it shrinks."""
    shrink = 1 / np.sqrt(abs(np.linalg.det(to_crop[:, :2])))
    if shrink > 1.1:
        kernel = max(1, round(shrink))
        kernel += kernel % 2 == 0 and kernel > 2  # an odd kernel keeps the picture in its place
        if kernel == 2:
            image = np.asarray(cv2.GaussianBlur(image, (3, 3), 0.35 * shrink), np.uint8)
        elif kernel > 2:
            image = np.asarray(cv2.blur(image, (kernel, kernel), borderType=cv2.BORDER_REPLICATE), np.uint8)
    warped = cv2.warpAffine(image, to_crop, wh, flags=cv2.INTER_LINEAR, borderValue=(border,) * 3)
    return np.asarray(warped, np.uint8)


class _Graph:
    """A model file on OpenVINO, on the CPU."""

    def __init__(self, path: Path, threads: int) -> None:
        """Raises: DatasetError where the file is missing or no model."""
        import openvino

        if not path.is_file():
            raise DatasetError(f"{path}: no such file; see --help")
        try:
            compiled = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_NUM_THREADS": threads})
        except RuntimeError as error:
            raise DatasetError(f"{path}: not a model that OpenVINO reads ({str(error).splitlines()[0]})") from error
        self._request = compiled.create_infer_request()

    def __call__(self, array: NDArray[Any]) -> list[NDArray[Any]]:
        self._request.infer([array])
        return [np.array(tensor.data) for tensor in self._request.output_tensors]


class MoveNet:
    """17 COCO keypoints of the person in the middle of a square."""

    def __init__(self, path: Path, threads: int = 1) -> None:
        self._graph = _Graph(path, threads)

    def __call__(self, image: U8, square: Square, mirror: bool = False) -> NDArray[np.float64]:
        """Keypoints (17,3) x, y px and confidence, in `image` (H,W,3) RGB; `mirror`: by its mirror image."""
        crop = square.cut(image)
        found = self._graph((crop[:, ::-1] if mirror else crop)[None].astype(np.int32))[0].reshape(17, 3)
        x, y = found[:, 1].astype(np.float64), found[:, 0].astype(np.float64)
        if mirror:
            x, y, found = 1 - x[COCO_MIRROR], y[COCO_MIRROR], found[COCO_MIRROR]
        # A share of the crop counts from its edge, a pixel's index from its first centre.
        places = square.place(np.stack([x, y], axis=1) * SIDE - 0.5)
        return np.concatenate([places, found[:, 2:]], axis=1)


@dataclass(frozen=True)
class Landmarks:
    """One person by BlazePose: `points` (33,3) x, y px in the picture and visibility 0..1; `space` (33,3) m from the
    middle of the hips, axes as the camera's; `person` 0..1; `silhouette` (SIDE,SIDE) logits in `square`."""

    points: NDArray[np.float64]
    space: NDArray[np.float64]
    person: float
    silhouette: F32
    square: Square


class BlazePose:
    """33 landmarks of the person in a square: twice, the second time in the square that the first look asks for."""

    def __init__(self, path: Path, threads: int = 1) -> None:
        self._graph = _Graph(path, threads)

    def __call__(self, image: U8, square: Square) -> Landmarks:
        """Landmarks in `image` (H,W,3) RGB."""
        first, _ = self._look(image, square)
        hips, top = first[33, :2], first[34, :2]
        return self._landmarks(image, square_of(square.place(hips), square.place(top)))

    def _look(self, image: U8, square: Square) -> tuple[NDArray[np.float64], list[NDArray[Any]]]:
        out = self._graph(square.cut(image)[None].astype(np.float32) / 255)
        return out[0].reshape(39, 5).astype(np.float64), out

    def _landmarks(self, image: U8, square: Square) -> Landmarks:
        raw, out = self._look(image, square)
        places = square.place(raw[:33, :2])
        seen = 1 / (1 + np.exp(-np.clip(raw[:33, 3], -30, 30)))
        cos, sin = np.cos(square.angle), np.sin(square.angle)
        turn = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
        space = out[4].reshape(39, 3)[:33].astype(np.float64) @ turn.T
        points = np.concatenate([places, seen[:, None]], axis=1)
        return Landmarks(points, space, float(out[1].ravel()[0]), out[2][0, :, :, 0].astype(np.float32), square)


def square_of(hips: NDArray[Any], top: NDArray[Any]) -> Square:
    """BlazePose's square around the circle through `top` about `hips`, (2,) px each; the top is up."""
    x, y = np.asarray(top, np.float64) - np.asarray(hips, np.float64)
    radius = max(float(np.hypot(x, y)), 4.0)
    return Square((float(hips[0]), float(hips[1])), 2 * BODY_CIRCLE * radius, float(np.arctan2(x, -y)))
