"""Graphs that would read another file are refused before any library opens them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="tiny graphs are made with onnx (requirements/export.txt)")

import onnx
from onnx import TensorProto, helper, numpy_helper

from bodycast.engines.errors import PackageError
from bodycast.engines.onnx_file import check_onnx_file
from bodycast.engines.package import load_package
from tests.tiny_packages import affine_model, affine_package

OUTSIDE = "../../../../etc/passwd"


def outside_tensor() -> onnx.TensorProto:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=OUTSIDE)
    return tensor


def branch(weight: onnx.TensorProto) -> onnx.GraphProto:
    out = helper.make_tensor_value_info("b", TensorProto.FLOAT, [4])
    return helper.make_graph([helper.make_node("Identity", ["w"], ["b"])], "branch", [], [out], [weight])


def in_weights(model: onnx.ModelProto, tensor: onnx.TensorProto) -> None:
    model.graph.initializer.append(tensor)


def in_a_constant(model: onnx.ModelProto, tensor: onnx.TensorProto) -> None:
    model.graph.node.append(helper.make_node("Constant", [], ["c"], value=tensor))


def in_a_branch(model: onnx.ModelProto, tensor: onnx.TensorProto) -> None:
    model.graph.node.append(
        helper.make_node("If", ["yes"], ["i"], then_branch=branch(tensor), else_branch=branch(tensor))
    )


def in_a_function(model: onnx.ModelProto, tensor: onnx.TensorProto) -> None:
    node = helper.make_node("Constant", [], ["c"], value=tensor)
    model.functions.append(helper.make_function("ours", "f", [], ["c"], [node], [helper.make_opsetid("", 18)]))


def in_a_sparse_weight(model: onnx.ModelProto, tensor: onnx.TensorProto) -> None:
    places = numpy_helper.from_array(np.arange(4), "places")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(tensor, places, [9]))


PLACES = [in_weights, in_a_constant, in_a_branch, in_a_function, in_a_sparse_weight]


@pytest.mark.parametrize("put", PLACES, ids=lambda put: put.__name__)
def test_weights_elsewhere_are_found_wherever_they_are_named(tmp_path: Path, put: object) -> None:
    path = tmp_path / "model.onnx"
    for tensor, refused in ((numpy_helper.from_array(np.ones(4, np.float32), "w"), False), (outside_tensor(), True)):
        model = onnx.load_from_string(affine_model())
        put(model, tensor)
        path.write_bytes(model.SerializeToString())
        if refused:
            with pytest.raises(PackageError, match="weights in another file, which is not opened"):
                check_onnx_file(path)
        else:
            check_onnx_file(path)


def test_a_package_that_reads_outside_its_folder_is_never_opened(tmp_path: Path) -> None:
    model = onnx.load_from_string(affine_model())
    in_weights(model, outside_tensor())
    with pytest.raises(PackageError, match="another file"):
        affine_package(tmp_path / "p", model=model.SerializeToString())
    assert not (tmp_path / "p").exists()
    load_package(affine_package(tmp_path / "q").folder)


@pytest.mark.parametrize(
    "content", [b"", b"this is no graph", b"\x08\x0a", b"\x3a\xff\x01", b"\x3a" + b"\xff" * 12, b"\x38\x00", b"\x3b"]
)
def test_what_is_no_graph_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(PackageError, match=r"model\.onnx: cannot open it: not an ONNX graph"):
        check_onnx_file(path)


def test_a_graph_that_ends_early_is_refused(tmp_path: Path) -> None:
    whole = affine_model()
    path = tmp_path / "model.onnx"
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        try:
            onnx.load_from_string(whole[:length]).graph.node[0]
        except Exception:
            with pytest.raises(PackageError):
                check_onnx_file(path)


def varint(value: int, least: int = 1) -> bytes:
    """At least so many bytes, with empty ones at the end where fewer would do."""
    parts: list[int] = []
    while value or len(parts) < least:
        parts.append(value & 0x7F)
        value >>= 7
    return bytes([part | 0x80 for part in parts[:-1]] + parts[-1:])


@pytest.mark.parametrize("tag", [varint((7 << 3 | 2) + (1 << 33)), varint(7 << 3 | 2, least=6)], ids=["large", "long"])
def test_fields_that_readers_number_differently_are_refused(tmp_path: Path, tag: bytes) -> None:
    """A reader that keeps 32 bits of the number sees a second graph, whose weights lie elsewhere."""
    hidden = branch(outside_tensor()).SerializeToString()
    path = tmp_path / "model.onnx"
    path.write_bytes(affine_model() + tag + varint(len(hidden)) + hidden)
    with pytest.raises(PackageError, match="not an ONNX graph"):
        check_onnx_file(path)
