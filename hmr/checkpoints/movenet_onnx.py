"""MoveNet's published numbers, read from its ONNX file into our network.

The graph's convolutions are taken in the order in which they run and put into our modules; nothing in the file is
executed. Source of the numbers: Google's MoveNet singlepose v4, Apache-2.0.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bodycast.hmr.checkpoints.loading import CheckpointMismatch
from bodycast.hmr.networks.move_net import MoveNet

SIZES: dict[int, tuple[float, int]] = {32: (1.0, 192), 56: (1.75, 256)}
"""Channels of the first convolution -> factor on all channels, side of the crop in pixels."""


def read_movenet(path: Path | str, into: MoveNet | None = None) -> MoveNet:
    """MoveNet lightning or thunder with the numbers of a published ONNX file; `into`: a network of another size, whose
    graph the file is.

    Raises: CheckpointMismatch, one line, where the file is no ONNX graph or not MoveNet's.
    """
    numbers = list(_convolutions(Path(path)))
    if into is not None:
        fill(into, numbers, str(path))
        return into.eval()
    first = numbers[0][0].shape[0] if numbers else 0
    if first not in SIZES:
        raise CheckpointMismatch(f"{path}: no MoveNet singlepose: its first convolution has {first} channels")
    width, side = SIZES[first]
    net = MoveNet(width, (side, side))
    fill(net, numbers, str(path))
    return net.eval()


def fill(net: MoveNet, numbers: list[tuple[Tensor, Tensor | None]], where: str) -> None:
    """Put weights and biases, in the order of the published graph, into `net`. Raises: CheckpointMismatch."""
    layers = list(in_published_order(net))
    if len(layers) != len(numbers):
        raise CheckpointMismatch(f"{where}: expected MoveNet's {len(layers)} convolutions, found {len(numbers)}")
    for index, (layer, (weight, bias)) in enumerate(zip(layers, numbers, strict=True)):
        if layer.weight.shape != weight.shape or (layer.bias is None) != (bias is None):
            raise CheckpointMismatch(
                f"{where}: convolution {index}: expected weights {tuple(layer.weight.shape)}, found "
                f"{tuple(weight.shape)}: no MoveNet of this size"
            )
        with torch.no_grad():
            layer.weight.copy_(weight)
            if layer.bias is not None and bias is not None:
                layer.bias.copy_(bias)


def in_published_order(net: MoveNet) -> Iterator[nn.Conv2d]:
    """Our convolutions in the order in which the published graph has them."""
    backbone, pyramid = net.backbone, net.pyramid
    parts: list[nn.Module] = [backbone.stem, backbone.first, backbone.stages]
    if backbone.last is not None:
        parts.append(backbone.last)
    parts.append(pyramid.top)
    for lateral, smooth in zip(pyramid.lateral, pyramid.smooth, strict=True):
        parts += [lateral, smooth]
    parts += [net.regression, net.offsets, net.heatmaps, net.centre]
    for part in parts:
        yield from (module for module in part.modules() if isinstance(module, nn.Conv2d))


def _convolutions(path: Path) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Weights and bias of every convolution, in the graph's order."""
    import onnx
    from onnx import numpy_helper

    try:
        graph = onnx.load(str(path), load_external_data=False).graph
    except OSError as error:
        raise CheckpointMismatch(f"{path}: cannot be read ({error.strerror})") from error
    except Exception as error:  # protobuf raises its own kinds
        raise CheckpointMismatch(f"{path}: not an ONNX file") from error
    stored = {tensor.name: tensor for tensor in graph.initializer}

    def numbers(name: str) -> Tensor:
        tensor = stored.get(name)
        if tensor is None or tensor.data_location == onnx.TensorProto.EXTERNAL:
            raise CheckpointMismatch(f"{path}: the weights {name[:60]!r} are not in the file")
        array: NDArray[np.float32] = np.array(numpy_helper.to_array(tensor), np.float32)
        return torch.from_numpy(array)

    for node in graph.node:
        if node.op_type == "Conv":
            yield numbers(node.input[1]), numbers(node.input[2]) if len(node.input) > 2 else None
