"""The table of forward times: one tiny network through all its steps, resumed, and what it refuses."""

from __future__ import annotations

import dataclasses

import pytest

from bodycast.hmr.networks.registry import find
from evaluation import bench, bench_forward
from evaluation.bench_table import Machine, Record, Timing, load_record, save_record
from tests.networks.registry_cases import IMAGE_HW, TINY


@pytest.fixture
def tiny_spec(monkeypatch: pytest.MonkeyPatch):
    spec = find("cliff-r50")
    spec = dataclasses.replace(spec, arguments={**spec.arguments, **TINY["cliff-r50"], "image_hw": IMAGE_HW})
    monkeypatch.setattr(bench, "select", lambda names, kind: [spec])
    monkeypatch.setattr(bench_forward, "MATRIX_SIZES", (64,))
    monkeypatch.setattr(bench_forward, "STREAMED_FLOATS", 1 << 16)
    return spec


def test_a_network_is_exported_compared_timed_and_kept(tiny_spec, tmp_path, capsys):
    arguments = ["--cache", str(tmp_path / "cache"), "--threads", "1", "--runs", "3", "--budget", "0.1"]
    assert bench.main([*arguments, "--out", str(tmp_path / "times.md")]) == 0
    record = load_record(tmp_path / "cache", "cliff-r50")
    assert record.parity is not None and record.parity < 1e-4 and record.not_exported is None
    assert record.torch.least_ms <= record.torch.median_ms and record.onnxruntime.runs == 3
    assert record.machine.gflops > 0 and record.machine.gbytes_s > 0
    row = next(line for line in (tmp_path / "times.md").read_text().splitlines() if line.startswith("| cliff-r50 "))
    assert f"{record.torch.median_ms:.1f} ({record.torch.least_ms:.1f})" in row

    # A second run has nothing left to do; a graph that is off shows in the exit code.
    model = (tmp_path / "cache" / "cliff-r50.onnx").stat()
    assert bench.main([*arguments, "--only", "table"]) == 0
    assert row in capsys.readouterr().out
    assert load_record(tmp_path / "cache", "cliff-r50") == record
    assert (tmp_path / "cache" / "cliff-r50.onnx").stat().st_mtime_ns == model.st_mtime_ns
    record.parity = 1e-3
    save_record(tmp_path / "cache", record)
    assert bench.main([*arguments, "--only", "table"]) == 1


def test_an_export_that_takes_too_long_or_fails_is_a_reason_in_the_table(tiny_spec, tmp_path, capsys):
    arguments = ["--cache", str(tmp_path), "--only", "export"]
    assert bench.main([*arguments, "--export-limit", "0.001"]) == 0
    assert "given up after" in load_record(tmp_path, "cliff-r50").not_exported
    broken = dataclasses.replace(tiny_spec, arguments={**tiny_spec.arguments, "channels": 7})
    record = load_record(tmp_path, "cliff-r50")
    bench_forward.export_within(broken, record, tmp_path / "broken.onnx", 60)
    assert "mat1 and mat2" in record.not_exported and not (tmp_path / "broken.onnx").exists()


def test_the_floor_is_the_larger_of_operations_and_bytes():
    record = Record("x", parameters_m=10, gmacs=1, io_mbytes=0, machine=Machine(gflops=100, gbytes_s=1))
    assert record.floor_ms() == (pytest.approx(40.0), "bytes")
    record.machine = Machine(gflops=100, gbytes_s=10)
    assert record.floor_ms() == (pytest.approx(20.0), "operations")
    record.machine = None
    assert record.floor_ms() is None


def test_a_time_is_the_median_and_stops_at_its_budget():
    calls = []
    timing = bench_forward.time_calls(lambda: calls.append(0), runs=5, budget_s=1)
    assert timing.runs == 5 and len(calls) == 5 + bench_forward.WARM_UP
    assert isinstance(timing, Timing) and bench_forward.time_calls(lambda: None, 100, 0.0).runs == 3


def test_wrong_names_and_numbers_are_refused(tmp_path, capsys):
    assert bench.main(["resnext-*", "--cache", str(tmp_path)]) == 2
    assert "no registered network fits resnext-*" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        bench.main(["--threads", "0"])
