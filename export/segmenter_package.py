"""A mask file of the user's (ONNX) as a model package of task `segmenter`: crops in, mask out, all inside the graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import cv2
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, compose, helper

from bodycast.engines.package import BATCH, ModelPackage, PackageInfo, Tensors, TensorSpec
from bodycast.engines.package_writer import write_package
from bodycast.export.batched_graph import scanned, takes_batches, with_free_batch
from bodycast.export.exportable import SEGMENTER_OUTPUTS
from bodycast.export.keypoint_file import PIXEL_MEAN, PIXEL_STD, load_graph, open_session
from bodycast.export.onnx_graph import ParityError, first_words
from bodycast.export.onnx_nodes import OLDEST_OPSET, Nodes
from bodycast.export.parity import (
    EXPORT_ENGINES,
    KINDS,
    REFERENCE_FILE,
    REPORT_FILE,
    ROWS,
    TIMED_BATCHES,
    ParityReport,
    measure,
    reference_file,
)
from bodycast.export.parity_crops import crops_of

Pixels = Literal["unit", "signed", "imagenet", "bytes"]
Activation = Literal["none", "sigmoid", "softmax"]
INPUT, OUTPUT = "crops", "mask"
PREFIX = "bodycast_"
DEFAULT_HW = (256, 192)
GOLDEN_ROWS = 2
_SCALES: dict[str, tuple[Sequence[float], Sequence[float]]] = {
    "unit": ((0, 0, 0), (255, 255, 255)),
    "signed": ((127.5,) * 3, (127.5,) * 3),
    "imagenet": (PIXEL_MEAN, PIXEL_STD),
    "bytes": ((0, 0, 0), (1, 1, 1)),
}
"""What the file takes for pixels of 0..255: less the first, over the second."""


@dataclass(frozen=True)
class MaskFile:
    """model: the graph. pixels, activation: what its publisher says. outputs: the one name. shapes: its shape for one
    crop, (1, C, h, w), (1, h, w) or (1, h, w, C) with C 1, or 2 for background and person."""

    where: str
    model: onnx.ModelProto
    pixels: Pixels
    activation: Activation
    input_name: str
    input_type: int
    input_hw: tuple[int, int]
    outputs: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]

    def session(self) -> Any:
        """ONNX Runtime's session of the file as it is."""
        return open_session(self.model.SerializeToString(), self.where)

    def planes(self, crops: NDArray[np.uint8]) -> NDArray[Any]:
        """uint8 crops (N, h, w, 3) RGB as the file takes them, (N, 3, h, w)."""
        less, over = (np.array(value, np.float32) for value in _SCALES[self.pixels])
        planes = ((crops.astype(np.float32) - less) / over).transpose(0, 3, 1, 2)
        return np.ascontiguousarray(planes).astype(helper.tensor_dtype_to_np_dtype(self.input_type))

    @property
    def map_hw(self) -> tuple[int, int]:
        """Height and width of its mask."""
        shape = self.shapes[0]
        return (shape[1], shape[2]) if self.channels_last or len(shape) == 3 else (shape[2], shape[3])

    @property
    def channels(self) -> int:
        """1, or 2: background and person."""
        shape = self.shapes[0]
        return 1 if len(shape) == 3 else shape[3] if self.channels_last else shape[1]

    @property
    def channels_last(self) -> bool:
        """Whether the channels are the last axis."""
        return len(self.shapes[0]) == 4 and self.shapes[0][1] not in (1, 2)

    def masks(self, session: Any, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Masks (N, h, w) as the package is to give them, in numpy. session: of the file as it is."""
        rows: list[NDArray[Any]] = []
        for crop in crops:
            given = np.asarray(
                session.run(list(self.outputs), {self.input_name: self.planes(crop[None])})[0], np.float32
            )
            maps = given[0] if self.channels_last else given.reshape(self.channels, *self.map_hw).transpose(1, 2, 0)
            if self.activation == "softmax":
                raised = np.exp(maps - maps.max(axis=2, keepdims=True))
                maps = raised / raised.sum(axis=2, keepdims=True)
            person = maps[..., -1]
            if self.activation == "sigmoid":
                person = 1 / (1 + np.exp(-person))
            height, width = self.input_hw
            rows.append(np.clip(cv2.resize(person, (width, height), interpolation=cv2.INTER_LINEAR), 0, 1))
        return np.stack(rows).astype(np.float32)


def open_mask_file(
    path: Path, pixels: Pixels = "unit", activation: Activation = "none", input_hw: tuple[int, int] | None = None
) -> MaskFile:
    """Raises: ValueError, PackageError (one line) for whatever gives no mask of one picture."""
    model = load_graph(path)
    opset = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)
    if opset < OLDEST_OPSET:
        raise ValueError(f"{path}: opset {opset}; save it with opset {OLDEST_OPSET} or later")
    name, element, hw = _picture(model, str(path), input_hw)
    names = [value.name for value in model.graph.output][:1]
    found = MaskFile(str(path), model, pixels, activation, name, element, hw, tuple(names), ())
    try:
        answer = found.session().run(names, {name: found.planes(np.zeros((1, *hw, 3), np.uint8))})[0]
    except Exception as error:  # ONNX Runtime's exception classes share no public base
        raise ValueError(
            f"{path}: does not run on a picture of {hw[0]}x{hw[1]} (--input gives another size): {first_words(error)}"
        ) from error
    found = replace(found, shapes=(tuple(np.shape(answer)),))
    shape = found.shapes[0]
    if len(shape) not in (3, 4) or shape[0] != 1 or found.channels not in (1, 2) or not _alike(found.map_hw, hw):
        raise ValueError(
            f"{path}: no mask file: expected an output (N, 1, h, w), (N, 2, h, w), (N, h, w) or (N, h, w, 1), "
            f"its first is {names[0][:40]} {shape}; for YOLO-seg give its .pt"
        )
    if activation == "softmax" and found.channels != 2:
        raise ValueError(f"{path}: --activation softmax is for two channels, background and person; it has one")
    return found


def _alike(mask_hw: tuple[int, int], hw: tuple[int, int]) -> bool:
    """Whether a map can be a mask of a picture: of its aspect, and not a thirtieth of its size."""
    return mask_hw[0] * hw[1] == mask_hw[1] * hw[0] and 30 * mask_hw[0] > hw[0]


def _picture(model: onnx.ModelProto, where: str, wanted: tuple[int, int] | None) -> tuple[str, int, tuple[int, int]]:
    """Name, element type, height and width of the one input."""
    weights = {weight.name for weight in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    sizes = [dim.dim_value or 0 for dim in inputs[0].type.tensor_type.shape.dim] if len(inputs) == 1 else []
    element = inputs[0].type.tensor_type.elem_type if len(inputs) == 1 else 0
    if (
        len(sizes) != 4
        or sizes[0] > 1
        or sizes[1] not in (0, 3)
        or element not in (TensorProto.FLOAT, TensorProto.FLOAT16)
    ):
        raise ValueError(f"{where}: no mask file: expected one input float (N, 3, h, w), its batch free or 1")
    default = wanted or DEFAULT_HW
    hw = (sizes[2] or default[0], sizes[3] or default[1])
    if wanted is not None and hw != wanted:
        raise ValueError(f"--input {wanted[0]}x{wanted[1]}: the file's picture is {hw[0]}x{hw[1]}")
    return inputs[0].name, element, hw


def wrap(file: MaskFile) -> bytes:
    """The file's graph between preparation and resizing, batch free, as a checked and serialised graph."""
    file = replace(
        file,
        model=compose.add_prefix(file.model, "file_"),
        input_name=f"file_{file.input_name}",
        outputs=tuple(f"file_{name}" for name in file.outputs),
    )
    before, after = Nodes(f"{PREFIX}in_"), Nodes(f"{PREFIX}out_")
    pixels = before.op("Transpose", before.op("Cast", INPUT, to=TensorProto.FLOAT), perm=[0, 3, 1, 2])
    less, over = (np.array(value, np.float32).reshape(3, 1, 1) for value in _SCALES[file.pixels])
    planes = before.op("Cast", before.op("Div", before.op("Sub", pixels, less), over), to=file.input_type)
    middle: list[onnx.NodeProto] = []
    weights: list[TensorProto] = []
    outputs = list(file.outputs)
    freed = takes_batches(file, crops_of("fixed", ROWS, file.input_hw))
    if freed:
        graph = with_free_batch(file.model, file.input_name).graph
        before.op("Identity", planes, out=file.input_name)
        middle, weights = list(graph.node), list(graph.initializer)
    else:
        outputs = scanned(before, file, planes)
    _read(after, file, outputs[0])
    height, width = file.input_hw
    graph = helper.make_graph(
        [*before.nodes, *middle, *after.nodes],
        "mask",
        [helper.make_tensor_value_info(INPUT, TensorProto.UINT8, [BATCH, height, width, 3])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [BATCH, height, width])],
        [*weights, *before.weights, *after.weights],
    )
    if freed:
        graph.sparse_initializer.extend(file.model.graph.sparse_initializer)
    model = helper.make_model(graph, opset_imports=file.model.opset_import, functions=file.model.functions)
    model.ir_version = file.model.ir_version
    onnx.checker.check_model(model)
    return model.SerializeToString()


