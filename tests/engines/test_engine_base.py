"""Batch buckets and splitting, on an engine that records what reaches it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="tiny graphs are made with onnx (requirements/export.txt)")

from bodycast.engines.base import BATCH_BUCKETS, Engine, GraphTensor
from bodycast.engines.errors import EngineError
from bodycast.engines.package import Tensor, Tensors
from tests.tiny_packages import affine_package


class RecordingEngine(Engine):
    """Computes with numpy, pads to buckets, remembers batch sizes."""

    name = "recording"

    def __init__(self, folder: Path, wrong_rows: int = 0) -> None:
        super().__init__(affine_package(folder))
        self.batches: list[int] = []
        self.wrong_rows = wrong_rows
        self.closed = 0

    @property
    def batch_buckets(self) -> tuple[int, ...]:
        return BATCH_BUCKETS

    def _open(self) -> tuple[tuple[GraphTensor, ...], tuple[GraphTensor, ...]]:
        y, z = GraphTensor("y", "float32", ("b", 3)), GraphTensor("z", "float32", ("b",))
        return (GraphTensor("x", "float32", ("b", 3)),), (z, y)

    def _run(self, inputs: Mapping[str, Tensor]) -> Tensors:
        self.batches.append(len(inputs["x"]))
        y = 2 * inputs["x"] + 1
        return {"y": y, "z": y.sum(axis=1)[: len(y) - self.wrong_rows]}

    def _close(self) -> None:
        self.closed += 1


def test_every_bucket_is_warmed_up(tmp_path: Path) -> None:
    with RecordingEngine(tmp_path / "p") as engine:
        assert engine.batches == list(BATCH_BUCKETS)


@pytest.mark.parametrize(
    ("rows", "expected"), [(1, [1]), (3, [4]), (9, [16]), (16, [16]), (21, [16, 8]), (32, [16, 16])]
)
def test_rows_are_padded_and_split(tmp_path: Path, rows: int, expected: list[int]) -> None:
    with RecordingEngine(tmp_path / "p") as engine:
        engine.batches.clear()
        x = np.arange(3 * rows, dtype=np.float32).reshape(rows, 3)
        outputs = engine.run({"x": x})
        assert engine.batches == expected
        np.testing.assert_array_equal(outputs["y"], 2 * x + 1)
        np.testing.assert_array_equal(outputs["z"], (2 * x + 1).sum(axis=1))


def test_a_graph_that_loses_rows_is_caught_and_closed(tmp_path: Path) -> None:
    engine = RecordingEngine(tmp_path / "p", wrong_rows=1)
    with pytest.raises(EngineError, match=r"expected z float32 \(N,\) for N = 1, the graph gave float32 \(0,\)"):
        engine.open()
    assert engine.closed == 1 and not engine.is_open
