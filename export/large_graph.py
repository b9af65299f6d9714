"""A graph whose large weights are kept beside it, since one protobuf holds 2 GB at most.

A ViT-H in fp32 is 2.4 to 2.9 GB. Passes work on the graph with its large weights as names, types and shapes only, and
on the weights as arrays; when it is written, they go into the graph where they fit (an fp16 ViT-H does), else into one
file beside it, `model.onnx.data`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from bodycast.engines.package import DATA_FILE, MODEL_FILE
from bodycast.export.errors import WorkError

LARGEST_FILE = 2**31 - 2**26
"""Bytes of weights that are put into one protobuf; the rest of its 2 GiB is for the nodes."""
_LARGE = 1024
"""Bytes from which a weight is kept beside a large graph: smaller ones may be shapes, which tools read."""
_ALIGNED = 4096
"""Weights start at multiples of it, so that engines can map the file."""

Array = NDArray[Any]


@dataclass(frozen=True)
class Graph:
    """proto: the graph; those of its initialisers that are named in `weights` have type and shape, and no data.
    weights: name -> array."""

    proto: onnx.ModelProto
    weights: Mapping[str, Array] = field(default_factory=dict)

    def array(self, weight: onnx.TensorProto) -> Array:
        """The numbers of an initialiser."""
        return self.weights[weight.name] if weight.name in self.weights else numpy_helper.to_array(weight)

    def serialised(self) -> bytes:
        """The graph as one protobuf. Raises: WorkError where its weights are beside it."""
        if self.weights:
            raise WorkError("this graph is too large for one file (2 GB)")
        return self.proto.SerializeToString()

    def check(self) -> None:
        """onnx's checker, with the weights that are beside the graph as inputs. Raises: onnx.checker.ValidationError"""
        if not self.weights:
            onnx.checker.check_model(self.proto)
            return
        light = onnx.ModelProto()
        light.CopyFrom(self.proto)
        inside = [weight for weight in light.graph.initializer if weight.name not in self.weights]
        beside = [weight for weight in light.graph.initializer if weight.name in self.weights]
        light.graph.input.extend(helper.make_tensor_value_info(w.name, w.data_type, list(w.dims)) for w in beside)
        kept = [_copied(weight) for weight in inside]
        del light.graph.initializer[:]
        light.graph.initializer.extend(kept)
        onnx.checker.check_model(light)


def placeholder(name: str, array: Array) -> onnx.TensorProto:
    """An initialiser of this type and shape whose data are elsewhere."""
    kind = helper.np_dtype_to_tensor_dtype(array.dtype)
    return TensorProto(name=name, data_type=kind, dims=array.shape, data_location=TensorProto.EXTERNAL)


def from_program(program: Any, limit: int = LARGEST_FILE) -> Graph:
    """The graph of a `torch.onnx.ONNXProgram`; large weights beside it where all of them are above `limit` bytes. Their
    arrays share the memory of torch's where the exporter did not change them."""
    import onnx_ir

    values = program.model.graph.initializers
    if sum(value.const_value.nbytes for value in values.values()) <= limit:
        return Graph(program.model_proto)
    weights: dict[str, Array] = {}
    for name, value in values.items():
        tensor = value.const_value
        if tensor.nbytes < _LARGE:
            continue
        weights[name] = tensor.numpy()
        value.const_value = onnx_ir.ExternalTensor(
            DATA_FILE, 0, tensor.nbytes, tensor.dtype, shape=tensor.shape, name=name
        )
    proto = program.model_proto
    for weight in proto.graph.initializer:
        if weight.name in weights:
            weight.CopyFrom(placeholder(weight.name, weights[weight.name]))
    return _folded(Graph(proto, weights))


def within(graph: Graph, limit: int = LARGEST_FILE) -> Graph:
    """The same graph with its weights inside where all of them are at most `limit` bytes, else beside it."""
    size = sum(array.nbytes for array in graph.weights.values())
    size += sum(len(weight.raw_data) for weight in graph.proto.graph.initializer)
    if (size <= limit) == (not graph.weights):
        return graph
    proto = onnx.ModelProto()
    proto.CopyFrom(graph.proto)
    weights: dict[str, Array] = {}
    for weight in proto.graph.initializer:
        if size <= limit and weight.name in graph.weights:
            array = np.ascontiguousarray(graph.weights[weight.name])
            weight.CopyFrom(numpy_helper.from_array(array, weight.name))
        elif size > limit and (weight.name in graph.weights or len(weight.raw_data) >= _LARGE):
            weights[weight.name] = graph.array(weight)
            weight.CopyFrom(placeholder(weight.name, weights[weight.name]))
    return Graph(proto, weights)


def save(graph: Graph, folder: Path) -> dict[str, Path]:
    """Write `model.onnx` and, where weights are beside it, `model.onnx.data`; gives file name -> path."""
    files = {MODEL_FILE: folder / MODEL_FILE}
    if not graph.weights:
        files[MODEL_FILE].write_bytes(graph.proto.SerializeToString())
        return files
    files[DATA_FILE] = folder / DATA_FILE
    proto = onnx.ModelProto()
    proto.CopyFrom(graph.proto)
    places = {weight.name: weight for weight in proto.graph.initializer}
    with files[DATA_FILE].open("wb") as file:
        for name, array in graph.weights.items():
            file.write(b"\0" * (-file.tell() % _ALIGNED))
            offset = file.tell()
            file.write(memoryview(np.ascontiguousarray(array)).cast("B"))
            del places[name].external_data[:]
            for key, value in (("location", DATA_FILE), ("offset", offset), ("length", array.nbytes)):
                places[name].external_data.add(key=key, value=str(value))
    files[MODEL_FILE].write_bytes(proto.SerializeToString())
    return files


@contextmanager
def openable(graph: Graph) -> Iterator[bytes | str]:
    """What ONNX Runtime opens: the graph's bytes, or the path of a temporary file where weights are beside it."""
    if not graph.weights:
        yield graph.proto.SerializeToString()
        return
    with TemporaryDirectory() as folder:
        yield str(save(graph, Path(folder))[MODEL_FILE])


def _folded(graph: Graph) -> Graph:
    """Without the transpositions of weights, which the exporter folds in small graphs only: engines would do them
    every time they load, in a second copy of all weights."""
    weights = dict(graph.weights)
    places = {weight.name: weight for weight in graph.proto.graph.initializer}
    nodes: list[onnx.NodeProto] = []
    for node in graph.proto.graph.node:
        if node.op_type != "Transpose" or node.input[0] not in weights:
            nodes.append(_copied(node))
            continue
        order = next((list(a.ints) for a in node.attribute if a.name == "perm"), None)
        weights[node.output[0]] = weights[node.input[0]].transpose(order)
        places[node.output[0]] = placeholder(node.output[0], weights[node.output[0]])
    used = set(_names(nodes)) | {value.name for value in graph.proto.graph.output}
    kept = [_copied(weight) for name, weight in places.items() if name in used]
    del graph.proto.graph.node[:]
    graph.proto.graph.node.extend(nodes)
    del graph.proto.graph.initializer[:]
    graph.proto.graph.initializer.extend(kept)
    return Graph(graph.proto, {name: array for name, array in weights.items() if name in used})


def _names(nodes: Iterable[onnx.NodeProto]) -> Iterator[str]:
    """All that nodes read, those of inner graphs included."""
    for node in nodes:
        yield from node.input
        for attribute in node.attribute:
            for inner in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
                yield from _names(inner.node)


def _copied(item: Any) -> Any:
    copy = type(item)()
    copy.CopyFrom(item)
    return copy
