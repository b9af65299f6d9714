"""Model packages with graphs of a few nodes, for tests of everything that opens a package. Needs `onnx`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from bodycast.engines.package import ModelPackage, PackageInfo, TensorSpec
from bodycast.engines.package_writer import write_package

OPSET = 18
TOKEN_WIDTH = 6


def model_bytes(
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    weights: dict[str, np.ndarray[Any, Any]] | None = None,
) -> bytes:
    """A checked, serialised graph."""
    constants = [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, constants)
    # IR 10 is what the oldest supported ONNX Runtime reads.
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def info(**changes: Any) -> PackageInfo:
    """Metadata of `affine_package`: y = 2 x + 1 on (N, 3), z = the row's sum (N,)."""
    base = PackageInfo(
        name="tiny",
        task="smoother",
        architecture="affine",
        arguments={"scale": 2},
        inputs=(TensorSpec("x", "float32", ("N", 3), "1", "numbers"),),
        outputs=(
            TensorSpec("y", "float32", ("N", 3), "1", "2 x + 1"),
            TensorSpec("z", "float32", ("N",), "1", "sum of the row of y"),
        ),
        normalisation="none",
        crop_rule="none",
        focal_convention="none",
        orientation_frame="none",
        body="none",
        joint_set="none",
        opset=OPSET,
        precision="fp32",
        paper="none",
        licence="MIT",
        training_data="none",
        metrics={"error": 0.5},
    )
    return replace(base, **changes)


def affine_model(output: str = "y", width: int = 3) -> bytes:
    """y = 2 x + 1, z = sum(y): the graph of `info()`; other names and widths make it disagree with it."""
    vector = helper.make_tensor_value_info
    return model_bytes(
        [
            helper.make_node("Mul", ["x", "two"], ["double"]),
            helper.make_node("Add", ["double", "one"], [output]),
            helper.make_node("ReduceSum", [output, "axis"], ["z"], keepdims=0),
        ],
        [vector("x", TensorProto.FLOAT, ["N", width])],
        [vector(output, TensorProto.FLOAT, ["N", width]), vector("z", TensorProto.FLOAT, ["N"])],
        {
            "two": np.array(2, np.float32),
            "one": np.array(1, np.float32),
            "axis": np.array([1], np.int64),
        },
    )


def affine_package(
    out: Path, model: bytes | None = None, further_files: dict[str, bytes] | None = None, **changes: Any
) -> ModelPackage:
    """`info(**changes)` around `affine_model()`, with its true golden values."""
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    y = 2 * x + 1
    golden = {"y": y, "z": y.sum(axis=1)}
    return write_package(out, info(**changes), model or affine_model(), {"x": x}, golden, further_files=further_files)


