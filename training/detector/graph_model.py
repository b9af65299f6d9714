"""Runs the TensorFlow.js graph models that public npm packages hold (`NAME.json` and its `.bin` files), with torch.

Only for making training data: a few operators, float32, eager. Operators and their attributes are TensorFlow's
(tensorflow.org/api_docs/python/tf/raw_ops); tensors keep TensorFlow's order of axes.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

Node = dict[str, Any]


class GraphModelError(ValueError):
    """A graph model that cannot be read or run; one line."""


class GraphModel:
    """A graph model's function: `model(images)` gives the outputs by name.

    The graph is followed from the outputs to the one placeholder, so unused nodes cost nothing.
    """

    def __init__(self, file: Path) -> None:
        """file: the model's `.json`. Raises: GraphModelError."""
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            nodes = content["modelTopology"]["node"]
            self.constants = {k: torch.from_numpy(v) for k, v in _weights(file.parent, content["weightsManifest"])}
            outputs = content["signature"]["outputs"]
        except (OSError, KeyError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise GraphModelError(f"{file}: no TensorFlow.js graph model ({error!r})") from error
        self.outputs = [name.partition(":")[0] for name in outputs]
        self.order = _needed(nodes, self.outputs, self.constants)
        unknown = sorted({node["op"] for node in self.order} - set(_OPERATORS) - {"Placeholder"})
        if unknown:
            raise GraphModelError(f"{file}: operators that are not known here: {', '.join(unknown)}")

    @torch.no_grad()
    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """images: what the placeholder takes. Returns the signature's outputs by name."""
        values: dict[str, tuple[Tensor, ...]] = {name: (value,) for name, value in self.constants.items()}
        for node in self.order:
            if node["op"] == "Placeholder":
                values[node["name"]] = (images,)
                continue
            inputs = [values[name][port] for name, port in map(_source, node["input"])]
            result = _OPERATORS[node["op"]](node.get("attr", {}), *inputs)
            values[node["name"]] = result if isinstance(result, tuple) else (result,)
        return {name: values[name][0] for name in self.outputs}


def _source(name: str) -> tuple[str, int]:
    """Name of the node and number of its output."""
    node, _, port = name.partition(":")
    return node, int(port or 0)


def _needed(nodes: list[Node], outputs: list[str], constants: dict[str, Tensor]) -> list[Node]:
    """The nodes behind `outputs`, inputs first."""
    by_name, order, seen = {node["name"]: node for node in nodes}, [], set(constants)
    waiting = list(outputs)
    while waiting:
        name = waiting[-1]
        if name in seen:
            waiting.pop()
            continue
        if name not in by_name:
            raise GraphModelError(f"the graph has no node {name!r}")
        missing = [source for source, _ in map(_source, by_name[name].get("input", ())) if source not in seen]
        if missing:
            waiting.extend(missing)
            continue
        order.append(by_name[name])
        seen.add(name)
        waiting.pop()
    return order


def _weights(folder: Path, manifest: list[dict[str, Any]]) -> list[tuple[str, NDArray[Any]]]:
    """Names and arrays of all groups of a weights manifest; float16 storage becomes float32."""
    out = []
    for group in manifest:
        data, at = b"".join((folder / path).read_bytes() for path in group["paths"]), 0
        for entry in group["weights"]:
            kind, stored = entry["dtype"], entry.get("quantization", {}).get("dtype", entry["dtype"])
            if kind not in ("float32", "int32") or stored not in ("float32", "float16", "int32"):
                raise GraphModelError(f"{entry['name']}: weights of {kind} stored as {stored} are not known here")
            count = int(np.prod(entry["shape"], dtype=np.int64))
            array = np.frombuffer(data, np.dtype(stored), count, at) if count else np.zeros(0, stored)
            at += array.nbytes
            out.append((entry["name"], array.astype(kind).reshape(entry["shape"])))
    return out


def _strides(attributes: Node) -> tuple[int, int]:
    _, down, right, _ = attributes["strides"]["list"]["i"]
    return int(down), int(right)


def _needs_valid(attributes: Node) -> None:
    padding = base64.b64decode(attributes["padding"]["s"]).decode()
    if padding != "VALID":
        raise GraphModelError(f"padding {padding} is not known here")


def _convolution(attributes: Node, maps: Tensor, kernel: Tensor) -> Tensor:
    _needs_valid(attributes)
    out = F.conv2d(maps.permute(0, 3, 1, 2), kernel.permute(3, 2, 0, 1), stride=_strides(attributes))
    return out.permute(0, 2, 3, 1)


def _max_pool(attributes: Node, maps: Tensor) -> Tensor:
    _needs_valid(attributes)
    _, height, width, _ = (int(side) for side in attributes["ksize"]["list"]["i"])
    return F.max_pool2d(maps.permute(0, 3, 1, 2), (height, width), _strides(attributes)).permute(0, 2, 3, 1)


def _padded(_: Node, value: Tensor, amounts: Tensor, fill: Tensor | None = None) -> Tensor:
    flat = [int(side) for pair in reversed(amounts.tolist()) for side in pair]
    return F.pad(value, flat, value=0.0 if fill is None else float(fill))


def _resized(attributes: Node, maps: Tensor, size: Tensor) -> Tensor:
    if not attributes.get("half_pixel_centers", {}).get("b"):
        raise GraphModelError("resizing without half-pixel centres is not known here")
    wanted = [int(side) for side in size]
    return F.interpolate(maps.permute(0, 3, 1, 2), wanted, mode="bilinear").permute(0, 2, 3, 1)


def _dense(_: Node, places: Tensor, shape: Tensor, values: Tensor, fill: Tensor) -> Tensor:
    out = torch.full([int(side) for side in shape], fill.item(), dtype=fill.dtype)
    for place, value in zip(places, values, strict=True):
        out[tuple(place)] = value
    return out


_OPERATORS: dict[str, Callable[..., Tensor | tuple[Tensor, ...]]] = {
    "Add": lambda _, a, b: a + b,
    "AddV2": lambda _, a, b: a + b,
    "ConcatV2": lambda _, *values: torch.cat(values[:-1], int(values[-1])),
    "Conv2D": _convolution,
    "Identity": lambda _, value: value,
    "LeakyRelu": lambda attributes, value: F.leaky_relu(value, attributes["alpha"]["f"]),
    "MaxPool": _max_pool,
    "Pad": _padded,
    "PadV2": _padded,
    "Reshape": lambda _, value, shape: value.reshape([int(side) for side in shape]),
    "ResizeBilinear": _resized,
    "Sigmoid": lambda _, value: value.sigmoid(),
    "SparseToDense": _dense,
    "SplitV": lambda _, value, sizes, axis: value.split([int(s) for s in sizes], int(axis)),
    "Transpose": lambda _, value, order: value.permute(*(int(axis) for axis in order)),
}
