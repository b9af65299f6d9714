"""An fp16 graph whose types say what is computed in which precision; and fp32 graphs with fp16 weights on disk.

TensorRT from version 11 on has no precision flags, so precision stands in the graph: products and elementwise work in
fp16; norms, softmax, exponentials, sums and what leads to the outputs (with it 6D -> rotation) in fp32. An operator
that is not known to be safe stays fp32. Inputs and outputs keep their types.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from bodycast.export.graph_slices import (
    PRODUCTS,
    decision_nodes,
    entry_nodes,
    half_name,
    head_nodes,
    refuse_control_flow,
    tensor_types,
    without_value_info,
)
from bodycast.export.large_graph import Array, Graph, placeholder

HALF_MAX = float(np.finfo(np.float16).max)
HALF_SMALLEST = float(np.finfo(np.float16).smallest_normal)
_MOVES = frozenset(
    {
        "Concat",
        "DepthToSpace",
        "Expand",
        "Flatten",
        "Gather",
        "GatherElements",
        "GatherND",
        "Identity",
        "Pad",
        "Reshape",
    }
    | {"Slice", "SpaceToDepth", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze", "Where"}
)
_ELEMENTWISE = frozenset(
    {"Abs", "Add", "Clip", "Div", "Elu", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Max", "Min", "Mul", "Neg"}
    | {"PRelu", "Relu", "Sigmoid", "Sub", "Tanh"}
)
_POOLS = frozenset({"AveragePool", "GlobalAveragePool", "MaxPool"})
_HALF_OPERATORS = PRODUCTS | _MOVES | _ELEMENTWISE | _POOLS
_STORED_FROM = 1024
"""Smaller weights (norms, biases of a head) are not worth a Cast."""


def to_half(model: onnx.ModelProto, exact_decisions: bool = False) -> onnx.ModelProto:
    """`half_graph` of a graph with its weights inside."""
    return half_graph(Graph(model), exact_decisions).proto


def half_graph(graph: Graph, exact_decisions: bool = False) -> Graph:
    """The graph in mixed precision; see the module. exact_decisions: also everything that decides which tokens merge
    stays fp32, the first blocks of the network.

    Raises: ValueError for a graph with control flow.
    """
    refuse_control_flow(graph.proto.graph, graph.proto.functions)
    model = _constants_as_weights(without_value_info(graph.proto))
    exact = head_nodes(model.graph) | entry_nodes(model.graph)
    if exact_decisions:
        exact |= decision_nodes(model.graph)
    rewriter = _Rewriter(Graph(model, graph.weights))
    tiny = _tiny_constants(model.graph)
    for index, node in enumerate(model.graph.node):
        half = node.op_type in _HALF_OPERATORS and index not in exact and tiny.isdisjoint(node.input)
        rewriter.add(node, TensorProto.FLOAT16 if half else TensorProto.FLOAT)
    made = rewriter.finish()
    made.check()
    # Proof that every node got the types that it is defined for.
    tensor_types(made.proto)
    return made


def store_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """`stored_half` of a graph with its weights inside."""
    return stored_half(Graph(model)).proto


def stored_half(source: Graph) -> Graph:
    """The same graph with its large fp32 weights kept as fp16, each behind a Cast that engines fold when they load."""
    copy = onnx.ModelProto()
    copy.CopyFrom(source.proto)
    graph = copy.graph
    taken = {weight.name: None for weight in graph.initializer}
    casts: list[onnx.NodeProto] = []
    weights = dict(source.weights)
    for weight in graph.initializer:
        if weight.data_type != TensorProto.FLOAT or int(np.prod(weight.dims)) < _STORED_FROM:
            continue
        name = weight.name
        stored = half_name(name, taken)
        weight.CopyFrom(_half_weight(source, weight, stored, weights))
        weights.pop(name, None)
        casts.append(helper.make_node("Cast", [stored], [name], name=f"{name}_cast", to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    made = Graph(copy, weights)
    made.check()
    return made


class _Rewriter:
    """Puts the nodes one by one into a new list, with casts where the type of a tensor changes."""

    def __init__(self, source: Graph) -> None:
        model = self._model = source.proto
        self._source = source
        self._arrays = dict(source.weights)
        self._types = tensor_types(model)
        self._weights = {weight.name: weight for weight in model.graph.initializer}
        # What each float tensor is in the new graph; weights may be both.
        self._now = {name: TensorProto.FLOAT for name, kind in self._types.items() if kind == TensorProto.FLOAT}
        self._twins: dict[tuple[str, int], str] = {}
        self._nodes: list[onnx.NodeProto] = []
        self._half_weights: dict[str, onnx.TensorProto] = {}

    def add(self, node: onnx.NodeProto, kind: int) -> None:
        """Append a copy of `node` that computes its float tensors in `kind`."""
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        for position, name in enumerate(copy.input):
            if name in self._now and self._now[name] != kind:
                copy.input[position] = self._twin(name, kind)
        for name in copy.output:
            if self._types.get(name) == TensorProto.FLOAT:
                self._now[name] = kind
        self._nodes.append(copy)

    def _twin(self, name: str, kind: int) -> str:
        """The tensor in the other type: a converted weight, or a cast that later users share."""
        if (name, kind) not in self._twins:
            twin = half_name(name, self._types) if kind == TensorProto.FLOAT16 else f"{name}_single"
            self._twins[name, kind] = twin
            if name in self._weights:
                self._half_weights[twin] = _half_weight(self._source, self._weights[name], twin, self._arrays)
            else:
                self._nodes.append(helper.make_node("Cast", [name], [twin], name=f"{twin}_cast", to=kind))
        return self._twins[name, kind]

    def finish(self) -> Graph:
        """The new model, without the fp32 weights that nobody reads any more."""
        graph = self._model.graph
        del graph.node[:]
        graph.node.extend(self._nodes)
        used = {name for node in self._nodes for name in node.input}
        kept = [weight for weight in graph.initializer if weight.name in used]
        del graph.initializer[:]
        graph.initializer.extend([*kept, *self._half_weights.values()])
        return Graph(self._model, {name: array for name, array in self._arrays.items() if name in used})


def _tiny_constants(graph: onnx.GraphProto) -> set[str]:
    """Single numbers that fp16 would round to zero or nearly: the 1e-12 that keeps a division from failing."""
    return {
        weight.name
        for weight in graph.initializer
        if weight.data_type == TensorProto.FLOAT
        and int(np.prod(weight.dims)) == 1
        and 0 < abs(float(numpy_helper.to_array(weight).item())) < HALF_SMALLEST
    }


def _half_weight(source: Graph, weight: onnx.TensorProto, name: str, beside: dict[str, Array]) -> onnx.TensorProto:
    """Rounded to fp16; attention masks of -1e9 and the like become its largest number, not infinity. A weight that is
    kept beside the graph goes into `beside`."""
    values = source.array(weight)
    finite = np.where(np.isfinite(values), np.clip(values, -HALF_MAX, HALF_MAX), values).astype(np.float16)
    if weight.name not in source.weights:
        return numpy_helper.from_array(finite, name)
    beside[name] = finite
    return placeholder(name, finite)


def _constants_as_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Constant nodes become initialisers, so that there is one kind of constant."""
    graph = model.graph
    left: list[onnx.NodeProto] = []
    for node in graph.node:
        value = next((a.t for a in node.attribute if a.name == "value"), None)
        if node.op_type != "Constant" or value is None:
            left.append(node)
            continue
        weight = onnx.TensorProto()
        weight.CopyFrom(value)
        weight.name = node.output[0]
        graph.initializer.append(weight)
    copies = [_copied(node) for node in left]
    del graph.node[:]
    graph.node.extend(copies)
    return model


def _copied(node: onnx.NodeProto) -> onnx.NodeProto:
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    return copy