def affine_program(output: str = "y", width: int = 3) -> bytes:
    """The graph of `affine_model` as a torch program. Needs torch."""
    import torch

    from bodycast.export.torch_program import torch_program

    class Affine(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            y = 2 * x + 1
            return y, y.sum(dim=1)

    return torch_program(Affine(), [torch.zeros(2, width)], ["x"], [output, "z"])


def hmr_info(input_hw: tuple[int, int] = (256, 192), token_width: int = TOKEN_WIDTH, **changes: Any) -> PackageInfo:
    """Metadata that an estimator accepts."""
    outputs = (
        TensorSpec("pose", "float32", ("N", 24, 3, 3), "1", "rotations, root first"),
        TensorSpec("betas", "float32", ("N", 10), "1", "shape"),
        TensorSpec("camera", "float32", ("N", 3), "1", "weak perspective s, tx, ty"),
        TensorSpec("score", "float32", ("N",), "1", "a person is there"),
        TensorSpec("token", "float32", ("N", token_width), "1", "feature"),
    )
    base = info(
        name="tiny-hmr",
        task="hmr",
        architecture="constant",
        arguments={},
        inputs=(TensorSpec("crops", "uint8", ("N", *input_hw, 3), "1", "RGB crops"),),
        outputs=outputs,
        normalisation="in-graph",
        crop_rule="hmr2-square",
        focal_convention="weak-perspective-crop",
        orientation_frame="camera",
        body="bodycast-adult",
        joint_set="smpl-24",
    )
    return replace(base, **changes)


def hmr_package(
    out: Path,
    input_hw: tuple[int, int] = (256, 192),
    camera: tuple[float, float, float] = (0.9, 0.0, 0.0),
    with_box_info: bool = False,
    keypoints: np.ndarray[Any, Any] | None = None,
    with_masks: bool = False,
    **changes: Any,
) -> ModelPackage:
    """The rest pose for every crop. `camera` is what it answers; betas[:, 0] is the crop's mean red level / 255,
    so that tests can see which picture went in; score is 0.8. With box info, the token is that. keypoints (24, 3): a
    further output. With masks, betas[:, 0] is the masks' mean / 255 instead."""
    crops = np.zeros((2, *input_hw, 3), np.uint8)
    crops[1, ..., 0] = 255
    red = np.array([0.0, 1.0], np.float32)
    betas = np.concatenate([red[:, None], np.zeros((2, 9), np.float32)], axis=1)
    constants = {
        "pose": np.tile(np.eye(3, dtype=np.float32), (1, 24, 1, 1)),
        "camera": np.array([camera], np.float32),
        "score": np.full(1, 0.8, np.float32),
        "token": np.arange(TOKEN_WIDTH, dtype=np.float32)[None],
    }
    if keypoints is not None:
        constants["keypoints"] = keypoints.astype(np.float32)[None]
        seen = TensorSpec("keypoints", "float32", ("N", *keypoints.shape), "1", "where the joints are seen")
        changes["outputs"] = (*hmr_info(input_hw).outputs, seen)
    # A camera of NaN is what the graph answers, not what a package may promise.
    golden = {name: np.nan_to_num(value).repeat(2, axis=0) for name, value in constants.items()} | {"betas": betas}
    golden_inputs: dict[str, np.ndarray[Any, Any]] = {"crops": crops}
    if with_box_info:
        del constants["token"]
        golden_inputs["box_info"] = np.array([[0.1, 0.2, 0.3], [-0.1, 0.0, 0.5]], np.float32)
        golden["token"] = np.tile(golden_inputs["box_info"], (1, 2))
        box = TensorSpec("box_info", "float32", ("N", 3), "1", "centre and size of the box over the focal length")
        changes["inputs"] = (*hmr_info(input_hw).inputs, box)
    if with_masks:
        golden_inputs["masks"] = np.ascontiguousarray(crops[..., 0])
        masks = TensorSpec("masks", "uint8", ("N", *input_hw), "1", "non-zero where the person is")
        given = changes.get("inputs", hmr_info(input_hw).inputs)
        changes["inputs"] = (given[0], masks, *given[1:])
    model = _hmr_model(input_hw, constants, with_box_info, with_masks)
    return write_package(out, hmr_info(input_hw, **changes), model, golden_inputs, golden)


def _hmr_model(
    input_hw: tuple[int, int],
    constants: dict[str, np.ndarray[Any, Any]],
    with_box_info: bool,
    with_masks: bool = False,
) -> bytes:
    """Every constant, plus zero times the crop's mean so that it has N rows."""
    level = [helper.make_node("Gather", ["rgb", "red"], ["level"], axis=1)]
    if with_masks:
        level = [
            helper.make_node("Cast", ["masks"], ["covered"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMean", ["covered", "space"], ["share"], keepdims=0),
            helper.make_node("Reshape", ["share", "one_column"], ["level"]),
        ]
    nodes = [
        helper.make_node("Cast", ["crops"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels", "space"], ["rgb"], keepdims=0),
        *level,
        helper.make_node("Div", ["level", "white"], ["one_beta"]),
        helper.make_node("Mul", ["one_beta", "nothing"], ["zero"]),
        helper.make_node("Mul", ["zero", "ten_zeros"], ["zeros9"]),
        helper.make_node("Concat", ["one_beta", "zeros9"], ["betas"], axis=1),
    ]
    weights = {
        "space": np.array([1, 2], np.int64),
        "red": np.array([0], np.int64),
        "white": np.array(255, np.float32),
        "nothing": np.array(0, np.float32),
        "ten_zeros": np.zeros((1, 9), np.float32),
        "one_column": np.array([-1, 1], np.int64),
    }
    outputs = [helper.make_tensor_value_info("betas", TensorProto.FLOAT, ["N", 10])]
    for name, value in constants.items():
        weights[f"{name}_value"] = value
        weights[f"{name}_shape"] = np.array([-1, *[1] * (value.ndim - 1)], np.int64)
        nodes.append(helper.make_node("Reshape", ["zero", f"{name}_shape"], [f"{name}_zero"]))
        nodes.append(helper.make_node("Add", [f"{name}_zero", f"{name}_value"], [name]))
        outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *value.shape[1:]]))
    inputs = [helper.make_tensor_value_info("crops", TensorProto.UINT8, ["N", *input_hw, 3])]
    if with_masks:
        inputs.append(helper.make_tensor_value_info("masks", TensorProto.UINT8, ["N", *input_hw]))
    if with_box_info:
        inputs.append(helper.make_tensor_value_info("box_info", TensorProto.FLOAT, ["N", 3]))
        outputs.append(helper.make_tensor_value_info("token", TensorProto.FLOAT, ["N", TOKEN_WIDTH]))
        nodes.append(helper.make_node("Concat", ["box_info", "box_info"], ["token"], axis=1))
    return model_bytes(nodes, inputs, outputs, weights)


def detector_info(input_hw: tuple[int, int] = (64, 96), candidates: int = 3, **changes: Any) -> PackageInfo:
    """Metadata that a package detector accepts."""
    base = info(
        name="tiny-detector",
        task="detector",
        architecture="constant",
        arguments={},
        inputs=(TensorSpec("images", "uint8", ("N", *input_hw, 3), "1", "RGB, letterboxed"),),
        outputs=(
            TensorSpec("boxes", "float32", ("N", candidates, 4), "px", "xyxy in the letterboxed picture"),
            TensorSpec("scores", "float32", ("N", candidates), "1", "a person"),
        ),
        normalisation="in-graph",
        crop_rule="letterbox",
    )
    return replace(base, **changes)


def detector_package(
    out: Path, boxes: list[list[float]], scores: list[float], input_hw: tuple[int, int] = (64, 96), **changes: Any
) -> ModelPackage:
    """Answers every picture with these boxes; the scores are multiplied by the picture's largest value / 255, so
    that a black picture has nobody (its letterbox border apart: use the network's own aspect)."""
    values = {"boxes": np.array([boxes], np.float32), "scores": np.array([scores], np.float32)}
    nodes = [
        helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["pixels", "space"], ["peak"], keepdims=0),
        helper.make_node("Div", ["peak", "white"], ["level"]),
        helper.make_node("Reshape", ["level", "column"], ["light"]),
        helper.make_node("Mul", ["light", "nothing"], ["zero"]),
        helper.make_node("Mul", ["light", "scores_value"], ["scores"]),
        helper.make_node("Reshape", ["zero", "cube"], ["zero3"]),
        helper.make_node("Add", ["zero3", "boxes_value"], ["boxes"]),
    ]
    weights = {
        "space": np.array([1, 2, 3], np.int64),
        "white": np.array(255, np.float32),
        "nothing": np.array(0, np.float32),
        "column": np.array([-1, 1], np.int64),
        "cube": np.array([-1, 1, 1], np.int64),
        **{f"{name}_value": value for name, value in values.items()},
    }
    inputs = [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", *input_hw, 3])]
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *value.shape[1:]])
        for name, value in values.items()
    ]
    model = model_bytes(nodes, inputs, outputs, weights)
    images = np.full((1, *input_hw, 3), 255, np.uint8)
    return write_package(out, detector_info(input_hw, len(boxes), **changes), model, {"images": images}, values)


