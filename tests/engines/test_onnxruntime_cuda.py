"""ONNX Runtime's CUDA path up to the device: real graphs run by its CPU on the memory and stream of a driver that is
none. What CUDA itself does with them is tests/engines/test_cuda_engines.py's, on a GPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

pytest.importorskip("onnx", reason="tiny graphs are made with onnx (requirements/export.txt)")
if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
    pytest.skip("onnxruntime without CUDA", allow_module_level=True)

from bodycast.engines.cuda import onnx_session
from bodycast.engines.cuda.device import CudaDevice
from bodycast.engines.cuda.onnx_session import BoundRun, OnnxSession, cuda_providers
from bodycast.engines.cuda.tensors import DeviceTensor
from bodycast.engines.errors import EngineError, EngineUnavailableError
from bodycast.engines.onnxruntime_engine import OnnxRuntimeEngine
from bodycast.engines.package import ModelPackage
from bodycast.engines.registry import check_golden, open_engine
from tests.engines.fake_driver import FakeDriver, Status
from tests.tiny_packages import affine_package


@pytest.fixture
def package(tmp_path: Path) -> ModelPackage:
    return affine_package(tmp_path / "tiny")


@pytest.fixture
def opened(package: ModelPackage, ort_on_driver: FakeDriver) -> OnnxRuntimeEngine:
    engine = OnnxRuntimeEngine(package, "cuda:1", threads=1).open()
    yield engine
    engine.close()
    assert ort_on_driver.violations == [] and not any(ort_on_driver.held.values()), "left behind"


@pytest.mark.parametrize("rows", [1, 2, 3, 16, 37])
def test_any_number_of_rows(opened: OnnxRuntimeEngine, rows: int) -> None:
    x = np.random.default_rng(rows).normal(size=(rows, 3)).astype(np.float32)
    outputs = opened.run({"x": x})
    np.testing.assert_allclose(outputs["y"], 2 * x + 1, atol=1e-6)
    np.testing.assert_allclose(outputs["z"], (2 * x + 1).sum(axis=1), atol=1e-5)
    assert max(check_golden(opened).values()) < 1e-5


def test_buffers_are_made_when_it_opens_and_a_thousand_runs_need_no_more(
    opened: OnnxRuntimeEngine, ort_on_driver: FakeDriver
) -> None:
    held, before = ort_on_driver.held, len(ort_on_driver.calls)
    assert held["memory"] == held["pinned"] == 3 * len(opened.batch_buckets)
    for number in range(1000):
        assert opened.run({"x": np.full((1 + number % 5, 3), number, np.float32)})["y"][-1, 0] == 2 * number + 1
    assert ort_on_driver.held == held
    assert set(ort_on_driver.calls[before:]) == {
        "cuCtxSetCurrent", "cuMemcpyHtoDAsync", "cuMemcpyDtoHAsync", "cuStreamSynchronize",
    }  # fmt: skip


def test_a_tensor_on_the_device_is_not_uploaded(opened: OnnxRuntimeEngine, ort_on_driver: FakeDriver) -> None:
    cuda = opened.cuda
    assert cuda is not None
    x = cuda.host_array((3, 3), "float32")
    x[...] = np.arange(9).reshape(3, 3)
    tensor = DeviceTensor(cuda, cuda.allocate(x.nbytes), x.shape, x.dtype)
    cuda.upload(tensor.address, x)
    before = ort_on_driver.calls.count("cuMemcpyHtoDAsync")
    np.testing.assert_allclose(opened.run({"x": tensor})["y"], 2 * x + 1)
    assert ort_on_driver.calls.count("cuMemcpyHtoDAsync") == before
    other = CudaDevice(1)
    with pytest.raises(EngineError, match="x is on a GPU stream of another engine"):
        opened.run({"x": DeviceTensor(other, tensor.address, (3, 3), x.dtype)})
    other.close()


def test_outputs_are_the_callers_own(opened: OnnxRuntimeEngine) -> None:
    first = opened.run({"x": np.ones((2, 3), np.float32)})["y"]
    kept = first.copy()
    opened.run({"x": np.full((2, 3), 7, np.float32)})
    np.testing.assert_array_equal(first, kept)


def test_a_recording_that_fails_goes_on_without_graphs_and_says_why(
    package: ModelPackage, ort_on_driver: FakeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions: list[bool] = []
    bound, enqueue = OnnxSession.bound, BoundRun.enqueue

    def counted(self: OnnxSession, *arguments: object, **more: object) -> BoundRun:
        sessions.append(self.recorded)
        return bound(self, *arguments, **more)

    def breaking(self: BoundRun) -> None:
        if sessions[-1] and len(sessions) == 3:  # the third batch size is the first that cannot be recorded
            raise EngineError("operation not permitted when stream is capturing")
        enqueue(self)

    monkeypatch.setattr(OnnxSession, "bound", counted)
    monkeypatch.setattr(BoundRun, "enqueue", breaking)
    with OnnxRuntimeEngine(package, "cuda") as engine:
        assert sessions == [True, True, True, False, False, False] and not engine.uses_cuda_graphs
        assert engine.describe().endswith("no CUDA graphs: operation not permitted when stream is capturing")
        for rows in (1, 2, 4):
            np.testing.assert_allclose(engine.run({"x": np.ones((rows, 3), np.float32)})["y"], 3.0)
    assert ort_on_driver.violations == [] and not any(ort_on_driver.held.values())


def test_memory_that_is_not_to_be_had_leaves_nothing(package: ModelPackage, ort_on_driver: FakeDriver) -> None:
    for after in (0, 4, 14):
        ort_on_driver.fail("cuMemAlloc", Status.CUDA_ERROR_OUT_OF_MEMORY, after)
        with pytest.raises(EngineError, match="MB of memory on NVIDIA Fake 4090 are not free: close other") as caught:
            OnnxRuntimeEngine(package, "cuda").open()
        assert "\n" not in str(caught.value)
        assert not any(ort_on_driver.held.values())


def test_a_run_that_fails_names_the_engine_and_the_next_one_works(
    opened: OnnxRuntimeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(self: BoundRun) -> None:
        raise EngineError("CUDNN_STATUS_EXECUTION_FAILED")

    x = {"x": np.ones((2, 3), np.float32)}
    with monkeypatch.context() as patched, pytest.raises(EngineError, match=r"tiny on onnxruntime \(cuda:1\).*CUDNN"):
        patched.setattr(BoundRun, "enqueue", refuses)
        opened.run(x)
    np.testing.assert_allclose(opened.run(x)["y"], 3.0)


def test_cuda_that_does_not_start_is_an_error_and_never_the_cpu(
    package: ModelPackage, ort_on_driver: FakeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_session, "started_provider", lambda session: "CPUExecutionProvider")
    for device in ("cuda", "cuda:1"):
        with pytest.raises(EngineUnavailableError, match="onnxruntime did not start CUDAExecutionProvider, only CPU"):
            open_engine(package, "onnxruntime", device)
    assert not any(ort_on_driver.held.values())


def test_what_the_provider_is_asked_for(driver: FakeDriver) -> None:
    cuda = CudaDevice(1)
    (name, options), fallback = cuda_providers(cuda, recorded=True, tf32=False)
    assert (name, fallback) == ("CUDAExecutionProvider", "CPUExecutionProvider")
    assert options["device_id"] == "1" and options["user_compute_stream"] == str(cuda.stream)
    assert options["enable_cuda_graph"] == "1" and options["use_tf32"] == "0"
    cuda.close()
