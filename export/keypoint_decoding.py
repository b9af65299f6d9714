"""What stands before and behind a user's 2D-pose graph, as ONNX operators: uint8 crops in, keypoints out.

Keypoints (N, K, 3) float32: x and y in crop heights from the crop's centre, confidence in 0..1. `keypoint_reference` is
the same in plain numpy, which every export is compared with. Sources of the codings: SimCC (Li et al. 2022, arXiv
2107.03332) as RTMPose (Jiang et al. 2023, arXiv 2303.07399) reads it; UDP (Huang et al. 2020, arXiv 1911.07524) for
ViTPose; MoveNet's and Ultralytics' published outputs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from bodycast.export.keypoint_file import PIXEL_MEAN, PIXEL_STD, KeypointFile
from bodycast.export.onnx_nodes import Nodes
from bodycast.hmr.networks.heads.udp_keypoints import (
    DIFFERENCES,
    EPSILON,
    FARTHEST,
    HIGHEST,
    KERNEL,
    LOWEST,
    NEIGHBOURS,
    blur_taps,
    window_table,
)

NEAR = 0.2
"""Crop heights: how far a box's centre is from the crop's centre where its score counts exp(-1/2) of itself. The person
that the crop is for stands in its middle; who stands half a crop away counts a twentieth."""


def prepare(nodes: Nodes, file: KeypointFile, crops: str) -> str:
    """uint8 crops (N, h, w, 3) -> what the file takes; `KeypointFile.planes` is the same in numpy."""
    if file.kind == "movenet":
        return nodes.op("Cast", crops, to=file.input_type)
    pixels = nodes.op("Cast", crops, to=TensorProto.FLOAT)
    planes = nodes.op("Transpose", pixels, perm=[0, 3, 1, 2])
    if file.kind == "yolo-pose":
        planes = nodes.op("Mul", planes, np.full((1, 1, 1), 1 / 255, np.float32))
    else:
        mean, std = (np.array(value, np.float32).reshape(3, 1, 1) for value in (PIXEL_MEAN, PIXEL_STD))
        planes = nodes.op("Div", nodes.op("Sub", planes, mean), std)
    return planes if file.input_type == TensorProto.FLOAT else nodes.op("Cast", planes, to=file.input_type)


def decode(nodes: Nodes, file: KeypointFile, outputs: Sequence[str], out: str) -> None:
    """The file's outputs -> `out`, the keypoints."""
    given = [nodes.op("Cast", name, to=TensorProto.FLOAT) for name in outputs]
    readers = {"rtmpose": _simcc, "vitpose": _heatmaps, "movenet": _movenet, "yolo-pose": _yolo}
    x, y, confidence = readers[file.kind](nodes, file, given)  # pixels of the input, each (N, K, 1)
    height, width = file.input_hw
    places: list[str] = []
    for pixels, middle in ((x, width / 2), (y, height / 2)):
        centred = nodes.op("Sub", pixels, nodes.number(middle))
        places.append(nodes.op("Mul", centred, nodes.number(1 / height)))
    clipped = nodes.op("Clip", confidence, nodes.number(0), nodes.number(1))
    nodes.op("Concat", *places, clipped, out=out, axis=2)


def _peaks(nodes: Nodes, rows: str) -> tuple[str, str]:
    """Highest values (N, K, 1) along the last axis of (N, K, L), and where they are, int64."""
    height, index = nodes.ops("TopK", rows, np.array([1], np.int64), outputs=2, axis=2)
    return height, index


def _simcc(nodes: Nodes, file: KeypointFile, given: Sequence[str]) -> tuple[str, str, str]:
    bins = file.shapes[0][2] / file.input_hw[1]
    found: list[tuple[str, str]] = []
    for rows in given:
        height, index = _peaks(nodes, rows)
        place = nodes.op("Mul", nodes.op("Cast", index, to=TensorProto.FLOAT), nodes.number(1 / bins))
        found.append((place, height))
    return found[0][0], found[1][0], nodes.op("Min", found[0][1], found[1][1])


def _heatmaps(nodes: Nodes, file: KeypointFile, given: Sequence[str]) -> tuple[str, str, str]:
    rows, columns = file.shapes[0][2:]
    flat = nodes.reshape(given[0], 0, file.keypoints, rows * columns)
    height, peak = _peaks(nodes, flat)
    y = nodes.op("Div", peak, np.array(columns, np.int64))
    x = nodes.op("Sub", peak, nodes.op("Mul", y, np.array(columns, np.int64)))
    steps = _refinement(nodes, file, flat, x, y)
    seen = nodes.op("Greater", height, nodes.number(0))
    places: list[str] = []
    for cell, step, side, cells in ((x, steps[0], file.input_hw[1], columns), (y, steps[1], file.input_hw[0], rows)):
        whole = nodes.op("Cast", cell, to=TensorProto.FLOAT)
        moved = nodes.op("Where", seen, nodes.op("Sub", whole, step), whole)
        # UDP: the first cell lies on the first pixel, the last on the last.
        places.append(nodes.op("Mul", moved, nodes.number((side - 1) / (cells - 1))))
    return places[0], places[1], height