def constant_package(
    out: Path, inputs: dict[str, np.ndarray[Any, Any]], outputs: dict[str, np.ndarray[Any, Any]], base: PackageInfo
) -> ModelPackage:
    """Answers every row with the same `outputs` (1, ...); inputs (2, ...): golden ones, the first decides the batch."""
    first = next(iter(inputs))
    kinds = {"uint8": TensorProto.UINT8, "float32": TensorProto.FLOAT}
    rank = inputs[first].ndim
    nodes = [
        helper.make_node("Cast", [first], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["numbers", "others"], ["row"], keepdims=0),
        helper.make_node("Mul", ["row", "nothing"], ["zero"]),
    ]
    weights = {"others": np.arange(1, rank, dtype=np.int64), "nothing": np.array(0, np.float32)}
    specs = []
    for name, value in outputs.items():
        weights[f"{name}_value"] = value.astype(np.float32)
        weights[f"{name}_shape"] = np.array([-1, *[1] * (value.ndim - 1)], np.int64)
        nodes.append(helper.make_node("Reshape", ["zero", f"{name}_shape"], [f"{name}_zero"]))
        nodes.append(helper.make_node("Add", [f"{name}_zero", f"{name}_value"], [name]))
        specs.append(TensorSpec(name, "float32", ("N", *value.shape[1:]), "1", name))
    given = [
        helper.make_tensor_value_info(name, kinds[str(array.dtype)], ["N", *array.shape[1:]])
        for name, array in inputs.items()
    ]
    answered = [helper.make_tensor_value_info(spec.name, TensorProto.FLOAT, list(spec.shape)) for spec in specs]
    taken = tuple(
        TensorSpec(name, str(array.dtype), ("N", *array.shape[1:]), "1", name) for name, array in inputs.items()
    )
    golden = {name: np.nan_to_num(np.repeat(value, 2, axis=0)).astype(np.float32) for name, value in outputs.items()}
    model = model_bytes(nodes, given, answered, weights)
    return write_package(out, replace(base, inputs=taken, outputs=tuple(specs)), model, inputs, golden)


