"""A 2D-pose file of the user's as a model package of task `pose`: crops in, keypoints out, all inside the graph.

Read: `keypoint_file`. Wrapped: `keypoint_decoding`, `batched_graph`. Compared with `keypoint_reference` in pixels of
the input; what is beyond its tolerance is not written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnx
from onnx import TensorProto, compose, helper

from bodycast.engines.errors import PackageError
from bodycast.engines.package import BATCH, ModelPackage, PackageInfo, Tensors, TensorSpec, load_package, sha256_of
from bodycast.engines.package_writer import write_package
from bodycast.export.batched_graph import scanned, takes_batches, with_free_batch
from bodycast.export.exportable import POSE_OUTPUTS
from bodycast.export.keypoint_decoding import decode, prepare
from bodycast.export.keypoint_file import DEFAULT_HW, KINDS, KeypointFile, read_keypoint_file
from bodycast.export.keypoint_reference import reference_keypoints
from bodycast.export.onnx_graph import ParityError
from bodycast.export.onnx_nodes import Nodes
from bodycast.export.parity import (
    EXPORT_ENGINES,
    REFERENCE_FILE,
    REPORT_FILE,
    ROWS,
    TIMED_BATCHES,
    ParityReport,
    measure,
    reference_file,
)
from bodycast.export.parity import (
    KINDS as PICTURES,
)
from bodycast.export.parity_crops import crops_of

INPUT, OUTPUT = "crops", "keypoints"
PREFIX = "bodycast_"
REFERENCE = "the file's own outputs, read in numpy"
VERSION = 1
"""Of this conversion: packages in a cache that an older one made are made again."""
GOLDEN_ROWS = 2
QUICK_ENGINES = ("onnxruntime", "openvino")
SOURCES = {
    "rtmpose": "RTMPose (arXiv 2303.07399)",
    "vitpose": "ViTPose (arXiv 2204.12484)",
    "movenet": "MoveNet singlepose (Google)",
    "yolo-pose": "Ultralytics YOLO",
}


@dataclass(frozen=True)
class KeypointOptions:
    """engines: whom to compare with the reference; those that are not installed are left out. timed_batches: for the
    report's times. licence: of the file, in words."""

    name: str
    licence: str = "unknown"
    overwrite: bool = False
    engines: Sequence[str] = EXPORT_ENGINES
    timed_batches: Sequence[int] = TIMED_BATCHES


def open_keypoints(
    path: Path, kind: str, *, joints: str | None = None, input_hw: tuple[int, int] | None = None
) -> KeypointFile:
    """An ONNX file, or weights of ultralytics. Raises: ValueError, PackageError (one line) for what is none."""
    if kind not in KINDS:
        raise ValueError(f"--kind {kind}: expected one of {', '.join(KINDS)}")
    if path.suffix != ".pt":
        return read_keypoint_file(path, kind, joints=joints, input_hw=input_hw)
    if kind != "yolo-pose":
        raise ValueError(f"{path}: --kind {kind} reads ONNX files; export it to ONNX first")
    from bodycast.export.yolo_pose import open_yolo_pose

    return open_yolo_pose(path, joints=joints, input_hw=input_hw or DEFAULT_HW)


def export_keypoints(file: KeypointFile, out: Path, options: KeypointOptions) -> tuple[ModelPackage, ParityReport]:
    """Wrap, compare, write.

    Raises: ParityError where an engine gives other keypoints than the reference, PackageError where `out` exists.
    """
    model = wrap(file)
    session = file.session()
    reference: dict[str, Tensors] = {
        kind: {OUTPUT: reference_keypoints(file, session, crops_of(kind, ROWS, file.input_hw))} for kind in PICTURES
    }
    golden = crops_of("fixed", GOLDEN_ROWS, file.input_hw)
    answers = reference["fixed"][OUTPUT][:GOLDEN_ROWS]
    info = _info(file, options)
    with TemporaryDirectory() as folder:
        trial = write_package(Path(folder) / "package", info, model, {INPUT: golden}, {OUTPUT: answers})
        report = measure(
            trial, reference, options.engines, timed_batches=options.timed_batches, source=REFERENCE, foreign=True
        )
    if report.refused:
        raise ParityError(f"{file.where}: the package gives other keypoints than the file: {'; '.join(report.refused)}")
    further = {REPORT_FILE: report.to_json(), REFERENCE_FILE: reference_file(reference)}
    package = write_package(
        out, info, model, {INPUT: golden}, {OUTPUT: answers}, further_files=further, overwrite=options.overwrite
    )
    return package, report


