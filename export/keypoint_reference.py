"""The decoding of `keypoint_decoding` again, in plain numpy on the outputs of the user's file as it is: the reference
of its parity report. Slow, one crop after the other, and of other code than the graph's wherever that is possible."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bodycast.export.keypoint_decoding import NEAR
from bodycast.export.keypoint_file import KeypointFile
from bodycast.hmr.networks.heads.udp_decoding import refine_peaks
from bodycast.hmr.networks.heads.udp_keypoints import FARTHEST

Floats = NDArray[np.float64]


def reference_keypoints(file: KeypointFile, session: Any, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Crops (N, h, w, 3) RGB -> keypoints (N, K, 3) as the package is to give them. session: of the file as it is."""
    readers = {"rtmpose": _simcc, "vitpose": _heatmaps, "movenet": _movenet, "yolo-pose": _yolo}
    height, width = file.input_hw
    rows: list[Floats] = []
    for crop in crops:
        outputs = session.run(list(file.outputs), {file.input_name: file.planes(crop[None])})
        pixels, confidence = readers[file.kind](file, [np.asarray(one, np.float64) for one in outputs])
        places = (pixels - [width / 2, height / 2]) / height
        rows.append(np.concatenate([places, np.clip(confidence, 0, 1)[:, None]], axis=1))
    return np.stack(rows).astype(np.float32)


def _simcc(file: KeypointFile, outputs: Sequence[Floats]) -> tuple[Floats, Floats]:
    """Pixels (K, 2) and confidences (K,) of one crop; so for all."""
    horizontal, vertical = outputs[0][0], outputs[1][0]
    bins = horizontal.shape[1] / file.input_hw[1]
    pixels = np.stack([horizontal.argmax(axis=1), vertical.argmax(axis=1)], axis=1) / bins
    return pixels, np.minimum(horizontal.max(axis=1), vertical.max(axis=1))


def _heatmaps(file: KeypointFile, outputs: Sequence[Floats]) -> tuple[Floats, Floats]:
    maps = outputs[0]
    rows, columns = maps.shape[2:]
    flat = maps[0].reshape(len(maps[0]), -1)
    peak = np.stack([flat.argmax(axis=1) % columns, flat.argmax(axis=1) // columns], axis=1).astype(np.float64)
    refined = refine_peaks(maps.astype(np.float32))[0][0]
    cells = np.where(flat.max(axis=1)[:, None] > 0, np.clip(refined, peak - FARTHEST, peak + FARTHEST), peak)
    steps = np.array([file.input_hw[1] - 1, file.input_hw[0] - 1]) / np.array([columns - 1, rows - 1])
    return cells * steps, flat.max(axis=1)


def _movenet(file: KeypointFile, outputs: Sequence[Floats]) -> tuple[Floats, Floats]:
    found = outputs[0][0, 0]
    height, width = file.input_hw
    return np.stack([found[:, 1] * width - 0.5, found[:, 0] * height - 0.5], axis=1), found[:, 2]


def _yolo(file: KeypointFile, outputs: Sequence[Floats]) -> tuple[Floats, Floats]:
    people = outputs[0][0] if file.boxes == "rows" else outputs[0][0].T
    height, width = file.input_hw
    best, highest = people[0], -np.inf
    for person in people:
        centre = person[:2] if file.boxes == "xywh" else (person[:2] + person[2:4]) / 2
        away = np.hypot(centre[0] - width / 2, centre[1] - height / 2) / height
        weighed = person[4] * np.exp(-0.5 * (away / NEAR) ** 2)
        if weighed > highest:
            best, highest = person, weighed
    points = best[-3 * file.keypoints :].reshape(file.keypoints, 3)
    return points[:, :2], points[:, 2] * best[4]
