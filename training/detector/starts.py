"""Published numbers that the person detector can begin with: MoveNet's for MobileNetV2, NanoDet's for the CSPNet."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from bodycast.hmr.checkpoints.movenet_onnx import read_movenet
from bodycast.hmr.networks.encoders.csp_net import CspNet
from bodycast.hmr.networks.encoders.mobile_net_v2 import MobileNetV2
from bodycast.hmr.networks.person_detector import Backbone, PersonDetector
from training.detector.graph_model import GraphModel, GraphModelError

ORIGINS: dict[str, str] = {
    "mobilenet-v2": "MoveNet singlepose lightning v4 (Google, Apache-2.0)",
    "csp": "NanoDet-g 416 (RangiLyu, Apache-2.0)",
}


def detector(backbone: Backbone, start: Path | None, hw: tuple[int, int]) -> PersonDetector:
    """A detector for pictures of hw, its backbone and its pyramid's lateral layers as in the file `start`.

    start: MoveNet's .onnx for mobilenet-v2, NanoDet's .json (TensorFlow.js) for csp; None: random numbers.
    Raises: ValueError, GraphModelError or CheckpointMismatch where the file is none of these.
    """
    neck = 128 if backbone == "csp" else 64
    net = PersonDetector(hw, backbone, neck=neck)
    if start is None:
        return net
    if isinstance(net.backbone, MobileNetV2):
        teacher = read_movenet(start)
        net.backbone.load_state_dict(teacher.backbone.state_dict())
        # The pyramid's fine map has other channels there.
        for ours, theirs in ((2, teacher.pyramid.top), (1, teacher.pyramid.lateral[0])):
            net.lateral[ours].load_state_dict(theirs.state_dict())
    elif isinstance(net.backbone, CspNet):
        fill_csp(net.backbone, net.lateral, GraphModel(start))
    else:
        raise ValueError("--start is for the backbones mobilenet-v2 and csp")
    return net


@torch.no_grad()
def fill_csp(backbone: CspNet, lateral: nn.ModuleList, graph: GraphModel) -> None:
    """NanoDet-g's convolutions, in the graph's numbering, into ours. Raises: GraphModelError."""
    layers = [m for m in [*backbone.modules(), *lateral] if isinstance(m, nn.Conv2d)]
    numbers = _convolutions(graph)
    for index, layer in enumerate(layers):
        weight, bias = numbers[index]
        if layer.weight.shape != weight.shape or layer.bias is None:
            raise GraphModelError(
                f"convolution {index}: expected {tuple(layer.weight.shape)}, found {tuple(weight.shape)}: no NanoDet-g"
            )
        # NanoDet sees blue first.
        layer.weight.copy_(weight.flip(1) if index == 0 else weight)
        layer.bias.copy_(bias)


def _convolutions(graph: GraphModel) -> dict[int, tuple[Tensor, Tensor]]:
    """Weights (outputs, inputs, h, w) and biases by the number in a convolution's name."""
    out: dict[int, tuple[Tensor, Tensor]] = {}
    by_input = {node["input"][0]: node for node in graph.order if node["op"] == "Add"}
    for node in graph.order:
        if node["op"] != "Conv2D":
            continue
        number = int(node["name"].rpartition("_")[2]) if "_" in node["name"] else 0
        bias = by_input[node["name"]]["input"][1]
        out[number] = graph.constants[node["input"][1]].permute(3, 2, 0, 1), graph.constants[bias]
    return out