def _read(nodes: Nodes, file: MaskFile, given: str) -> None:
    """The file's output -> `OUTPUT`; `MaskFile.masks` is the same in numpy."""
    maps = nodes.op("Cast", given, to=TensorProto.FLOAT)
    if file.channels_last:
        maps = nodes.op("Transpose", maps, perm=[0, 3, 1, 2])
    maps = nodes.reshape(maps, -1, file.channels, *file.map_hw)
    if file.activation == "softmax":
        maps = nodes.op("Softmax", nodes.op("Transpose", maps, perm=[0, 2, 3, 1]), axis=3)
        maps = nodes.op("Transpose", maps, perm=[0, 3, 1, 2])
    if file.channels == 2:
        maps = nodes.op("Gather", maps, np.array([1], np.int64), axis=1)
    if file.activation == "sigmoid":
        maps = nodes.op("Sigmoid", maps)
    if file.map_hw != file.input_hw:
        scales = np.array(
            [1, 1, *(side / own for side, own in zip(file.input_hw, file.map_hw, strict=True))], np.float32
        )
        maps = nodes.op("Resize", maps, np.zeros(0, np.float32), scales, mode="linear")
    maps = nodes.op("Clip", maps, nodes.number(0), nodes.number(1))
    nodes.reshape(maps, -1, *file.input_hw, out=OUTPUT)


