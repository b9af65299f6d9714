"""Turing (compute capability 7.5) under TensorRT for RTX: it has no fp32 matrix product, so those become fp16.

Measured on tensorrt-rtx 1.7: "Cannot compile operation ... for Turing (SM75): FP32 GEMM is not supported". Sums inside
a product stay fp32 in the hardware; inputs and result are rounded to fp16 (3 digits, at most 65504). What that does to
the outputs is measured on the package's golden input before a plan is built.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper

from bodycast.engines.errors import PlanError
from bodycast.engines.package import ModelPackage

NO_FP32_PRODUCTS = ("7.5",)
_PRODUCTS = ("MatMul", "Gemm", "Einsum")


@dataclass(frozen=True)
class TurnedGraph:
    """model: the graph. count: products that were turned. differences: from the golden outputs, largest, by name."""

    model: bytes
    count: int
    differences: dict[str, float]


def products_to_fp16(model: bytes, package: ModelPackage) -> TurnedGraph:
    """Every fp32 matrix product of the graph as fp16, with a cast before and after.

    Raises: PlanError where an output is then no number any more.
    """
    proto = onnx.shape_inference.infer_shapes(onnx.load_from_string(model))
    types = _element_types(proto.graph)
    nodes: list[onnx.NodeProto] = []
    count = 0
    for node in proto.graph.node:
        if node.op_type not in _PRODUCTS or types.get(node.output[0]) != TensorProto.FLOAT:
            nodes.append(node)
            continue
        count += 1
        nodes.extend(_in_fp16(node))
    if count == 0:
        return TurnedGraph(model, 0, {})
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    # Inferred with fp32 products; the library infers them again.
    del proto.graph.value_info[:]
    onnx.checker.check_model(proto)
    turned = proto.SerializeToString()
    return TurnedGraph(turned, count, _differences(turned, package))


def _element_types(graph: onnx.GraphProto) -> dict[str, int]:
    values = (*graph.value_info, *graph.input, *graph.output)
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    return types | {tensor.name: tensor.data_type for tensor in graph.initializer}


def _in_fp16(node: onnx.NodeProto) -> list[onnx.NodeProto]:
    output = node.output[0]
    casts: list[onnx.NodeProto] = []
    for index, name in enumerate(node.input):
        if name:
            half = f"{output}/fp16_input{index}"
            casts.append(helper.make_node("Cast", [name], [half], name=half, to=TensorProto.FLOAT16))
            node.input[index] = half
    node.output[0] = f"{output}/fp16"
    back = helper.make_node("Cast", [node.output[0]], [output], name=f"{output}/fp32", to=TensorProto.FLOAT)
    return [*casts, node, back]


def _differences(model: bytes, package: ModelPackage) -> dict[str, float]:
    import onnxruntime

    inputs, expected = package.golden()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    differences: dict[str, float] = {}
    for name, actual in zip(expected, session.run(list(expected), inputs), strict=True):
        difference = float(np.abs(actual.astype(np.float64) - expected[name].astype(np.float64)).max(initial=0.0))
        if not np.isfinite(difference):
            raise PlanError(
                f"{package.info.name}: with fp16 products, which compute capability {NO_FP32_PRODUCTS[0]} needs, "
                f"output {name!r} is no number any more; this network does not run there"
            )
        differences[name] = difference
    return differences
