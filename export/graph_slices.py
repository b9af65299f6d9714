"""Parts of an ONNX graph that must stay exact: what leads from pixels to the first product, and from the last products
to the outputs and to decisions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import onnx

PRODUCTS = frozenset({"MatMul", "Gemm", "Conv", "ConvTranspose", "Einsum"})
"""Operators that cost: what lower precision is for."""

_DECISIONS = frozenset({"TopK", "ArgMax", "ArgMin", "NonMaxSuppression", "Greater", "GreaterOrEqual", "Less", "Equal"})
"""Operators whose answer jumps when two nearly equal numbers change places (token merging)."""


def tensor_types(model: onnx.ModelProto) -> dict[str, int]:
    """Element type of every tensor of the graph, initialisers included."""
    graph = onnx.shape_inference.infer_shapes(without_value_info(model), check_type=True, strict_mode=True).graph
    types = {value.name: value.type.tensor_type.elem_type for value in (*graph.input, *graph.value_info, *graph.output)}
    return types | {weight.name: weight.data_type for weight in graph.initializer}


def without_value_info(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy without the shapes of inner tensors. torch's exporter keeps those of before its own folding, where some
    weights were not transposed yet, and strict tools refuse the contradiction."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.value_info[:]
    return copy


def head_nodes(graph: onnx.GraphProto) -> set[int]:
    """Indices of the nodes between an output, or a decision, and the products that it comes from, those included."""
    producers = _producers(graph)
    start = [value.name for value in graph.output]
    start += [name for node in graph.node if node.op_type in _DECISIONS for name in node.input]
    found: set[int] = set()
    while start:
        index = producers.get(start.pop())
        if index is None or index in found:
            continue
        found.add(index)
        if graph.node[index].op_type not in PRODUCTS:
            start += graph.node[index].input
    return found


def decision_nodes(graph: onnx.GraphProto) -> set[int]:
    """Indices of all nodes that a decision depends on, products included: with them exact, no token changes sides."""
    producers = _producers(graph)
    start = [name for node in graph.node if node.op_type in _DECISIONS for name in node.input]
    found: set[int] = set()
    while start:
        index = producers.get(start.pop())
        if index is not None and index not in found:
            found.add(index)
            start += graph.node[index].input
    return found


def entry_nodes(graph: onnx.GraphProto) -> set[int]:
    """Indices of the nodes that work on an input before any product does: the normalisation of pixels."""
    reached = {value.name for value in graph.input}
    found: set[int] = set()
    for index, node in enumerate(graph.node):
        if node.op_type not in PRODUCTS and reached.intersection(node.input):
            found.add(index)
            reached.update(node.output)
    return found


def _producers(graph: onnx.GraphProto) -> dict[str, int]:
    return {name: index for index, node in enumerate(graph.node) for name in node.output if name}


def refuse_control_flow(graph: onnx.GraphProto, functions: Iterable[onnx.FunctionProto]) -> None:
    """Raise ValueError where a graph holds other graphs, which the passes here do not enter."""
    inner = [n.op_type for n in graph.node for a in n.attribute if a.type in (a.GRAPH, a.GRAPHS)]
    names = [*inner, *(function.name for function in functions)]
    if names:
        raise ValueError(f"this graph has {', '.join(sorted(set(names)))}: only flat graphs change their precision")


def half_name(name: str, taken: Mapping[str, object]) -> str:
    """A name for the fp16 twin of a tensor that no other tensor has."""
    candidate = f"{name}_half"
    while candidate in taken:
        candidate += "_"
    return candidate
