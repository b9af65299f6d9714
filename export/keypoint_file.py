"""A 2D-pose ONNX file of the user's: read, and refused in one line where it is not of the kind that they say.

Nothing is taken from outside of the file (`engines.onnx_file`), and it has to run before anything is built on it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import TensorProto, helper

from bodycast.engines.onnx_file import check_onnx_file
from bodycast.export.exportable import JOINT_SETS
from bodycast.export.onnx_graph import first_words
from bodycast.export.onnx_nodes import OLDEST_OPSET

KINDS = ("rtmpose", "vitpose", "movenet", "yolo-pose")
DEFAULT_HW = (256, 192)
"""Of files whose height and width are free."""
_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16)
_INPUT_TYPES = {kind: _FLOATS for kind in KINDS} | {
    "movenet": (TensorProto.FLOAT, TensorProto.INT32, TensorProto.UINT8)
}
_OUTPUTS = {
    "rtmpose": "two outputs, simcc_x (N, K, w x r) and simcc_y (N, K, h x r)",
    "vitpose": "one output of heat maps (N, K, h/4, w/4)",
    "movenet": "one output (1, 1, 17, 3) of y, x and confidence",
    "yolo-pose": "one output (N, 5 + 3 K, anchors), or (N, boxes, 6 + 3 K) of an end-to-end network",
}


@dataclass(frozen=True)
class KeypointFile:
    """model: the graph. input_name, input_type (ONNX's number), input_hw: of its picture. outputs: names, in the order
    in which `keypoint_decoding` takes them. shapes: theirs, for one crop. keypoints: K. boxes: of yolo-pose, "xywh" or
    "xyxy" for columns of anchors, "rows" for (N, boxes, 6 + 3 K)."""

    kind: str
    where: str
    model: onnx.ModelProto
    input_name: str
    input_type: int
    input_hw: tuple[int, int]
    outputs: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    keypoints: int
    boxes: str = "xywh"

    @property
    def joint_set(self) -> str:
        """The joint set of so many keypoints."""
        return JOINT_SETS[self.keypoints]

    @property
    def half(self) -> bool:
        """Whether its weights are fp16."""
        return any(weight.data_type == TensorProto.FLOAT16 for weight in self.model.graph.initializer)

    def session(self) -> Any:
        """ONNX Runtime's session of the file as it is."""
        return open_session(self.model.SerializeToString(), self.where)

    def planes(self, crops: NDArray[np.uint8]) -> NDArray[Any]:
        """uint8 crops (N, h, w, 3) RGB as the file takes them: each kind's published preparation, in numpy."""
        dtype = helper.tensor_dtype_to_np_dtype(self.input_type)
        if self.kind == "movenet":
            return crops.astype(dtype)
        pixels = crops.astype(np.float32)
        if self.kind == "yolo-pose":
            pixels /= 255
        else:
            pixels = (pixels - np.array(PIXEL_MEAN, np.float32)) / np.array(PIXEL_STD, np.float32)
        return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)).astype(dtype)


PIXEL_MEAN, PIXEL_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
"""ImageNet's, which MMPose's and ViTPose's networks were trained with, RGB in 0..255."""


def load_graph(path: Path) -> onnx.ModelProto:
    """An ONNX file without data of its own beside it. Raises: ValueError, PackageError (one line)."""
    if not path.is_file():
        raise ValueError(f"no file {path}")
    check_onnx_file(path)
    try:
        model = onnx.load(path, load_external_data=False)
    except (DecodeError, ValueError, OSError) as error:
        raise ValueError(f"{path}: not an ONNX graph, or a damaged one: {first_words(error)}") from error
    return model


def read_keypoint_file(
    path: Path, kind: str, *, joints: str | None = None, input_hw: tuple[int, int] | None = None
) -> KeypointFile:
    """Raises: ValueError, PackageError (one line) for whatever is no file of this kind, of these joints or size."""
    return examine(load_graph(path), kind, str(path), joints=joints, input_hw=input_hw)


def examine(
    model: onnx.ModelProto,
    kind: str,
    where: str,
    *,
    joints: str | None = None,
    input_hw: tuple[int, int] | None = None,
    boxes: str | None = None,
) -> KeypointFile:
    """A loaded graph, checked by its signature and by running it on one picture. boxes: see `KeypointFile`.

    Raises: ValueError, see `read_keypoint_file`.
    """
    if kind not in KINDS:
        raise ValueError(f"--kind {kind}: expected one of {', '.join(KINDS)}")
    opset = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)
    if opset < OLDEST_OPSET:
        raise ValueError(f"{where}: opset {opset}; save it with opset {OLDEST_OPSET} or later")
    name, element, hw = _picture(model, kind, where, input_hw)
    names = [value.name for value in model.graph.output]
    if len(names) != (2 if kind == "rtmpose" else 1):
        raise ValueError(f"{where}: no {kind} file: expected {_OUTPUTS[kind]}, its outputs are {_listed(names)}")
    found = KeypointFile(kind, where, model, name, element, hw, tuple(names), (), 0)
    planes = found.planes(np.zeros((1, *hw, 3), np.uint8))
    try:
        answers = found.session().run(names, {name: planes})
    except Exception as error:  # ONNX Runtime's exception classes share no public base
        raise ValueError(
            f"{where}: does not run on a picture of {hw[0]}x{hw[1]} (--input gives another size): {first_words(error)}"
        ) from error
    shapes = {key: tuple(np.shape(answer)) for key, answer in zip(names, answers, strict=True)}
    order, keypoints, layout = _layout(kind, shapes, hw, where)
    said = {entry.key: entry.value for entry in model.metadata_props}
    if kind == "yolo-pose" and said.get("task", "pose") != "pose":
        raise ValueError(f"{where}: an ultralytics file for {_listed([said['task']])}, expected pose")
    check_joints(keypoints, joints, where)
    return KeypointFile(
        kind, where, model, name, element, hw, order, tuple(shapes[key] for key in order), keypoints, boxes or layout
    )