def _refinement(nodes: Nodes, file: KeypointFile, flat: str, x: str, y: str) -> tuple[str, str]:
    """UDP's Newton step (N, K, 1) along x and y; see `bodycast.hmr.networks.heads.udp_keypoints`."""
    rows, columns = file.shapes[0][2:]
    keypoints, around = file.keypoints, len(NEIGHBOURS)

    def table(size: int, axis: int, shape: tuple[int, ...], times: int = 1) -> NDArray[np.int64]:
        return window_table(size, axis).reshape(size, *shape) * times

    first = nodes.op("Gather", table(rows, 1, (around, KERNEL, 1), columns), y, axis=0)
    second = nodes.op("Gather", table(columns, 0, (around, 1, KERNEL)), x, axis=0)
    read = nodes.reshape(nodes.op("Add", first, second), 0, keypoints, around * KERNEL * KERNEL)
    windows = nodes.reshape(nodes.op("GatherElements", flat, read, axis=2), 0, keypoints, around, KERNEL * KERNEL)
    blurred = nodes.reshape(nodes.op("MatMul", windows, blur_taps()[:, None]), 0, keypoints, around)
    logs = nodes.op("Log", nodes.op("Clip", blurred, nodes.number(LOWEST), nodes.number(HIGHEST)))
    differences = nodes.op("MatMul", logs, np.array(DIFFERENCES, np.float32).T)
    gx, gy, xx, xy, yy = (
        nodes.op("Gather", differences, np.array([index], np.int64), axis=2) for index in range(len(DIFFERENCES))
    )
    xx, yy = (nodes.op("Add", value, nodes.number(EPSILON)) for value in (xx, yy))
    determinant = nodes.op("Sub", nodes.op("Mul", xx, yy), nodes.op("Mul", xy, xy))
    flatness = nodes.op("Equal", determinant, nodes.number(0))
    safe = nodes.op("Where", flatness, nodes.number(1), determinant)
    steps: list[str] = []
    for curve, slope, other in ((yy, gx, gy), (xx, gy, gx)):
        step = nodes.op("Div", nodes.op("Sub", nodes.op("Mul", curve, slope), nodes.op("Mul", xy, other)), safe)
        bounded = nodes.op("Clip", step, nodes.number(-FARTHEST), nodes.number(FARTHEST))
        steps.append(nodes.op("Where", flatness, nodes.number(0), bounded))
    return steps[0], steps[1]


def _movenet(nodes: Nodes, file: KeypointFile, given: Sequence[str]) -> tuple[str, str, str]:
    rows = nodes.reshape(given[0], -1, file.keypoints, 3)
    y, x, confidence = (nodes.op("Gather", rows, np.array([index], np.int64), axis=2) for index in range(3))
    height, width = file.input_hw
    # It counts from the crop's corner, and our pixels from the first one's middle.
    places = [
        nodes.op("Sub", nodes.op("Mul", share, nodes.number(side)), nodes.number(0.5))
        for share, side in ((x, width), (y, height))
    ]
    return places[0], places[1], confidence


def _yolo(nodes: Nodes, file: KeypointFile, given: Sequence[str]) -> tuple[str, str, str]:
    """The person of the highest score, weighed by `NEAR`; confidences times that score."""
    columns = given[0]
    if file.boxes == "rows":  # (N, boxes, xyxy, score, class, keypoints) -> (N, values, boxes)
        columns = nodes.op("Transpose", columns, perm=[0, 2, 1])
    values = file.shapes[0][2 if file.boxes == "rows" else 1]

    def part(*rows: int) -> str:
        return nodes.op("Gather", columns, np.array(rows, np.int64), axis=1)

    centre = part(0, 1)
    if file.boxes != "xywh":
        centre = nodes.op("Mul", nodes.op("Add", centre, part(2, 3)), nodes.number(0.5))
    height, width = file.input_hw
    middle = np.array([width / 2, height / 2], np.float32)[:, None]
    away = nodes.op("Sub", centre, middle)
    scale = np.full((1, 2), -0.5 / (NEAR * height) ** 2, np.float32)
    nearness = nodes.op("Exp", nodes.op("MatMul", scale, nodes.op("Mul", away, away)))  # (N, 1, boxes)
    _, best = _peaks(nodes, nodes.op("Mul", part(4), nearness))
    chosen = nodes.op("GatherElements", columns, nodes.op("Tile", best, np.array([1, values, 1], np.int64)), axis=2)
    score = nodes.op("Gather", chosen, np.array([4], np.int64), axis=1)
    first = values - 3 * file.keypoints
    rows = nodes.op("Gather", chosen, np.arange(first, values, dtype=np.int64), axis=1)
    rows = nodes.reshape(rows, 0, file.keypoints, 3)
    x, y, visible = (nodes.op("Gather", rows, np.array([index], np.int64), axis=2) for index in range(3))
    return x, y, nodes.op("Mul", visible, score)
