"""Small 2D-pose files with random weights, in the forms in which users have them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

HW = (64, 48)


class Trunk(nn.Module):
    """Pictures (N, 3, h, w) -> features (N, width, h/4, w/4) that depend on what is seen where."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, width, 7, stride=2, padding=3)
        self.second = nn.Conv2d(width, width, 5, stride=2, padding=2)

    def forward(self, images: Tensor) -> Tensor:
        return self.second(self.first(images).relu()).relu()


class SimccNet(nn.Module):
    """As RTMPose: a row of bins for x and one for y, two a pixel."""

    def __init__(self, keypoints: int) -> None:
        super().__init__()
        self.trunk, self.head = Trunk(), nn.Conv2d(16, keypoints, 3, padding=1)
        cells = HW[0] // 4 * (HW[1] // 4)
        self.x, self.y = nn.Linear(cells, 2 * HW[1], bias=False), nn.Linear(cells, 2 * HW[0], bias=False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.head(self.trunk(images)).flatten(2)
        return self.x(maps), self.y(maps)


class HeatmapNet(nn.Module):
    """As ViTPose: a heat map a keypoint at a quarter of the size, its peaks of the width that training gives them."""

    def __init__(self, keypoints: int) -> None:
        super().__init__()
        self.trunk, self.head = Trunk(), nn.Conv2d(16, keypoints, 1)
        self.blur = nn.AvgPool2d(3, stride=1, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        return self.blur(self.blur(self.head(self.trunk(images)))).sigmoid()


def torch_file(
    path: Path, net: nn.Module, outputs: list[str], *, batch: bool = True, half: bool = False, opset: int = 18
) -> Path:
    """Export a network as deployment tools do, its batch free or fixed at 1."""
    torch.manual_seed(0)
    for parameter in net.parameters():
        parameter.data = torch.randn_like(parameter) / max(parameter[0].numel(), 1) ** 0.5
    images = torch.zeros(2 if batch else 1, 3, *HW)
    if half:
        net, images = net.half(), images.half()
    shapes = {"images": {0: torch.export.Dim("batch", min=1, max=64)}} if batch else None
    with torch.no_grad():
        program = torch.onnx.export(
            net.eval(), (images,), dynamo=True, opset_version=opset, input_names=["images"], output_names=outputs,
            dynamic_shapes=shapes, external_data=False, verbose=False,
        )  # fmt: skip
    assert program is not None
    path.write_bytes(program.model_proto.SerializeToString())
    return path


def movenet_file(path: Path, *, element: int = TensorProto.INT32, side: int = 64, rows: int = 1) -> Path:
    """As MoveNet: one square NHWC picture, a batch of one written into its shapes, (1, 1, 17, 3) y, x, confidence."""
    generator = np.random.default_rng(0)
    weights = {
        "kernel": generator.normal(0, 0.02, (51, 3, 16, 16)).astype(np.float32),
        "mean": np.array(127.5, np.float32),
        "cells": np.array([rows, 51, (side // 16) ** 2], np.int64),
        "shape": np.array([rows, 1, 17, 3], np.int64),
        "mix": generator.normal(0, 0.3, ((side // 16) ** 2, 1)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Cast", ["input:0"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["pixels", "mean"], ["centred"]),
        helper.make_node("Transpose", ["centred"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "kernel"], ["maps"], strides=[16, 16]),
        helper.make_node("Reshape", ["maps", "cells"], ["flat"]),
        helper.make_node("MatMul", ["flat", "mix"], ["mixed"]),
        helper.make_node("Sigmoid", ["mixed"], ["shares"]),
        helper.make_node("Reshape", ["shares", "shape"], ["Identity:0"]),
    ]
    graph = helper.make_graph(
        nodes, "movenet",
        [helper.make_tensor_value_info("input:0", element, [rows, side, side, 3])],
        [helper.make_tensor_value_info("Identity:0", TensorProto.FLOAT, [rows, 1, 17, 3])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.save(model, path)
    return path


def fixed_answer(path: Path, answer: np.ndarray, side: int = 64, layout: str = "NCHW", name: str = "output0") -> Path:
    """A file that answers the same to everything, one picture at a time."""
    shape = [1, 3, side, side] if layout == "NCHW" else [1, side, side, 3]
    element = TensorProto.FLOAT if layout == "NCHW" else TensorProto.INT32
    nodes = [
        helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Add", ["answer", "nothing"], [name]),
    ]
    graph = helper.make_graph(
        nodes, "fixed",
        [helper.make_tensor_value_info("images", element, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, list(answer.shape))],
        [numpy_helper.from_array(answer.astype(np.float32), "answer"), numpy_helper.from_array(np.float32(0), "zero")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.save(model, path)
    return path


def yolo_pose(end_to_end: bool = False, task: str = "pose") -> Any:
    """A very small ultralytics network of one class, rescaled so that its features are lively and its scores spread."""
    from ultralytics import YOLO
    from ultralytics.nn import tasks

    convolutions = [[-1, 1, "Conv", [width, 3, 2]] for width in (16, 16, 32, 32, 32)]
    head = {"pose": ["nc", [17, 3]], "detect": ["nc"], "segment": ["nc", 8, 16]}[task]
    kind = {"pose": "Pose26" if end_to_end else "Pose", "detect": "Detect", "segment": "Segment"}[task]
    plan = {
        "nc": 1, "kpt_shape": [17, 3], "reg_max": 1 if end_to_end else 16, "end2end": end_to_end,
        "backbone": convolutions, "head": [[[2, 3, 4], 1, kind, head]],
    }  # fmt: skip
    torch.manual_seed(0)
    models = {"pose": tasks.PoseModel, "detect": tasks.DetectionModel, "segment": tasks.SegmentationModel}
    network = models[task](plan, verbose=False).eval()
    network.names = {0: "person"}
    rescale(network)
    yolo = YOLO(f"yolo11n{ {'pose': '-pose', 'segment': '-seg', 'detect': ''}[task] }.yaml", task=task)
    network.args, network.task = yolo.model.args, task
    yolo.model = network
    if end_to_end:
        network.model[-1].end2end = True
    return yolo


def rescale(network: nn.Module) -> None:
    """In a fresh network the signal dies out and all scores are alike."""

    def even(layer: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        spread = output.std().clamp(min=1e-6)
        layer.weight.data.div_(spread)
        return output / spread

    head: Any = network.model[-1]  # type: ignore[index]
    branches = [head.cv3, getattr(head, "one2one_cv3", None)]
    last = [branch[-1] for branch_list in branches if branch_list is not None for branch in branch_list]
    for layer in last:
        layer.bias.data.zero_()
    layers = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)] + last
    hooks = [layer.register_forward_hook(even) for layer in layers]
    with torch.no_grad():
        network(nn.functional.interpolate(torch.rand(2, 3, 16, 12), scale_factor=8))
    for hook in hooks:
        hook.remove()