def yolo_pose_package(path: Path, cache_folder: Path, input_hw: tuple[int, int] = DEFAULT_HW) -> Path:
    """The package of a YOLO pose file (`.pt` or `.onnx`), converted once into `cache_folder`; gives its folder.

    Found again by the file's SHA-256, whatever the file is called. input_hw: of weights; an ONNX file has its own. A
    damaged package is made again.

    Raises: ValueError, PackageError (one line) where it is no YOLO pose file, ParityError (a ValueError), OSError.
    """
    if not path.is_file():
        raise ValueError(f"no file {path}")
    out = cache_folder / f"yolo-pose-{sha256_of(path)[:16]}-{input_hw[0]}x{input_hw[1]}-v{VERSION}"
    try:
        return load_package(out).folder
    except PackageError:
        pass  # not there yet, or damaged
    file = open_keypoints(path, "yolo-pose", input_hw=input_hw if path.suffix == ".pt" else None)
    options = KeypointOptions(path.stem, "AGPL-3.0", overwrite=True, engines=QUICK_ENGINES, timed_batches=())
    return export_keypoints(file, out, options)[0].folder


def wrap(file: KeypointFile) -> bytes:
    """The file's graph between its preparation and its decoding, batch free, as a checked and serialised graph."""
    file = _renamed(file)
    before, after = Nodes(f"{PREFIX}in_"), Nodes(f"{PREFIX}out_")
    planes = prepare(before, file, INPUT)
    middle: list[onnx.NodeProto] = []
    weights: list[TensorProto] = []
    outputs = list(file.outputs)
    if takes_batches(file, crops_of("fixed", ROWS, file.input_hw)):
        graph = with_free_batch(file.model, file.input_name).graph
        before.op("Identity", planes, out=file.input_name)
        middle, weights = list(graph.node), list(graph.initializer)
    else:
        outputs = scanned(before, file, planes)
    decode(after, file, outputs, OUTPUT)
    height, width = file.input_hw
    graph = helper.make_graph(
        [*before.nodes, *middle, *after.nodes],
        "keypoints",
        [helper.make_tensor_value_info(INPUT, TensorProto.UINT8, [BATCH, height, width, 3])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [BATCH, file.keypoints, 3])],
        [*weights, *before.weights, *after.weights],
    )
    if middle:
        graph.sparse_initializer.extend(file.model.graph.sparse_initializer)
    model = helper.make_model(graph, opset_imports=file.model.opset_import, functions=file.model.functions)
    model.ir_version = file.model.ir_version
    onnx.checker.check_model(model)
    return model.SerializeToString()


def _renamed(file: KeypointFile) -> KeypointFile:
    """The file with other names of its tensors, where one is called as ours are."""
    graph = file.model.graph
    names = {name for node in graph.node for name in (*node.input, *node.output)} | {file.input_name}
    if not any(name in (INPUT, OUTPUT) or name.startswith(PREFIX) for name in names):
        return file
    model = compose.add_prefix(file.model, "file_")
    fields = {**file.__dict__, "model": model, "input_name": f"file_{file.input_name}"}
    return KeypointFile(**{**fields, "outputs": tuple(f"file_{name}" for name in file.outputs)})


def _info(file: KeypointFile, options: KeypointOptions) -> PackageInfo:
    height, width = file.input_hw
    opset = max(entry.version for entry in file.model.opset_import if entry.domain in ("", "ai.onnx"))
    unit, meaning = POSE_OUTPUTS[OUTPUT]
    arguments: dict[str, Any] = {"input_hw": [height, width]}
    return PackageInfo(
        name=options.name,
        task="pose",
        architecture=file.kind,
        arguments=arguments,
        inputs=(TensorSpec(INPUT, "uint8", (BATCH, height, width, 3), "1", "RGB crops"),),
        outputs=(TensorSpec(OUTPUT, "float32", (BATCH, file.keypoints, 3), unit, meaning),),
        normalisation="in-graph",
        crop_rule="padded",
        focal_convention="none",
        orientation_frame="none",
        body="none",
        joint_set=file.joint_set,
        opset=opset,
        precision="fp16" if file.half else "fp32",
        paper=SOURCES[file.kind],
        licence=options.licence,
        training_data=f"unknown: the user's file {Path(file.where).name}",
        metrics={},
    )
