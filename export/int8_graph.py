"""int8 weights for the CPU: weights rounded once, one scale a column; activations rounded at run time.

Measured on swin-t-s2 (docs/export.md): this takes a third off ONNX Runtime's time at 1 mm of surface error. Static
quantisation of the activations is no faster and 8 to 30 mm off, since a few channels of a transformer's activations are
many times larger than the rest. Readouts, and what chooses tokens to merge, stay fp32.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx

from bodycast.export.graph_slices import decision_nodes, head_nodes, refuse_control_flow, without_value_info


def to_int8(model: onnx.ModelProto, exact_decisions: bool = False) -> onnx.ModelProto:
    """Products with a constant operand become int8. Raises ValueError where there is none, or for control flow.

    exact_decisions: not those that decide which tokens merge, the first blocks of the network.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    refuse_control_flow(model.graph, model.functions)
    clean = without_value_info(model)
    for index, node in enumerate(clean.graph.node):
        node.name = node.name or f"{node.op_type}_{index}"
    exact = head_nodes(clean.graph) | (decision_nodes(clean.graph) if exact_decisions else set())
    kept = [clean.graph.node[index].name for index in sorted(exact)]
    # ONNX Runtime accepts one scale a column of a matrix, not of a stack of matrices, and says so only when it runs.
    stacks = {weight.name for weight in clean.graph.initializer if len(weight.dims) > 2}
    kept += [node.name for node in clean.graph.node if node.op_type == "MatMul" and node.input[1] in stacks]
    with TemporaryDirectory() as folder, _quiet():
        source, target = Path(folder, "fp32.onnx"), Path(folder, "int8.onnx")
        onnx.save(onnx.shape_inference.infer_shapes(clean), source)
        quantize_dynamic(
            source,
            target,
            op_types_to_quantize=["MatMul", "Gemm"],
            per_channel=True,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=kept,
            # Products of two activations stay as they are: rounding both sides costs more than it saves.
            extra_options={"MatMulConstBOnly": True},
        )
        quantised = without_value_info(onnx.load(target))
    if not any(node.op_type == "MatMulInteger" for node in quantised.graph.node):
        raise ValueError("int8: the graph has no product with constant weights outside its head")
    del quantised.metadata_props[:]
    onnx.checker.check_model(quantised)
    return quantised


@contextmanager
def _quiet() -> Iterator[None]:
    """Hold back the advice to pre-process, which has been done."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