@dataclass(frozen=True)
class MaskOptions:
    """engines: whom to compare with the file's own answers. licence: of the file, in words."""

    name: str
    licence: str = "unknown"
    overwrite: bool = False
    engines: Sequence[str] = EXPORT_ENGINES
    timed_batches: Sequence[int] = TIMED_BATCHES


def export_mask_file(file: MaskFile, out: Path, options: MaskOptions) -> tuple[ModelPackage, ParityReport]:
    """Wrap, compare, write.

    Raises: ParityError where an engine gives another mask than the file, PackageError where `out` exists.
    """
    model, session = wrap(file), file.session()
    reference: dict[str, Tensors] = {
        kind: {OUTPUT: file.masks(session, crops_of(kind, ROWS, file.input_hw))} for kind in KINDS
    }
    golden = {INPUT: crops_of("fixed", GOLDEN_ROWS, file.input_hw)}
    answers = {OUTPUT: reference["fixed"][OUTPUT][:GOLDEN_ROWS]}
    info = _info(file, options)
    with TemporaryDirectory() as folder:
        trial = write_package(Path(folder) / "package", info, model, golden, answers)
        report = measure(
            trial,
            reference,
            options.engines,
            timed_batches=options.timed_batches,
            source="the file's own output, read in numpy",
            foreign=True,
        )
    if report.refused:
        raise ParityError(f"{file.where}: the package gives other masks than the file: {'; '.join(report.refused)}")
    further: dict[str, bytes | Path] = {REPORT_FILE: report.to_json(), REFERENCE_FILE: reference_file(reference)}
    package = write_package(out, info, model, golden, answers, further_files=further, overwrite=options.overwrite)
    return package, report


def _info(file: MaskFile, options: MaskOptions) -> PackageInfo:
    unit, meaning = SEGMENTER_OUTPUTS[OUTPUT]
    half = any(weight.data_type == TensorProto.FLOAT16 for weight in file.model.graph.initializer)
    return PackageInfo(
        name=options.name,
        task="segmenter",
        architecture="mask",
        arguments={"pixels": file.pixels, "activation": file.activation},
        inputs=(TensorSpec(INPUT, "uint8", (BATCH, *file.input_hw, 3), "1", "RGB crops"),),
        outputs=(TensorSpec(OUTPUT, "float32", (BATCH, *file.input_hw), unit, meaning),),
        normalisation="in-graph",
        crop_rule="hmr2-square",
        focal_convention="none",
        orientation_frame="none",
        body="none",
        joint_set="none",
        opset=max(entry.version for entry in file.model.opset_import if entry.domain in ("", "ai.onnx")),
        precision="fp16" if half else "fp32",
        paper="none",
        licence=options.licence,
        training_data=f"unknown: the user's file {Path(file.where).name}",
        metrics={},
    )
