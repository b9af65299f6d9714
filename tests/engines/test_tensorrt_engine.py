"""The TensorRT engine up to the device: which plan it takes, its buffers and recorded graphs, what it leaves behind."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx", reason="tiny graphs are made with onnx (requirements/export.txt)")

from bodycast.engines import tensorrt_engine
from bodycast.engines.devices import cuda_devices
from bodycast.engines.errors import EngineError, EngineUnavailableError, PackageError, PlanError
from bodycast.engines.package import ModelPackage
from bodycast.engines.plans import ANY_GPU, PlanKey, list_in_package, plan_folders, save_plan, this_platform
from bodycast.engines.registry import check_golden, open_engine
from bodycast.engines.tensorrt_engine import TensorRtEngine, TensorRtRtxEngine
from tests.engines.fake_tensorrt import GPU, VERSION, FakeCuda, FakePlan, FakeTrt
from tests.tiny_packages import affine_package


def key_for(package: ModelPackage, **changes: Any) -> PlanKey:
    base = PlanKey(
        library="tensorrt_rtx",
        version=VERSION,
        gpu=ANY_GPU,
        compute_capability=GPU.compute_capability,
        platform=this_platform(),
        graph=package.sha256,
        precision="fp32",
        shapes={"x": ((1, 3), (1, 3), (4, 3))},
    )
    return replace(base, **changes)


@pytest.fixture
def package(tmp_path: Path) -> ModelPackage:
    return affine_package(tmp_path / "tiny")


@pytest.fixture
def trt(monkeypatch: pytest.MonkeyPatch) -> FakeTrt:
    cuda = FakeCuda()
    module = FakeTrt(cuda)
    for name in ("tensorrt", "tensorrt_rtx"):
        monkeypatch.setitem(sys.modules, name, module)  # type: ignore[arg-type]
    monkeypatch.setattr(tensorrt_engine, "CudaDevice", lambda: cuda)
    return module


@pytest.fixture
def opened(package: ModelPackage, trt: FakeTrt) -> TensorRtRtxEngine:
    save_plan(plan_folders(package)[1], key_for(package), b"the plan")
    engine = TensorRtRtxEngine(package).open()
    yield engine
    engine.close()


@pytest.mark.parametrize("rows", [0, 1, 2, 3, 4, 5, 9])
def test_any_number_of_rows(opened: TensorRtRtxEngine, rows: int) -> None:
    x = np.random.default_rng(rows).normal(size=(rows, 3)).astype(np.float32)
    outputs = opened.run({"x": x})
    np.testing.assert_allclose(outputs["y"], 2 * x + 1, atol=1e-6)
    np.testing.assert_allclose(outputs["z"], (2 * x + 1).sum(axis=1), atol=1e-5)
    assert max(check_golden(opened).values()) < 1e-5


def test_one_recorded_graph_for_each_size_and_one_launch_a_run(opened: TensorRtRtxEngine, trt: FakeTrt) -> None:
    assert opened.batch_buckets == (1, 2, 4) and opened.uses_cuda_graphs
    assert trt.cuda.captures == 3 and trt.seen == [b"the plan"]
    buffers, launches = len(trt.cuda.memory), trt.cuda.launches
    for _ in range(5):
        opened.run({"x": np.ones((3, 3), np.float32)})
    assert trt.cuda.launches == launches + 5 and len(trt.cuda.memory) == buffers and trt.cuda.captures == 3


def test_outputs_are_the_callers_own(opened: TensorRtRtxEngine) -> None:
    first = opened.run({"x": np.ones((2, 3), np.float32)})["y"]
    kept = first.copy()
    opened.run({"x": np.full((2, 3), 7, np.float32)})
    np.testing.assert_array_equal(first, kept)


def test_a_plan_that_cannot_be_captured_runs_without_a_graph(package: ModelPackage, trt: FakeTrt) -> None:
    trt.capturable = False
    list_in_package(package.folder, save_plan(plan_folders(package)[0], key_for(package), b"beside the package"))
    with TensorRtRtxEngine(package) as engine, ThreadPoolExecutor(1) as other_thread:
        assert not engine.uses_cuda_graphs
        for run in (engine.run, lambda inputs: other_thread.submit(engine.run, inputs).result()):
            np.testing.assert_allclose(run({"x": np.ones((1, 3), np.float32)})["y"], 3.0)
    assert trt.cuda.launches == 0 and trt.seen == [b"beside the package"]


def test_closing_frees_the_device_and_keeps_the_compiled_kernels(package: ModelPackage, trt: FakeTrt) -> None:
    save_plan(plan_folders(package)[1], key_for(package), b"the plan")
    for _ in range(2):
        trt.cuda.closed = False
        with TensorRtRtxEngine(package):
            assert trt.cuda.memory
        assert trt.cuda.closed and not trt.cuda.memory
    assert trt.kernels_read == [b"compiled kernels"]  # by the second start


@pytest.mark.parametrize("low_high", [(1, 16), (4, 4), (3, 6)])
def test_sizes_stay_within_the_plans_range(package: ModelPackage, trt: FakeTrt, low_high: tuple[int, int]) -> None:
    trt.batches = low_high
    save_plan(plan_folders(package)[1], key_for(package), b"the plan")
    with TensorRtRtxEngine(package) as engine:
        assert engine.batch_buckets == {(1, 16): (1, 2, 4, 8, 16), (4, 4): (4,), (3, 6): (4, 6)}[low_high]
        assert len(engine.run({"x": np.zeros((1, 3), np.float32)})["y"]) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": "1.6.0.1"}, "version of tensorrt_rtx: built for 1.6.0.1, here is 1.7.1.116"),
        ({"compute_capability": "8.6"}, "compute capability: built for 8.6, here is 8.9"),
        ({"platform": "win32-amd64"}, "platform: built for win32-amd64"),
        ({"graph": "0" * 64}, "graph .the package was exported again.: built for 000000000000, here is"),
        ({"gpu": "NVIDIA L4"}, "GPU: built for NVIDIA L4, here is NVIDIA Fake 4090"),
    ],
)
def test_a_plan_for_something_else_is_refused_by_name_and_never_loaded(
    package: ModelPackage, trt: FakeTrt, change: dict[str, str], message: str
) -> None:
    save_plan(plan_folders(package)[1], key_for(package, **change), b"another plan")
    with pytest.raises(PlanError, match=message) as caught:
        TensorRtRtxEngine(package).open()
    assert "bodycast export tensorrt" in str(caught.value) and "--compute-capability 8.9" in str(caught.value)
    assert trt.seen == [] and trt.cuda.closed


def test_no_plan_at_all(package: ModelPackage, trt: FakeTrt) -> None:
    with pytest.raises(PlanError, match=r"no plan was built; build one: bodycast export .*--runtime tensorrt"):
        TensorRtEngine(package).open()
    # A plan of the other library is no plan of this one.
    save_plan(plan_folders(package)[1], key_for(package), b"the plan")
    with pytest.raises(PlanError, match="no plan was built"):
        TensorRtEngine(package).open()


def test_a_damaged_plan_is_never_loaded(package: ModelPackage, trt: FakeTrt) -> None:
    plan = save_plan(plan_folders(package)[1], key_for(package), b"the plan")
    plan.path.write_bytes(b"the plaN")
    with pytest.raises(PlanError, match="changed or damaged"):
        TensorRtRtxEngine(package).open()
    assert trt.seen == []


def test_a_plan_that_the_library_cannot_open(package: ModelPackage, trt: FakeTrt) -> None:
    trt.opens = False
    save_plan(plan_folders(package)[1], key_for(package), b"the plan")
    with pytest.raises(PlanError, match="cannot open it on NVIDIA Fake 4090; build it again"):
        TensorRtRtxEngine(package).open()
    assert trt.cuda.closed


def test_a_plan_of_another_signature(package: ModelPackage, trt: FakeTrt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakePlan, "tensors", ({"x": (-1, 3)}, {"renamed": (-1, 3), "z": (-1,)}))
    save_plan(plan_folders(package)[1], key_for(package), b"the plan")
    with pytest.raises(PackageError, match=r"expected y float32 \(N, 3\), z float32 \(N,\); the graph has renamed "):
        TensorRtRtxEngine(package).open()
    assert trt.cuda.closed


def test_the_full_library_needs_a_plan_for_this_very_gpu(package: ModelPackage, trt: FakeTrt) -> None:
    save_plan(plan_folders(package)[1], key_for(package, library="tensorrt", gpu=GPU.name), b"the plan")
    with TensorRtEngine(package) as engine:
        np.testing.assert_allclose(engine.run({"x": np.ones((1, 3), np.float32)})["y"], 3.0)
        assert engine.uses_cuda_graphs


@pytest.mark.skipif(cuda_devices()[0] > 0, reason="this machine has a CUDA device")
@pytest.mark.parametrize("name", ["tensorrt", "tensorrt-rtx"])
def test_without_a_gpu_it_is_one_clear_line(package: ModelPackage, name: str) -> None:
    for device in ("auto", "cuda"):
        with pytest.raises(EngineUnavailableError, match=r"NVIDIA driver|is not installed") as caught:
            open_engine(package, name, device)
        assert "\n" not in str(caught.value)
    with pytest.raises(EngineUnavailableError, match=f"{name} does not run on cpu|runs on an NVIDIA GPU only"):
        open_engine(package, name, "cpu")
    with pytest.raises(EngineError, match="runs on cuda"):
        TensorRtRtxEngine(package, "cpu")