def open_session(model: bytes, where: str) -> Any:
    """ONNX Runtime on one thread of the CPU. Raises: ValueError, one line, where it does not open the graph."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # see above
        raise ValueError(f"{where}: ONNX Runtime does not open it: {first_words(error)}") from error


def _picture(
    model: onnx.ModelProto, kind: str, where: str, wanted: tuple[int, int] | None
) -> tuple[str, int, tuple[int, int]]:
    """Name, element type, height and width of the one input."""
    weights = {weight.name for weight in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    layout = "(N, h, w, 3)" if kind == "movenet" else "(N, 3, h, w)"
    if len(inputs) != 1:
        raise ValueError(
            f"{where}: no {kind} file: expected one input {layout}, it has {_listed([value.name for value in inputs])}"
        )
    tensor = inputs[0].type.tensor_type
    sizes = [dim.dim_value or 0 for dim in tensor.shape.dim]
    channels, rows = (3, 1) if kind == "movenet" else (1, 2)
    if len(sizes) != 4 or sizes[channels] not in (0, 3) or tensor.elem_type not in _INPUT_TYPES[kind]:
        shown = (
            f"{TensorProto.DataType.Name(tensor.elem_type).lower()} ({', '.join(str(size or '?') for size in sizes)})"
        )
        expected = ", ".join(TensorProto.DataType.Name(one).lower() for one in _INPUT_TYPES[kind])
        raise ValueError(f"{where}: no {kind} file: expected an input {layout} of {expected}, it is {shown}")
    if sizes[0] > 1:
        raise ValueError(f"{where}: its batch is fixed at {sizes[0]}; save it with a free batch, or one of 1")
    fixed = (sizes[rows], sizes[rows + 1])
    default = (192, 192) if kind == "movenet" else DEFAULT_HW
    hw = tuple(size or given for size, given in zip(fixed, wanted or default, strict=True))
    if wanted is not None and hw != wanted:
        raise ValueError(f"--input {wanted[0]}x{wanted[1]}: the file's picture is {hw[0]}x{hw[1]}")
    if kind == "movenet" and hw[0] != hw[1]:
        raise ValueError(f"{where}: MoveNet takes squares, its picture is {hw[0]}x{hw[1]}")
    return inputs[0].name, tensor.elem_type, (hw[0], hw[1])


def _layout(
    kind: str, shapes: Mapping[str, tuple[int, ...]], hw: tuple[int, int], where: str
) -> tuple[tuple[str, ...], int, str]:
    """Outputs in order, number of keypoints, and how boxes are written. Raises ValueError."""
    names = tuple(shapes)
    given = list(shapes.values())
    keypoints, boxes = 0, "xywh"
    if kind == "rtmpose" and all(len(shape) == 3 for shape in given) and given[0][1] == given[1][1]:
        names = _by_axis(shapes, hw)
        keypoints = given[0][1] if names else 0
    elif kind == "vitpose" and len(given[0]) == 4 and given[0][2:] == (hw[0] // 4, hw[1] // 4):
        keypoints = given[0][1]
    elif kind == "movenet" and given[0] == (1, 1, 17, 3):
        keypoints = 17
    elif kind == "yolo-pose" and len(given[0]) == 3:
        _, rows, columns = given[0]
        if (rows - 5) // 3 in JOINT_SETS and (rows - 5) % 3 == 0:
            keypoints = (rows - 5) // 3
        elif (columns - 6) // 3 in JOINT_SETS and (columns - 6) % 3 == 0:
            keypoints, boxes = (columns - 6) // 3, "rows"
    if keypoints < 1:
        told = _listed([f"{name[:40]} {shape}" for name, shape in shapes.items()])
        raise ValueError(f"{where}: no {kind} file: expected {_OUTPUTS[kind]}, its outputs are {told}")
    return names, keypoints, boxes


def _by_axis(shapes: Mapping[str, tuple[int, ...]], hw: tuple[int, int]) -> tuple[str, ...]:
    """The names of simcc_x and simcc_y, by name or else by length; empty where the lengths fit no picture of `hw`."""
    first, second = shapes
    candidates = [(first, second), (second, first)]
    if {"simcc_x", "simcc_y"} == set(shapes):
        candidates = [("simcc_x", "simcc_y")]
    for x, y in candidates:
        # As many bins a pixel along both.
        if shapes[x][2] * hw[0] == shapes[y][2] * hw[1] and shapes[x][2] >= hw[1]:
            return x, y
    return ()


def check_joints(keypoints: int, joints: str | None, where: str) -> None:
    """Raise ValueError where the number of keypoints is none that is known, or not that of --joints."""
    if joints is not None and joints not in JOINT_SETS.values():
        raise ValueError(f"--joints {joints}: expected one of {', '.join(JOINT_SETS.values())}")
    wanted = next((count for count, name in JOINT_SETS.items() if name == joints), None)
    if wanted is not None and wanted != keypoints:
        raise ValueError(f"--joints {joints} has {wanted} keypoints, {where} gives {keypoints}")
    if keypoints not in JOINT_SETS:
        known = ", ".join(f"{count} ({name})" for count, name in JOINT_SETS.items())
        raise ValueError(f"{where}: gives {keypoints} keypoints, expected {known}")


def _listed(names: list[str]) -> str:
    """Names of a foreign file: not more of them than fit into a line, and no control characters."""
    shown = ", ".join(re.sub(r"[^\x20-\x7e]", "?", name)[:80] for name in names[:6])
    return f"{shown or 'none'}{', ...' if len(names) > 6 else ''}"
