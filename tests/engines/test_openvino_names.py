"""OpenVINO folds steps that do nothing; the output keeps the name that the package gives it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from bodycast.engines.registry import check_golden, open_engine
from tests.tiny_packages import affine_package, model_bytes

pytest.importorskip("openvino", reason="needs requirements/live.txt")


def test_an_output_behind_times_one_keeps_its_name(tmp_path: Path) -> None:
    vector = helper.make_tensor_value_info
    model = model_bytes(
        [
            helper.make_node("Mul", ["x", "two"], ["double"]),
            helper.make_node("Add", ["double", "one"], ["odd"]),
            helper.make_node("Mul", ["odd", "ones"], ["same"]),
            helper.make_node("Add", ["same", "zeros"], ["y"]),
            helper.make_node("ReduceSum", ["y", "axis"], ["z"], keepdims=0),
        ],
        [vector("x", TensorProto.FLOAT, ["N", 3])],
        [vector("y", TensorProto.FLOAT, ["N", 3]), vector("z", TensorProto.FLOAT, ["N"])],
        {
            "two": np.array(2, np.float32),
            "one": np.array(1, np.float32),
            "ones": np.ones(3, np.float32),
            "zeros": np.zeros(3, np.float32),
            "axis": np.array([1], np.int64),
        },
    )
    with open_engine(affine_package(tmp_path / "package", model), "openvino", "cpu") as engine:
        assert max(check_golden(engine).values()) < 1e-6
