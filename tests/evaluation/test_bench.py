"""The benchmark: what it counts is right, what it prints is there, what it cannot measure it says."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="needs requirements/export.txt")

from onnx import TensorProto, helper  # noqa: E402

from evaluation import bench, bench_engines, bench_pipeline  # noqa: E402
from evaluation.bench_engines import EngineTime  # noqa: E402
from evaluation.bench_floor import graph_cost, machine_rate  # noqa: E402
from tests.tiny_packages import hmr_package, model_bytes  # noqa: E402


def test_products_and_convolutions_are_counted(tmp_path: Path) -> None:
    vector = helper.make_tensor_value_info
    nodes = [
        helper.make_node("Conv", ["x", "kernel"], ["maps"], strides=[2, 2]),  # (1, 4, 4, 3) of 3 x 2 x 2
        helper.make_node("Flatten", ["maps"], ["flat"]),  # 48
        helper.make_node("Gemm", ["flat", "w"], ["hidden"], transB=1),  # 5
        helper.make_node("MatMul", ["hidden", "w2"], ["y"]),  # 7
    ]
    weights = {
        "kernel": np.zeros((4, 3, 2, 2), np.float32),
        "w": np.zeros((5, 48), np.float32),
        "w2": np.zeros((5, 7), np.float32),
    }
    path = tmp_path / "model.onnx"
    path.write_bytes(
        model_bytes(
            nodes,
            [vector("x", TensorProto.FLOAT, ["N", 3, 8, 6])],
            [vector("y", TensorProto.FLOAT, ["N", 7])],
            weights,
        )
    )
    cost = graph_cost(path)
    assert cost.macs == 4 * 4 * 3 * 12 + 48 * 5 + 5 * 7
    assert cost.parameters == 48 + 240 + 35


def test_sizes_that_are_computed_on_the_way_are_counted(tmp_path: Path) -> None:
    """How many rows Compress keeps is known when the graph runs, not before."""
    vector = helper.make_tensor_value_info
    nodes = [
        helper.make_node("Concat", ["x", "x", "x"], ["three"], axis=0),
        helper.make_node("Compress", ["three", "keep"], ["two"], axis=0),
        helper.make_node("MatMul", ["two", "w"], ["rows"]),
        helper.make_node("ReduceMax", ["rows", "axes"], ["y"], keepdims=1),
    ]
    weights = {"w": np.zeros((5, 7), np.float32), "keep": np.array([True, False, True]), "axes": np.array([0])}
    inputs, outputs = [vector("x", TensorProto.FLOAT, ["N", 5])], [vector("y", TensorProto.FLOAT, ["N", 7])]
    path = tmp_path / "model.onnx"
    path.write_bytes(model_bytes(nodes, inputs, outputs, weights))
    assert graph_cost(path).macs == 2 * 5 * 7


@pytest.mark.parametrize("kind", ["fp32", "int8"])
def test_the_machine_has_a_rate(kind: str) -> None:
    rate = machine_rate(kind, threads=1)
    assert rate is not None and 1e8 < rate < 1e13


def test_engines_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_engines, "in_own_process", bench_engines.measure)
    folder = hmr_package(tmp_path / "tiny", (64, 48)).folder
    out = tmp_path / "times.json"
    arguments = [
        "--engine",
        "onnxruntime",
        "--batches",
        "1",
        "3",
        "--repeats",
        "3",
        "--threads",
        "1",
        "--no-pipeline",
        "--json",
        str(out),
    ]
    assert bench.main([str(folder), *arguments]) == 0
    assert "tiny-hmr" in capsys.readouterr().out
    rows = json.loads(out.read_text())["engines"]
    assert [row["batch"] for row in rows] == [1, 3]
    assert all(0 < row["least_ms"] <= row["median_ms"] <= row["p95_ms"] for row in rows)
    assert all(row["error"] is None for row in rows), "a package without a parity report has no error to show"


def row(package: str, engine: str, least_ms: float, error: float | None) -> EngineTime:
    return EngineTime(
        package, "fp32", engine, "cpu", 1, least_ms, 2.0, 3.0, 10**9, "fp32", 2e12, 80.0, 3_000_000, "pve_mm", error
    )


def test_the_table_shows_the_ratio_to_the_floor(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    Console(width=140).print(bench.engine_table([row("a", "onnxruntime", 0.8, 0.02), row("b", "openvino", 1.0, None)]))
    shown = capsys.readouterr().out
    assert "1.60" in shown and "2.00" in shown and "0.02 mm" in shown


def test_the_floor_is_that_of_the_best_rate_in_a_run() -> None:
    slow, quick = row("a", "onnxruntime", 1, None), replace(row("b", "openvino", 1, None), rate=4e12)
    other = replace(slow, arithmetic="bf16", rate=9e12)
    floors = [each.floor_ms for each in bench_engines.with_best_rates([slow, quick, other])]
    assert floors == pytest.approx([0.25, 0.25, 1e3 / 9e3])


def test_the_picture_is_drawn_and_needs_errors(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs requirements/train.txt")
    from evaluation.bench_picture import draw

    assert "2 packages" in draw([row("a", "onnxruntime", 1, 0.02), row("b", "openvino", 2, 0.0)], tmp_path / "p.png")
    picture = cv2.imread(str(tmp_path / "p.png"))
    assert picture is not None and picture.std() > 10
    with pytest.raises(ValueError, match="parity report"):
        draw([row("a", "onnxruntime", 1, None)], tmp_path / "q.png")


def test_people_stand_side_by_side(tmp_path: Path) -> None:
    clip = bench_pipeline.side_by_side(bench_pipeline.DEMO, tmp_path / "clip.mp4", people=2, frames=3)
    capture, source = cv2.VideoCapture(str(clip)), cv2.VideoCapture(str(bench_pipeline.DEMO))
    image, single = capture.read()[1], source.read()[1]
    assert image.shape == (single.shape[0], 2 * single.shape[1], 3)
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 3
    with pytest.raises(ValueError, match="no frame could be read"):
        bench_pipeline.side_by_side(tmp_path / "absent.mp4", tmp_path / "x.mp4", 1, 3)


def test_the_whole_pipeline(tmp_path: Path) -> None:
    package = hmr_package(tmp_path / "tiny", (64, 48))
    time = bench_pipeline.run(package.folder, "onnxruntime", bench_pipeline.DEMO, people=1, frames=4)
    assert time.frames == 4 and time.fps > 0 and {"frame", "draw", "wait"} <= set(time.stages)


def test_useless_requests_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        bench.main(["--batches", "0"])
    assert bench.main([str(tmp_path / "absent")]) == 2
    assert "no model package" in capsys.readouterr().err
    folder = str(hmr_package(tmp_path / "tiny", (64, 48)).folder)
    assert bench.main([folder, "--json", str(tmp_path / "no" / "times.json")]) == 2
    assert "nothing was measured" in capsys.readouterr().err
