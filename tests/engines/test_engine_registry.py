"""Engines by name and the automatic choice."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("onnx", reason="tiny graphs are made with onnx (requirements/export.txt)")

from engines import registry
from engines.devices import cuda_devices, usable_cores
from engines.errors import EngineUnavailableError, PackageError
from engines.registry import ENGINES, open_engine
from tests.tiny_packages import affine_package


def test_auto_on_the_cpu_says_why(tmp_path: Path) -> None:
    with open_engine(affine_package(tmp_path / "p"), "auto", "cpu") as engine:
        assert engine.name in ("onnxruntime", "openvino")
        assert "asked for the CPU" in engine.describe()
        if all(ENGINES[name].installed() for name in ("onnxruntime", "openvino")):
            assert "onnxruntime" in engine.reason and "openvino" in engine.reason and " ms" in engine.reason


def test_auto_takes_the_faster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not ENGINES["openvino"].installed():
        pytest.skip("openvino is not installed")
    for slow, expected in (("openvino", "onnxruntime"), ("onnxruntime", "openvino")):
        monkeypatch.setattr(registry, "_time_ms", lambda engine, slow=slow: 9.0 if engine.name == slow else 1.0)
        with open_engine(affine_package(tmp_path / slow), "auto", "cpu") as engine:
            assert engine.name == expected


@pytest.mark.skipif(cuda_devices()[0] > 0, reason="this machine has a CUDA device")
def test_cuda_without_a_gpu_is_an_error_that_lists_what_is_there(tmp_path: Path) -> None:
    package = affine_package(tmp_path / "p")
    with pytest.raises(EngineUnavailableError, match="CPUExecutionProvider"):
        open_engine(package, "onnxruntime", "cuda")
    with open_engine(package, "auto", "auto") as engine:
        assert engine.device == "cpu" and "NVIDIA driver" in engine.reason


def test_unknown_names_list_the_known(tmp_path: Path) -> None:
    package = affine_package(tmp_path / "p")
    with pytest.raises(EngineUnavailableError, match="no engine 'onxruntime'; there are auto, onnxruntime"):
        open_engine(package, "onxruntime")
    with pytest.raises(EngineUnavailableError, match="no device 'gpu'; there are auto, cpu, cuda"):
        open_engine(package, device="gpu")
    with pytest.raises(EngineUnavailableError, match="openvino does not run on cuda; onnxruntime can"):
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
        "import sys, engines.registry, engines.package_writer; "
        "print([m for m in ('onnxruntime', 'openvino', 'torch', 'onnx', 'cv2') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
