"""GPU times of the table: their steps on the CPU, with the graph's recording replaced, and how they are shown."""

from __future__ import annotations

import copy
import dataclasses

import pytest

from bodycast.hmr.networks.registry import find
from evaluation import gpu_times, model_times
from evaluation.model_times_table import GpuTimes, Machine, Record, Timing, format_document, load_record, save_record
from tests.networks.registry_cases import IMAGE_HW, TINY

GPU = Machine(1000.0, 100.0, "Some GPU")


def tiny(name: str):
    spec = find(name)
    # A copy: halving must not reach the modules that other tests build their networks from.
    return dataclasses.replace(spec, arguments={**spec.arguments, **copy.deepcopy(TINY[name]), "image_hw": IMAGE_HW})


@pytest.mark.parametrize("name", ["swin-t-s2", "gmf-t-s2", "vmamba-t-s2", "hmr2-s-fast", "deformable-detr-r50"])
def test_networks_run_in_half_precision_at_both_batches(name):
    batches = []

    def record(call):
        outputs = call()
        batches.append(len(outputs[0]))
        assert not any(x.is_floating_point() and str(x.dtype) != "torch.float16" for x in outputs)
        return call

    times = gpu_times.time_gpu(tiny(name), 3, 0.01, GPU, device="cpu", record=record)
    assert times.failure is None and batches == [1, 16] and set(times.times) == {"1", "16"}


def test_what_cannot_be_captured_is_a_reason_in_the_table():
    def refuse(call):
        raise RuntimeError("operation not permitted\n when stream is capturing")

    times = gpu_times.time_gpu(tiny("swin-t-s2"), 3, 0.01, GPU, device="cpu", record=refuse)
    assert times == GpuTimes(GPU, {}, "operation not permitted when stream is capturing")


def test_the_machine_is_measured_with_the_same_recording():
    calls = []
    machine = gpu_times.measure_gpu("cpu", (32,), lambda call: calls.append(call) or call, 1 << 10)
    assert machine.gflops > 0 and machine.gbytes_s > 0 and len(calls) == 2


def test_times_are_kept_and_shown_beside_their_floors(tmp_path):
    record = Record("x", parameters_m=10, gmacs=1, io_mbytes=2.0)
    record.gpu = GpuTimes(GPU, {"1": Timing(4.0, 3.9, 7), "16": Timing(64.0, 63.0, 7)})
    save_record(tmp_path, record)
    assert load_record(tmp_path, "x") == record
    # 2 GFLOP at 1000 GFLOP/s; 10 M weights of two bytes are moved in a tenth of that.
    assert record.gpu_floor_ms(1) == (pytest.approx(2.0), "operations")
    assert record.gpu_floor_ms(16) == (pytest.approx(32.0), "operations")
    failed = Record("y", 1, 1, 1, gpu=GpuTimes(GPU, {}, "out of memory"))
    text = format_document([record, failed, Record("z", 1, 1, 1)], 2, 100, [])
    assert "| x | 2.000 | 4.000 (3.900) | 2.0 | 32.000 | 64.000 (63.000) | 2.0 | 250 |" in text
    assert "| y | - | out of memory | - |" in text and "Some GPU, fp16" in text and "No GPU was there" not in text
    assert "No GPU was there" in format_document([Record("z", 1, 1, 1)], 2, 100, [])


def test_a_gpu_that_is_there_is_used_once(monkeypatch, tmp_path):
    spec = tiny("swin-t-s2")
    timed = []

    def time_gpu(spec, runs, budget_s, machine):
        timed.append(spec.name)
        return GpuTimes(machine, {"1": Timing(1.0, 1.0, runs)})

    monkeypatch.setattr(model_times, "select", lambda names, kind: [spec])
    monkeypatch.setattr(model_times, "gpu_is_there", lambda: True)
    monkeypatch.setattr(gpu_times, "measure_gpu", lambda: GPU)
    monkeypatch.setattr(gpu_times, "time_gpu", time_gpu)
    arguments = ["--cache", str(tmp_path), "--only", "gpu", "--out", str(tmp_path / "t.md")]
    assert model_times.main(arguments) == 0 and model_times.main(arguments) == 0
    assert timed == ["swin-t-s2"] and "Some GPU" in (tmp_path / "t.md").read_text()
    assert model_times.main([*arguments, "--again"]) == 0 and len(timed) == 2


def test_asking_for_a_gpu_that_is_not_there_is_an_error(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(model_times, "select", lambda names, kind: [tiny("swin-t-s2")])
    monkeypatch.setattr(model_times, "gpu_is_there", lambda: False)
    assert model_times.main(["--cache", str(tmp_path), "--only", "gpu"]) == 2
    assert "no CUDA GPU here" in capsys.readouterr().err


@pytest.mark.gpu
def test_a_graph_replays_on_a_gpu():
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA GPU")
    for name in ("swin-t-s2", "hmr2-s-fast", "deformable-detr-r50", "vmamba-t-s2"):
        times = gpu_times.time_gpu(tiny(name), 3, 0.1, GPU)
        assert times.failure is None, (name, times.failure)
