"""The GPU bench, tried on the CPU at toy size: times, floors, errors, and merged against plain."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs requirements/export.txt")
pytest.importorskip("onnxscript", reason="needs requirements/export.txt")

from torch import Tensor, nn

from bodycast.app.presets import preset_defaults
from bodycast.engines.devices import cuda_devices
from bodycast.export.exportable import Exportable, exportable
from evaluation import bench, bench_gpu, bench_gpu_frames
from evaluation.bench_gpu import GpuReport, GpuTime, speedups, table
from evaluation.bench_gpu_frames import FrameTime, frame_times

DECODER = {"width": 32, "depth": 1, "heads": 2, "head_width": 8, "mlp_width": 16}
TOY = ("swin-t-s2", {"image_hw": (32, 32), "decoder": DECODER})
FLAT = ("camerahmr-fov", {"width": 4, "hidden": 8, "image_hw": (64, 64), "modules": (1, 1, 1)})
"""With `Flat` in the network's place, which is exported in a tenth of the time."""
ROW = GpuTime("plain", "torch eager fp16", 1, 4.0, 4.5, 1.0, "pve_worst_mm", 0.01)


class Flat(nn.Module):
    """One layer: pictures (N, H, W, 3) uint8 -> (N,)."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 1)

    def forward(self, images: Tensor) -> tuple[Tensor]:
        """See the class."""
        return (self.layer(images.to(self.layer.weight.dtype).mean(dim=(1, 2)) / 255)[:, 0],)


def flat_exportable(net: nn.Module) -> Exportable:
    """What the bench measures for `FLAT`."""
    return replace(exportable(net), module=Flat().eval())


def frames_then_fail(device: str, engines: object, people: list[int], repeats: int, failed: dict[str, str]) -> object:
    assert (device, people, repeats) == ("cpu", [1, 2, 6, 10], 2)
    failed["frames on tensorrt"] = "no plan"
    return [FrameTime("onnxruntime", "gpu", 6, 4.0, 5.0, "on the GPU")]


def test_what_is_beyond_its_tolerance_is_marked_and_not_counted() -> None:
    times = [replace(ROW, method="torch eager fp32"), ROW, replace(ROW, network="merged", within=False)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench_gpu, "MERGED", {"merged": "plain"})
        assert bench_gpu.ladder(times) == {}
        times.append(replace(ROW, network="merged", least_ms=1.0))
        assert bench_gpu.ladder(times)["merged"]["batch 1"]["times as fast"] == 4.0
    assert "BEYOND its tolerance" in table(GpuReport("a card", {"torch": "2"}, {}, times))


@pytest.mark.slow
def test_whole_frames_on_the_cpu_and_a_broken_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_gpu_frames, "preset_defaults", lambda _: preset_defaults("lite"))
    failed: dict[str, str] = {}
    times = frame_times("cpu", ("onnxruntime", "tensorrt"), (1, 2), 2, failed)
    assert [(row.engine, row.crops, row.people) for row in times] == [
        ("onnxruntime", "cpu", 1),
        ("onnxruntime", "cpu", 2),
    ]
    assert failed == {} and all(0 < row.least_ms <= row.median_ms and row.skinned == "on the CPU" for row in times)
    monkeypatch.setattr(bench_gpu_frames, "open_estimator", lambda *_: 1 / 0)
    assert frame_times("cpu", ("onnxruntime",), (1,), 2, failed) == []
    assert failed == {"frames on onnxruntime, crops on the cpu, 1 people": "division by zero"}


@pytest.mark.parametrize("toy", [FLAT, pytest.param(TOY, marks=pytest.mark.slow)])
def test_the_command_at_toy_size_on_the_cpu(
    toy: tuple[str, dict[str, object]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if toy == FLAT:
        monkeypatch.setattr(bench_gpu, "exportable", flat_exportable)
    monkeypatch.setattr(bench_gpu, "NETWORKS", {"toy": toy, "broken": ("swin-t-s2", {"stages": 9})})
    monkeypatch.setattr(bench_gpu, "WARM_UP", 1)
    out = tmp_path / "gpu.json"
    monkeypatch.setattr(bench_gpu, "MERGED", {"toy": "toy"})
    monkeypatch.setattr(bench_gpu, "frame_times", frames_then_fail)
    command = ["toy", "broken", "--gpu", "--device", "cpu", "--runs", "2", "--batches", "1", "2", "--json", str(out)]
    assert bench.main(command) == 0
    report = json.loads(out.read_text())
    methods = {(row["method"], row["batch"]) for row in report["times"]}
    expected = ("torch eager fp32", "torch eager fp16", "onnxruntime fp32", "onnxruntime fp16")
    assert methods == {(method, batch) for method in expected for batch in (1, 2)}
    assert list(report["failed"]) == ["broken", "frames on tensorrt"]
    assert report["ladder"]["toy"]["batch 2"]["times as fast"] > 0 and all(row["within"] for row in report["times"])
    for row in report["times"]:
        assert 0 < row["least_ms"] <= row["median_ms"] and row["floor_ms"] > 0
        assert row["error"] < (1e-3 if row["method"].endswith("fp32") else 1.0), row
    assert max(row["error"] for row in report["times"]) > 0
    shown = capsys.readouterr().out
    assert "| onnxruntime | gpu | 6 | 4.00 | 5.00 | 200.0 |" in shown and "plain fp32 ms" in shown
    assert "| toy | onnxruntime fp16 | 2 |" in shown and "not run: broken: " in shown


def test_no_failure_of_a_network_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it is: a protobuf that is too large, memory, a bug; one in the middle of a network too."""

    class EncodeError(Exception):
        pass

    raised = iter([EncodeError("Failed to serialize proto"), MemoryError(), KeyError("no such layer"), None])

    def failing(*arguments, **named):
        error = next(raised)
        if error is not None:
            raise error
        return flat_exportable(*arguments, **named)

    monkeypatch.setattr(bench_gpu, "exportable", failing)
    monkeypatch.setattr(bench_gpu, "NETWORKS", {f"toy {i}": FLAT for i in range(4)})
    monkeypatch.setattr(bench_gpu, "WARM_UP", 1)
    answers = bench_gpu.named
    monkeypatch.setattr(bench_gpu, "engine_methods", lambda *_: {})

    def broken(answered, names):
        found = answers(answered, names)
        if not calls:
            calls.append(1)
            raise ValueError("NaN in the answers")
        return found

    calls: list[int] = []
    monkeypatch.setattr(bench_gpu, "named", broken)
    out = tmp_path / "gpu.json"
    report = bench_gpu.run(list(bench_gpu.NETWORKS), [1], 2, "cpu", out)
    assert report.failed == {
        "toy 0": "Failed to serialize proto", "toy 1": "MemoryError", "toy 2": "'no such layer'",
        "toy 3, torch eager fp32, batch 1": "NaN in the answers",
    }  # fmt: skip
    assert [(row.network, row.method) for row in report.times] == [("toy 3", "torch eager fp16")]
    assert json.loads(out.read_text())["failed"] == report.failed


def test_merged_against_plain() -> None:
    times = [ROW, replace(ROW, network="merged", least_ms=1.6), replace(ROW, network="merged", batch=16)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench_gpu, "MERGED", {"merged": "plain"})
        found = speedups(times)
        assert found == {"merged": {"torch eager fp16, batch 1": 2.5}}
        report = GpuReport("a card", {"torch": "2"}, {"fp16": 4e14}, times, speedups=found)
        assert "- torch eager fp16, batch 1: 2.5" in table(report)


@pytest.mark.skipif(cuda_devices()[0] > 0, reason="this machine has a CUDA device")
def test_without_a_gpu_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main(["--gpu"]) == 2
    assert "no GPU" in capsys.readouterr().err
    assert bench.main(["unheard-of", "--gpu", "--device", "cpu"]) == 2
    assert "no network 'unheard-of'" in capsys.readouterr().err
