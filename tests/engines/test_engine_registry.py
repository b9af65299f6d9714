"""Engines by name and the automatic choice."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("onnx", reason="tiny graphs are made with onnx (requirements/export.txt)")

from bodycast.engines import choices, machine, registry
from bodycast.engines.base import Engine
from bodycast.engines.devices import CudaGpu, cuda_devices, usable_cores
from bodycast.engines.errors import EngineError, EngineUnavailableError, PackageError
from bodycast.engines.plans import expected_key, plan_folders, save_plan
from bodycast.engines.registry import ENGINES, open_engine
from tests.tiny_packages import affine_model, affine_package


def test_auto_on_the_cpu_says_why(tmp_path: Path) -> None:
    with open_engine(affine_package(tmp_path / "p"), "auto", "cpu") as engine:
        assert engine.name in ("onnxruntime", "openvino")
        assert "asked for the CPU" in engine.describe()
        if all(ENGINES[name].installed() for name in ("onnxruntime", "openvino")):
            assert "onnxruntime" in engine.reason and "openvino" in engine.reason and " ms" in engine.reason


def needs_two_engines() -> None:
    for name in ("onnxruntime", "openvino"):
        if not ENGINES[name].installed():
            pytest.skip(f"{name} is not installed")


def test_auto_takes_the_faster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs_two_engines()
    for slow, expected in (("openvino", "onnxruntime"), ("onnxruntime", "openvino")):
        monkeypatch.setenv("BODYCAST_CACHE", str(tmp_path / f"cache-{slow}"))
        monkeypatch.setattr(registry, "_time_ms", lambda engine, slow=slow: 9.0 if engine.name == slow else 1.0)
        with open_engine(affine_package(tmp_path / slow), "auto", "cpu") as engine:
            assert engine.name == expected


@pytest.mark.parametrize("able", [True, False])
def test_auto_takes_the_engine_that_can_open_the_graph(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, able: bool
) -> None:
    needs_two_engines()
    package = affine_package(tmp_path / "p")

    def refuse(engine: Engine) -> Engine:
        raise EngineError(f"{engine.name} cannot open it: an operator that it does not know")

    for name in ("openvino",) if able else ("onnxruntime", "openvino"):
        monkeypatch.setattr(ENGINES[name].load(), "open", refuse)
    if able:
        with open_engine(package, "auto", "cpu") as engine:
            assert engine.name == "onnxruntime" and "openvino cannot open it" in engine.reason
    else:
        with pytest.raises(EngineError, match="onnxruntime cannot open it"):
            open_engine(package, "auto", "cpu")


def counted_race(monkeypatch: pytest.MonkeyPatch, slow: str = "onnxruntime", free: float = 1.0) -> list[str]:
    timed: list[str] = []

    def time_ms(engine: Engine) -> float:
        timed.append(engine.name)
        return 9.0 if engine.name == slow else 1.0

    monkeypatch.setattr(registry, "_time_ms", time_ms)
    monkeypatch.setattr(registry, "free_share", lambda threads: free)
    return timed


def test_auto_measures_once_and_says_that_it_remembers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs_two_engines()
    timed = counted_race(monkeypatch)
    package = affine_package(tmp_path / "p")
    with open_engine(package, "auto", "cpu") as first:
        assert first.name == "openvino" and "timed here: " in first.reason
    assert timed == ["onnxruntime", "openvino"]
    with open_engine(package, "auto", "cpu") as second:
        assert second.name == "openvino"
        assert "timed here on 20" in second.reason and "onnxruntime 9.0 ms, openvino 1.0 ms" in second.reason
    assert len(timed) == 2


def test_auto_measures_again_where_the_machine_was_busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs_two_engines()
    timed = counted_race(monkeypatch, free=0.5)
    package = affine_package(tmp_path / "p")
    with open_engine(package, "auto", "cpu") as first:
        assert "with 50% of the CPU free: to be timed again" in first.reason
    monkeypatch.setattr(registry, "free_share", lambda threads: 0.97)
    with open_engine(package, "auto", "cpu") as second:
        assert "timed here: " in second.reason and "again" not in second.reason
    assert len(timed) == 4
    with open_engine(package, "auto", "cpu") as third:
        assert "timed here on 20" in third.reason
    assert len(timed) == 4, "measured on a free machine: remembered"


def test_how_much_of_the_cpu_is_free_is_cpu_time_over_wall_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = {"wall": 0.0, "cpu": 0.0}

    def tick() -> float:
        clock["wall"] += 0.01
        clock["cpu"] += 0.004  # the rest goes to somebody else
        return clock["wall"]

    monkeypatch.setattr(machine.time, "perf_counter", tick)
    monkeypatch.setattr(machine.time, "thread_time", lambda: clock["cpu"])
    assert machine.free_share(1) == pytest.approx(0.4, abs=0.1)


@pytest.mark.parametrize("change", ["threads", "graph", "version", "processor", "damaged", "gone"])
def test_auto_measures_again_where_anything_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user_cache: Path, change: str
) -> None:
    needs_two_engines()
    timed = counted_race(monkeypatch)
    package = affine_package(tmp_path / "p")
    open_engine(package, "auto", "cpu").close()
    (kept,) = (user_cache / "choices").iterdir()
    threads = None
    if change == "threads":
        threads = usable_cores() + 1
    elif change == "graph":
        package = affine_package(tmp_path / "q", model=affine_model() + b"\x12\x00")
    elif change == "version":
        monkeypatch.setattr(choices, "_version", lambda names: "another version")
    elif change == "processor":
        monkeypatch.setattr(choices, "cpu_name", lambda: "another processor")
    elif change == "damaged":
        kept.write_text('{"engine": 3')
    else:
        monkeypatch.setitem(ENGINES, "openvino", replace(ENGINES["openvino"], library="not_there"))
    open_engine(package, "auto", "cpu", threads=threads).close()
    assert len(timed) == (2 if change == "gone" else 4)


def test_on_cuda_plans_gpu_and_driver_count_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan that is built later, another card or a new driver: what was fastest need not be any more."""
    package = affine_package(tmp_path / "p")
    gpu = CudaGpu("NVIDIA Fake 4090", "8.9", 24 << 30, "13.0")
    monkeypatch.setattr(choices, "cuda_gpus", lambda: (gpu,))
    libraries = {"onnxruntime": ("onnxruntime-gpu", "onnxruntime"), "tensorrt-rtx": ("tensorrt-rtx-cu12",)}

    def measured_under() -> dict[str, object]:
        return choices.conditions(package, "cuda", 2, libraries)

    choices.remember(measured_under(), "onnxruntime", {"onnxruntime": 1.0})
    assert choices.recall(measured_under()) is not None
    save_plan(plan_folders(package)[1], expected_key(package, "tensorrt_rtx", "1.7.1", gpu), b"a plan")
    assert choices.recall(measured_under()) is None
    choices.remember(measured_under(), "tensorrt-rtx", {"tensorrt-rtx": 0.5})
    for changed in (replace(gpu, name="NVIDIA Fake 5090"), replace(gpu, driver="13.1")):
        monkeypatch.setattr(choices, "cuda_gpus", lambda changed=changed: (changed,))
        assert choices.recall(measured_under()) is None
    monkeypatch.setattr(choices, "cuda_gpus", lambda: (gpu,))
    found = choices.recall(measured_under())
    assert found is not None and found.engine == "tensorrt-rtx" and found.times_ms == {"tensorrt-rtx": 0.5}
    assert choices.recall({**measured_under(), "libraries": {"onnxruntime": "1.0"}}) is None


