"""Lower precision on a small graph: which node works in what, what stays exact, what is refused."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from bodycast.export.graph_slices import entry_nodes, head_nodes
from bodycast.export.half_graph import HALF_MAX, store_half, to_half
from bodycast.export.int8_graph import to_int8
from tests.tiny_packages import model_bytes

WIDTH = 32


@pytest.fixture(scope="module")
def graph() -> onnx.ModelProto:
    """Pixels -> normalise -> product -> masked softmax -> product -> readout -> square root of the square."""
    generator = np.random.default_rng(0)
    weights = {name: generator.normal(0, 0.2, (WIDTH, WIDTH)).astype(np.float32) for name in ("w1", "w2", "w3")}
    mask = np.zeros(WIDTH, np.float32)
    mask[: WIDTH // 2] = -1e9
    nodes = [
        helper.make_node("Cast", ["pixels"], ["float_pixels"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["float_pixels", "scale"], ["x"]),
        helper.make_node("MatMul", ["x", "w1"], ["a"]),
        helper.make_node("Add", ["a", "mask"], ["b"]),
        helper.make_node("Softmax", ["b"], ["c"], axis=-1),
        helper.make_node("MatMul", ["c", "w2"], ["d"]),
        helper.make_node("Relu", ["d"], ["e"]),
        helper.make_node("MatMul", ["e", "w3"], ["f"]),
        helper.make_node("Mul", ["f", "f"], ["g"]),
        helper.make_node("Sqrt", ["g"], ["y"]),
    ]
    vector = helper.make_tensor_value_info
    model = model_bytes(
        nodes,
        [vector("pixels", TensorProto.UINT8, ["N", WIDTH])],
        [vector("y", TensorProto.FLOAT, ["N", WIDTH])],
        {**weights, "mask": mask, "scale": np.array(1 / 255, np.float32)},
    )
    return onnx.load_from_string(model)


def run(model: onnx.ModelProto) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    pixels = np.random.default_rng(1).integers(0, 256, (5, WIDTH), np.uint8)
    return session.run(None, {"pixels": pixels})[0]


def types(model: onnx.ModelProto) -> dict[str, int]:
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    return {value.name: value.type.tensor_type.elem_type for value in (*inferred.value_info, *inferred.output)}


def test_the_exact_parts_are_found(graph: onnx.ModelProto) -> None:
    names = [node.output[0] for node in graph.graph.node]
    assert {names[i] for i in entry_nodes(graph.graph)} == {"float_pixels", "x"}
    assert {names[i] for i in head_nodes(graph.graph)} == {"f", "g", "y"}


def test_half_keeps_softmax_head_and_entry_in_single(graph: onnx.ModelProto) -> None:
    half = to_half(graph)
    kinds = types(half)
    assert {name for name in "abde" if kinds[name] == TensorProto.FLOAT16} == set("abde")
    assert all(kinds[name] == TensorProto.FLOAT for name in ("x", "c", "f", "g", "y"))
    weights = {weight.name: weight for weight in half.graph.initializer}
    assert weights["w1_half"].data_type == TensorProto.FLOAT16 and "w1" not in weights
    assert weights["w3"].data_type == TensorProto.FLOAT
    assert numpy_helper.to_array(weights["mask_half"]).min() == -HALF_MAX
    difference = np.abs(run(half) - run(graph)).max()
    assert 0 < difference < 2e-3


def test_half_casts_a_tensor_once(graph: onnx.ModelProto) -> None:
    twice = onnx.ModelProto()
    twice.CopyFrom(graph)
    twice.graph.node.insert(4, helper.make_node("Exp", ["b"], ["unused"]))
    casts = [node for node in to_half(twice).graph.node if node.op_type == "Cast" and node.input[0] == "b"]
    assert len(casts) == 1


@pytest.fixture(scope="module")
def merging() -> onnx.ModelProto:
    """Pixels -> normalise -> product -> safe division -> product -> place of the largest -> gather -> two products."""
    generator = np.random.default_rng(0)
    weights = {name: generator.normal(0, 0.2, (WIDTH, WIDTH)).astype(np.float32) for name in ("w1", "w2", "w3", "w4")}
    nodes = [
        helper.make_node("Cast", ["pixels"], ["float_pixels"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["float_pixels", "scale"], ["x"]),
        helper.make_node("MatMul", ["x", "w1"], ["a"]),
        helper.make_node("Max", ["a", "tiny"], ["b"]),
        helper.make_node("Div", ["a", "b"], ["c"]),
        helper.make_node("MatMul", ["c", "w2"], ["similar"]),
        helper.make_node("ArgMax", ["similar"], ["place"], axis=1, keepdims=1),
        helper.make_node("GatherElements", ["a", "place"], ["picked"], axis=1),
        helper.make_node("Add", ["picked", "a"], ["d"]),
        helper.make_node("MatMul", ["d", "w3"], ["e"]),
        helper.make_node("Relu", ["e"], ["f"]),
        helper.make_node("MatMul", ["f", "w4"], ["y"]),
    ]
    vector = helper.make_tensor_value_info
    model = model_bytes(
        nodes,
        [vector("pixels", TensorProto.UINT8, ["N", WIDTH])],
        [vector("y", TensorProto.FLOAT, ["N", WIDTH])],
        {**weights, "scale": np.array(1 / 255, np.float32), "tiny": np.array(1e-12, np.float32)},
    )
    return onnx.load_from_string(model)


def test_what_keeps_a_division_from_failing_is_not_rounded_to_zero(merging: onnx.ModelProto) -> None:
    kinds = types(to_half(merging))
    assert kinds["b"] == TensorProto.FLOAT and kinds["a"] == kinds["e"] == TensorProto.FLOAT16
    assert np.isfinite(run(to_half(merging))).all()


def test_decisions_can_be_kept_exact(merging: onnx.ModelProto) -> None:
    kinds = types(to_half(merging))
    assert kinds["similar"] == TensorProto.FLOAT and kinds["a"] == TensorProto.FLOAT16
    exact = types(to_half(merging, exact_decisions=True))
    assert exact["a"] == exact["c"] == TensorProto.FLOAT and exact["e"] == TensorProto.FLOAT16
    counts = [
        Counter(node.op_type for node in to_int8(merging, exact).graph.node)["MatMulInteger"] for exact in (False, True)
    ]
    assert counts == [2, 1]


def test_stored_in_half_is_half_as_large(graph: onnx.ModelProto) -> None:
    stored = store_half(graph)
    assert stored.ByteSize() < 0.65 * graph.ByteSize()
    assert [value.type.tensor_type.elem_type for value in stored.graph.output] == [TensorProto.FLOAT]
    rounded = onnx.ModelProto()
    rounded.CopyFrom(graph)
    for weight in rounded.graph.initializer:
        if weight.name.startswith("w"):
            halved = numpy_helper.to_array(weight).astype(np.float16).astype(np.float32)
            weight.CopyFrom(numpy_helper.from_array(halved, weight.name))
    np.testing.assert_allclose(run(stored), run(rounded), atol=1e-6)


def test_int8_takes_the_products_before_the_head(graph: onnx.ModelProto) -> None:
    small = to_int8(graph)
    count = Counter(node.op_type for node in small.graph.node)
    assert count["MatMulInteger"] == 2 and count["MatMul"] == 1
    assert 0 < np.abs(run(small) - run(graph)).max() < 0.02


def test_int8_leaves_stacks_of_matrices_alone(graph: onnx.ModelProto) -> None:
    stacked = onnx.ModelProto()
    stacked.CopyFrom(graph)
    weights = {weight.name: weight for weight in stacked.graph.initializer}
    weights["w2"].CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weights["w2"])[None], "w2"))
    stacked.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, "N", WIDTH]))
    small = to_int8(stacked)
    assert Counter(node.op_type for node in small.graph.node)["MatMulInteger"] == 1
    assert 0 < np.abs(run(small) - run(stacked)).max() < 0.02


def test_what_cannot_be_converted_is_refused(graph: onnx.ModelProto) -> None:
    vector = helper.make_tensor_value_info
    branch = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["z"])], "branch", [], [vector("z", TensorProto.FLOAT, ["N", 3])]
    )
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["top"], keepdims=0),
        helper.make_node("Greater", ["top", "zero"], ["yes"]),
        helper.make_node("If", ["yes"], ["y"], then_branch=branch, else_branch=branch),
    ]
    outer = helper.make_graph(
        nodes,
        "outer",
        [vector("x", TensorProto.FLOAT, ["N", 3])],
        [vector("y", TensorProto.FLOAT, ["N", 3])],
        [numpy_helper.from_array(np.zeros((), np.float32), "zero")],
    )
    model = helper.make_model(outer, opset_imports=[helper.make_opsetid("", 18)])
    for convert in (to_half, to_int8):
        with pytest.raises(ValueError, match="only flat graphs"):
            convert(model)
    no_products = onnx.ModelProto()
    no_products.CopyFrom(graph)
    del no_products.graph.node[2:]
    no_products.graph.output[0].name = "x"
    with pytest.raises(ValueError, match="no product"):
        to_int8(no_products)
