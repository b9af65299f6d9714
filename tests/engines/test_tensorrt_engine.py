"""The TensorRT engine up to the device: which plan it takes, its buffers and recorded graphs, what it leaves behind."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx", reason="tiny graphs are made with onnx (requirements/export.txt)")

from bodycast.engines.devices import cuda_devices
from bodycast.engines.errors import EngineError, EngineUnavailableError, PackageError, PlanError
from bodycast.engines.package import ModelPackage
from bodycast.engines.plans import ANY_GPU, PlanKey, list_in_package, plan_folders, save_plan, this_platform
from bodycast.engines.registry import check_golden, open_engine
from bodycast.engines.tensorrt_engine import TensorRtEngine, TensorRtRtxEngine
from bodycast.engines.user_cache import cache_folder
from tests.engines.conftest import GPUS
from tests.engines.fake_driver import FakeDriver, Status
from tests.engines.fake_tensorrt import VERSION, FakePlan, FakeTrt
from tests.tiny_packages import affine_package

GPU = GPUS[0]


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
def trt(monkeypatch: pytest.MonkeyPatch, driver: FakeDriver) -> FakeTrt:
    module = FakeTrt(driver)
    for name in ("tensorrt", "tensorrt_rtx"):
        monkeypatch.setitem(sys.modules, name, module)  # type: ignore[arg-type]
    yield module
    assert driver.violations == [] and not any(driver.held.values()), "left behind"


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
    assert len(trt.driver.executables) == 3 and trt.seen == [b"the plan"]
    held, before = trt.driver.held, len(trt.driver.calls)
    for _ in range(5):
        opened.run({"x": np.ones((3, 3), np.float32)})
    assert trt.driver.held == held
    run = ["cuMemcpyHtoDAsync", "cuGraphLaunch", "cuStreamSynchronize"]
    assert [call for call in trt.driver.calls[before:] if call != "cuCtxSetCurrent"] == 5 * run


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
        assert engine.describe().endswith("no CUDA graphs: tensorrt_rtx says that this plan cannot be recorded")
        for run in (engine.run, lambda inputs: other_thread.submit(engine.run, inputs).result()):
            np.testing.assert_allclose(run({"x": np.ones((1, 3), np.float32)})["y"], 3.0)
    assert "cuGraphLaunch" not in trt.driver.calls and trt.seen == [b"beside the package"]


def test_closing_frees_the_device_and_keeps_the_compiled_kernels(package: ModelPackage, trt: FakeTrt) -> None:
    save_plan(plan_folders(package)[1], key_for(package), b"the plan")
    for _ in range(2):
        with TensorRtRtxEngine(package):
            assert trt.driver.memory
        assert not any(trt.driver.held.values())
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
    assert trt.seen == []


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
    assert not any(trt.driver.held.values())


def test_a_plan_of_another_signature(package: ModelPackage, trt: FakeTrt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakePlan, "tensors", ({"x": (-1, 3)}, {"renamed": (-1, 3), "z": (-1,)}))
    save_plan(plan_folders(package)[1], key_for(package), b"the plan")
    with pytest.raises(PackageError, match=r"expected y float32 \(N, 3\), z float32 \(N,\); the graph has renamed "):
        TensorRtRtxEngine(package).open()
    assert not any(trt.driver.held.values())


def test_the_full_library_needs_a_plan_for_this_very_gpu(package: ModelPackage, trt: FakeTrt) -> None:
    save_plan(plan_folders(package)[1], key_for(package, library="tensorrt", gpu=GPU.name), b"the plan")
    with TensorRtEngine(package) as engine:
        np.testing.assert_allclose(engine.run({"x": np.ones((1, 3), np.float32)})["y"], 3.0)
        assert engine.uses_cuda_graphs


def test_a_capture_that_fails_goes_on_without_a_graph_and_says_why(package: ModelPackage, trt: FakeTrt) -> None:
    trt.breaks_captures = True
    save_plan(plan_folders(package)[1], key_for(package), b"the plan")
    with TensorRtRtxEngine(package) as engine:
        assert "no CUDA graphs: tensorrt_rtx did not run the plan" in engine.describe()
        np.testing.assert_allclose(engine.run({"x": np.ones((1, 3), np.float32)})["y"], 3.0)


def test_a_launch_that_fails_is_one_line_that_names_the_engine(opened: TensorRtRtxEngine, trt: FakeTrt) -> None:
    trt.driver.fail("cuGraphLaunch", Status.CUDA_ERROR_INVALID_VALUE)
    with pytest.raises(EngineError, match=r"tiny on tensorrt-rtx \(cuda\).*: CUDA: cuGraphLaunch failed"):
        opened.run({"x": np.ones((2, 3), np.float32)})
    np.testing.assert_allclose(opened.run({"x": np.ones((2, 3), np.float32)})["y"], 3.0)


def test_memory_that_is_not_to_be_had_leaves_nothing(package: ModelPackage, trt: FakeTrt) -> None:
    save_plan(plan_folders(package)[1], key_for(package), b"the plan")
    for after in range(6):
        trt.driver.fail("cuMemAlloc", Status.CUDA_ERROR_OUT_OF_MEMORY, after)
        with pytest.raises(EngineError, match="are not free: close other programs"):
            TensorRtRtxEngine(package).open()
        assert not any(trt.driver.held.values())


def test_a_plan_that_the_gpu_does_not_run(package: ModelPackage, trt: FakeTrt) -> None:
    trt.runs = False
    save_plan(plan_folders(package)[1], key_for(package), b"the plan")
    with pytest.raises(EngineError, match="tensorrt_rtx did not run the plan"):
        TensorRtRtxEngine(package).open()


def test_after_an_error_of_the_gpu_it_can_be_closed(package: ModelPackage, trt: FakeTrt) -> None:
    save_plan(plan_folders(package)[1], key_for(package), b"the plan")
    engine = TensorRtRtxEngine(package).open()
    trt.driver.fail("cuStreamSynchronize", Status.CUDA_ERROR_ILLEGAL_ADDRESS)
    with pytest.raises(EngineError, match="ILLEGAL_ADDRESS"):
        engine.run({"x": np.ones((1, 3), np.float32)})
    engine.close()
    assert trt.driver.held["contexts"] == 0
    for kind in ("memory", "pinned", "streams", "executables", "graphs"):  # went with the context
        getattr(trt.driver, kind).clear()
    with pytest.raises(EngineError, match="not open"):
        engine.run({"x": np.ones((1, 3), np.float32)})


def test_a_thousand_runs_of_any_size_hold_what_the_first_did(opened: TensorRtRtxEngine, trt: FakeTrt) -> None:
    held = trt.driver.held
    for number in range(1000):
        rows = 1 + number % 7
        assert opened.run({"x": np.full((rows, 3), number, np.float32)})["y"][-1, 0] == 2 * number + 1
    assert trt.driver.held == held


def test_the_second_gpu_and_the_plan_for_it(package: ModelPackage, trt: FakeTrt) -> None:
    save_plan(plan_folders(package)[1], key_for(package, library="tensorrt", gpu=GPUS[1].name), b"the plan")
    with TensorRtEngine(package, "cuda:1") as engine:
        assert trt.driver.contexts == {1: 1} and engine.label == "tiny on tensorrt (cuda:1)"
    with pytest.raises(PlanError, match="GPU: built for NVIDIA Fake L4, here is NVIDIA Fake 4090"):
        TensorRtEngine(package, "cuda:0").open()
    with pytest.raises(EngineUnavailableError, match=r"cuda:4 is not here: 2 CUDA devices \(cuda:0 NVIDIA Fake 4090, "):
        open_engine(package, "tensorrt", "cuda:4")


@pytest.mark.skipif(os.name != "posix", reason="modes of files")
def test_plans_and_kernels_in_the_cache_are_their_owners_alone(package: ModelPackage, trt: FakeTrt) -> None:
    plan = save_plan(plan_folders(package)[1], key_for(package), b"the plan")
    with TensorRtRtxEngine(package):
        pass
    kernels = next((cache_folder() / "kernels").glob("*.jit"))
    for path in (plan.path, plan.path.with_suffix(".json"), kernels):
        assert path.stat().st_mode & 0o777 == 0o600 and path.parent.stat().st_mode & 0o777 == 0o700
    kernels.chmod(0o622)  # anybody could have changed it since: it is compiled again
    with TensorRtRtxEngine(package):
        assert trt.kernels_read == []


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