def test_a_cache_that_cannot_be_written_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs_two_engines()
    counted_race(monkeypatch)
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("BODYCAST_CACHE", str(tmp_path / "file"))
    with open_engine(affine_package(tmp_path / "p"), "auto", "cpu") as engine:
        assert engine.name == "openvino" and "not remembered: " in engine.reason


@pytest.mark.skipif(cuda_devices()[0] > 0, reason="this machine has a CUDA device")
def test_cuda_without_a_gpu_is_an_error_that_lists_what_is_there(tmp_path: Path) -> None:
    package = affine_package(tmp_path / "p")
    with pytest.raises(EngineUnavailableError, match=r"cuda:0 is not here: no NVIDIA driver .*--device cpu"):
        open_engine(package, "onnxruntime", "cuda")
    with open_engine(package, "auto", "auto") as engine:
        assert engine.device == "cpu" and "NVIDIA driver" in engine.reason


def test_unknown_names_list_the_known(tmp_path: Path) -> None:
    package = affine_package(tmp_path / "p")
    with pytest.raises(EngineUnavailableError, match="no engine 'onxruntime'; there are auto, onnxruntime"):
        open_engine(package, "onxruntime")
    with pytest.raises(EngineUnavailableError, match="no device 'gpu'; there are auto, cpu, cuda"):
        open_engine(package, device="gpu")
    with pytest.raises(
        EngineUnavailableError, match=r"openvino does not run on cuda; onnxruntime, tensorrt, .*torch can"
    ):
        open_engine(package, "openvino", "cuda")
    with pytest.raises(PackageError, match="no such model package"):
        open_engine(tmp_path / "absent")


def test_a_missing_library_names_its_requirements(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(
        EngineUnavailableError, match="'onnxruntime' is not installed: pip install -r requirements/live"
    ):
        open_engine(affine_package(tmp_path / "p"), "onnxruntime", "cpu")


def test_threads(tmp_path: Path) -> None:
    assert usable_cores() >= 1
    with open_engine(affine_package(tmp_path / "p"), "onnxruntime", "cpu", threads=1) as engine:
        assert engine.threads == 1


def test_importing_the_registry_imports_no_engine_library(repository: Path) -> None:
    code = (
        "import sys, bodycast.engines.registry, bodycast.engines.package_writer; "
        "print([m for m in ('onnxruntime', 'openvino', 'torch', 'onnx', 'cv2') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
