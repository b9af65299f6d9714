"""The floor of a network on a machine: its multiply-accumulates over the rate at which big matrices are multiplied.

No program that does these products can be faster, so time over floor says how much of an engine's time is its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from bodycast.engines.errors import EngineUnavailableError
from bodycast.engines.package import ModelPackage, PackageInfo, TensorSpec
from bodycast.engines.package_writer import write_package
from bodycast.engines.registry import open_engine

SIDE = 1024
"""A product of this size fits no small cache and hides every overhead."""

_PRODUCTS = ("MatMul", "MatMulInteger", "Gemm", "Conv", "ConvInteger", "ConvTranspose")
_ENGINES = {"fp32": ("onnxruntime", "openvino"), "bf16": ("openvino-bf16",), "int8": ("onnxruntime",)}
_RUNS = 25


@dataclass(frozen=True)
class GraphCost:
    """parameters: elements of all weights. macs: multiply-accumulates of one row in matrix products and convolutions,
    products of activations included."""

    parameters: int
    macs: int


def graph_cost(path: Path) -> GraphCost:
    """Count an ONNX graph at batch 1.

    Raises: ValueError naming a product whose shapes cannot be inferred.
    """
    model = onnx.load(path)
    del model.graph.value_info[:]
    for value in model.graph.input:
        value.type.tensor_type.shape.dim[0].dim_value = 1
    for value in model.graph.output:
        value.type.tensor_type.shape.dim[0].dim_value = 1
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    shapes = {weight.name: tuple(weight.dims) for weight in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        shapes[value.name] = tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
    wanted = {name for node in graph.node if node.op_type in _PRODUCTS for name in (*node.input[:2], node.output[0])}
    unknown = sorted(name for name in wanted if not shapes.get(name) or 0 in shapes[name])
    if unknown:  # sizes that are computed on the way, as a doubled batch's
        shapes |= _shapes_when_run(model, unknown)
    parameters = sum(int(np.prod(weight.dims)) for weight in graph.initializer)
    return GraphCost(parameters, sum(_macs(node, shapes) for node in graph.node))


def _shapes_when_run(model: onnx.ModelProto, names: list[str]) -> dict[str, tuple[int, ...]]:
    """Shapes of inner tensors in one run on zeros; none where an input's size is not fixed.

    Raises: ValueError where the graph does not run.
    """
    import onnxruntime as ort

    sizes = {value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in model.graph.input}
    if any(0 in dims for dims in sizes.values()):
        return {}
    model.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    inputs = {
        value.name: np.zeros(sizes[value.name], helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type))
        for value in model.graph.input
    }
    try:
        session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return {name: tensor.shape for name, tensor in zip(names, session.run(names, inputs), strict=True)}
    except Exception as error:  # ONNX Runtime's errors share no class of their own
        raise ValueError(f"the graph does not run: {str(error).splitlines()[0]}") from error


def _macs(node: onnx.NodeProto, shapes: Mapping[str, tuple[int, ...]]) -> int:
    if node.op_type not in _PRODUCTS:
        return 0
    a, b, out = (shapes.get(name, ()) for name in (node.input[0], node.input[1], node.output[0]))
    if not (a and b and out) or 0 in (*a, *b, *out):
        raise ValueError(f"the shapes of {node.op_type} {node.name or node.output[0]} cannot be inferred")
    if node.op_type == "ConvTranspose":
        return int(np.prod(a)) * int(np.prod(b[1:]))
    if node.op_type.startswith("Conv"):
        return int(np.prod(out)) * int(np.prod(b[1:]))
    transposed = any(x.name == "transA" and x.i for x in node.attribute)
    return int(np.prod(out)) * (a[0] if transposed else a[-1])


def arithmetic(package: ModelPackage, engine: str) -> str:
    """What a CPU engine multiplies in: fp32, bf16 or int8. An fp16 graph is computed in fp32 there."""
    if engine == "openvino-bf16":
        return "bf16"
    return "int8" if package.info.precision == "int8" else "fp32"


def machine_rate(kind: str, threads: int | None = None) -> float | None:
    """Multiply-accumulates a second on the CPU, the best of the engines that can; None where none can.

    kind: "fp32", "bf16" or "int8".
    """
    best = 0.0
    with TemporaryDirectory() as folder:
        package = _product_package(Path(folder) / "product", kind == "int8")
        for name in _ENGINES[kind]:
            try:
                engine = open_engine(package, name, "cpu", threads=threads)
            except EngineUnavailableError:
                continue
            with engine:
                inputs = {"x": np.ones((1, SIDE, SIDE), np.float32)}
                for _ in range(_RUNS):
                    start = perf_counter()
                    engine.run(inputs)
                    best = max(best, SIDE**3 / (perf_counter() - start))
    return best or None


def _product_package(out: Path, integer: bool) -> ModelPackage:
    """x (N, SIDE, SIDE) times a matrix, in fp32 or int8, and its sum over rows (reading it back costs nothing)."""
    weights = np.random.default_rng(0).normal(size=(SIDE, SIDE)).astype(np.float32)
    constants = {"axes": np.array([1, 2], np.int64)}
    if integer:
        constants |= {"w": np.clip(40 * weights, -127, 127).astype(np.int8), "w_zero": np.zeros((), np.int8)}
        nodes = [
            helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "scale", "zero"]),
            helper.make_node("MatMulInteger", ["q", "w", "zero", "w_zero"], ["sums"]),
            helper.make_node("Cast", ["sums"], ["float_sums"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["float_sums", "scale"], ["y"]),
        ]
    else:
        constants["w"] = weights
        nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    nodes.append(helper.make_node("ReduceMax", ["y", "axes"], ["top"], keepdims=0))
    graph = helper.make_graph(
        nodes,
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", SIDE, SIDE])],
        [helper.make_tensor_value_info("top", TensorProto.FLOAT, ["N"])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    info = PackageInfo(
        name="product",
        task="smoother",
        architecture="product",
        arguments={},
        inputs=(TensorSpec("x", "float32", ("N", SIDE, SIDE), "1", "a matrix"),),
        outputs=(TensorSpec("top", "float32", ("N",), "1", "largest entry of the product"),),
        normalisation="none",
        crop_rule="none",
        focal_convention="none",
        orientation_frame="none",
        body="none",
        joint_set="none",
        opset=20,
        precision="int8" if integer else "fp32",
        paper="none",
        licence="none",
        training_data="none",
        metrics={},
    )
    x = np.zeros((1, SIDE, SIDE), np.float32)
    return write_package(out, info, model.SerializeToString(), {"x": x}, {"top": np.zeros(1, np.float32)})