def pose_package(out: Path, keypoints: np.ndarray[Any, Any], side: int = 64, **changes: Any) -> ModelPackage:
    """Answers every padded crop with keypoints (K, 3)."""
    base = info(
        name="tiny-pose", task="pose", architecture="constant", arguments={}, normalisation="in-graph",
        crop_rule="padded", joint_set="coco-17",
    )  # fmt: skip
    crops = np.zeros((2, side, side, 3), np.uint8)
    return constant_package(out, {"crops": crops}, {"keypoints": keypoints[None]}, replace(base, **changes))


def fusion_package(
    out: Path,
    pose: np.ndarray[Any, Any] | None = None,
    camera: tuple[float, float, float] = (0.8, 0.0, 0.0),
    score: float = 0.9,
    with_body: bool = False,
    **changes: Any,
) -> ModelPackage:
    """Answers any keypoints with one body: `pose` (24, 3, 3), the rest pose where left out."""
    base = info(
        name="tiny-fusion", task="fusion", architecture="constant", arguments={}, crop_rule="padded",
        focal_convention="weak-perspective-crop", orientation_frame="crop-ray", body="bodycast-adult",
        joint_set="coco-17",
    )  # fmt: skip
    inputs = {"keypoints": np.full((2, 17, 3), 0.25, np.float32), "geometry": np.full((2, 3), 0.5, np.float32)}
    if with_body:
        inputs["body"] = np.zeros((2, 158), np.float32)
    rest = np.tile(np.eye(3, dtype=np.float32), (24, 1, 1)) if pose is None else pose
    outputs = {
        "pose": rest[None],
        "betas": np.zeros((1, 10), np.float32),
        "camera": np.array([camera], np.float32),
        "spread": np.full((1, 24), 0.05, np.float32),
        "score": np.array([score], np.float32),
    }
    return constant_package(out, inputs, outputs, replace(base, **changes))
