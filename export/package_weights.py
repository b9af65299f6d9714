"""From a package back to the torch network whose weights it holds: to train it further, or to learn from it.

A graph keeps the weights, but not all under their names: the exporter transposes matrices, spreads tables and folds
what never changes. The same network with numbers that mark their places is exported again; where a mark turns up, the
package's graph has the weight that stands there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper
from torch import nn

from bodycast.engines.package import ModelPackage
from bodycast.export.errors import WorkError
from bodycast.export.exportable import Exportable, exportable
from bodycast.export.network_package import GOLDEN_ROWS, TOLERANCES
from bodycast.export.onnx_graph import ParityError, check_parity, to_onnx
from bodycast.hmr.networks import registry

_PROBES = 8
_ROUNDING = 10
"""What the exporter had folded was rounded in its folded form."""
_PLACES = 1 << 22
"""So many numbers in [1, 2) mark places; fp32 tells them apart."""


@dataclass(frozen=True)
class PackageWeights:
    """net: in eval mode, with the package's weights. left: parameters that its graph does not hold (what only training
    reads), as the network was built."""

    net: nn.Module
    left: tuple[str, ...]

    def checkpoint(self, package: ModelPackage) -> dict[str, Any]:
        """What `bodycast.export.checkpoint` and `training` read."""
        info = package.info
        return {
            "model": info.architecture,
            "arguments": dict(info.arguments),
            "state_dict": self.net.state_dict(),
            "metrics": {k: v for k, v in info.metrics.items() if not k.startswith("onnx_difference_")},
            "training": info.training_data,
            "body": info.body,
        }


def package_weights(package: ModelPackage) -> PackageWeights:
    """The network of a package in torch.

    Raises: ValueError for a package whose architecture is not registered, or whose arithmetic is not fp32; WorkError
    where this version of torch exports the network otherwise, or the result does not answer as the package does.
    """
    info = package.info
    if info.precision != "fp32":
        raise ValueError(f"{info.name} computes in {info.precision}: weights are taken from fp32 packages")
    try:
        arguments = {key: tuple(v) if isinstance(v, list) else v for key, v in info.arguments.items()}
        net = registry.build(info.architecture, **arguments).eval()
    except (KeyError, TypeError) as error:
        raise ValueError(f"{info.name}: {error.args[0] if error.args else error}") from error
    own = dict(net.named_parameters())
    own |= {name: b for name, b in net.named_buffers() if name in net.state_dict() and b.is_floating_point()}
    kept = {name: tensor.detach().clone() for name, tensor in own.items()}
    names = {spec.name for spec in info.inputs}
    item = exportable(net, with_mask="masks" in names)
    _mark(own)
    marked, stored = _aligned(onnx.load_from_string(_exported(item)), onnx.load(str(package.model_path)))
    found = _gathered({name: tensor.detach().numpy() for name, tensor in own.items()}, marked, stored)
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(kept[name])
            if name in found:
                values, known = found[name]
                tensor.copy_(torch.where(torch.from_numpy(known), torch.from_numpy(values), tensor))
    _check(package, item)
    return PackageWeights(net, tuple(name for name in own if name not in found))


def _exported(item: Exportable) -> bytes:
    return to_onnx(item.module, item.examples(GOLDEN_ROWS), item.input_names, item.output_names)


@torch.no_grad()
def _mark(tensors: dict[str, torch.Tensor]) -> None:
    """Give every element a number that no other of its tensor has."""
    generator = np.random.default_rng(0)
    for tensor in tensors.values():
        if tensor.numel() > _PLACES:
            raise WorkError(f"a weight of {tuple(tensor.shape)} is too large to be found again")
        places = generator.choice(_PLACES, tensor.numel(), replace=False)
        tensor.copy_(torch.from_numpy((1 + places / _PLACES).astype(np.float32)).view(tensor.shape))


def _constants(model: onnx.ModelProto) -> dict[str, NDArray[np.float32]]:
    """Float constants of a graph by the names under which its nodes read them; those stored as fp16 widened."""
    graph = model.graph
    weights = {w.name: w for w in graph.initializer if w.data_type in (TensorProto.FLOAT, TensorProto.FLOAT16)}
    casts = {n.input[0]: n.output[0] for n in graph.node if n.op_type == "Cast" and n.input[0] in weights}
    return {casts.get(name, name): numpy_helper.to_array(w).astype(np.float32) for name, w in weights.items()}


def _aligned(
    ours: onnx.ModelProto, theirs: onnx.ModelProto
) -> tuple[dict[str, NDArray[np.float32]], dict[str, NDArray[np.float32]]]:
    """The constants of two graphs of one network, under the same keys.

    Weights that are equal, as those of fresh norms, are stored once: their names say nothing then, the nodes that read
    them do. Where the graphs have other nodes, names are all there is.
    """
    marked, stored = _constants(ours), _constants(theirs)
    first, second = _readers(ours), _readers(theirs)
    if [op for op, _ in first] != [op for op, _ in second]:
        return marked, stored
    pairs: tuple[dict[str, NDArray[np.float32]], dict[str, NDArray[np.float32]]] = {}, {}
    for index, ((_, inputs), (_, others)) in enumerate(zip(first, second, strict=True)):
        for slot, (name, other) in enumerate(zip(inputs, others, strict=False)):
            if name in marked and other in stored:
                pairs[0][f"{index}.{slot}"], pairs[1][f"{index}.{slot}"] = marked[name], stored[other]
    return pairs


def _readers(model: onnx.ModelProto) -> list[tuple[str, list[str]]]:
    """Operator and inputs of every node, but of casts that only widen stored weights."""
    weights = {w.name for w in model.graph.initializer}
    return [(n.op_type, list(n.input)) for n in model.graph.node if not (n.op_type == "Cast" and n.input[0] in weights)]


def _gathered(
    own: dict[str, NDArray[np.float32]],
    marked: dict[str, NDArray[np.float32]],
    stored: dict[str, NDArray[np.float32]],
) -> dict[str, tuple[NDArray[np.float32], NDArray[np.bool_]]]:
    """Parameter -> its values, and which of them were found, for those of which the graph has anything."""
    order = {name: np.argsort(array, axis=None) for name, array in own.items()}
    ranked = {name: array.ravel()[order[name]] for name, array in own.items()}
    found: dict[str, tuple[NDArray[np.float32], NDArray[np.bool_]]] = {}
    for constant, marks in marked.items():
        flat = marks.ravel()
        # Of its own size first: a few numbers may be among a million others by chance.
        likely = sorted(own, key=lambda name: own[name].size != flat.size)
        parameter = next((n for n in likely if _within(flat[:_PROBES], ranked[n]) and _within(flat, ranked[n])), None)
        if parameter is None:
            continue
        values = stored.get(constant)
        if values is None or values.shape != marks.shape:
            raise WorkError(
                f"{parameter}: the package's graph is not what this version of torch ({torch.__version__}) exports; "
                "take the version that made it"
            )
        into, known = found.setdefault(parameter, (np.zeros_like(own[parameter]), np.zeros(own[parameter].shape, bool)))
        at = order[parameter][np.searchsorted(ranked[parameter], flat)]
        into.reshape(-1)[at] = values.ravel()
        known.reshape(-1)[at] = True
    return found


def _within(values: NDArray[np.float32], ranked: NDArray[np.float32]) -> bool:
    """Whether all are among the sorted numbers."""
    at = np.minimum(np.searchsorted(ranked, values), ranked.size - 1)
    return bool(values.size) and bool((ranked[at] == values).all())


def _check(package: ModelPackage, item: Exportable) -> None:
    graph = package.model_path.read_bytes()
    batches = [item.examples(rows) for rows in (1, 3)]
    try:
        check_parity(graph, item.module, batches, item.output_names, _ROUNDING * TOLERANCES[item.task])
    except ParityError as error:
        raise WorkError(f"{package.info.name}: not all of its weights were found ({error})") from error
