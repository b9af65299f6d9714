"""Engines on a real GPU: recorded graphs, memory that does not grow, a plan from the package to the result."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="tiny graphs are made with onnx (requirements/export.txt)")

from bodycast.app.estimation.cropper import crop_people
from bodycast.app.estimation.gpu_body import GpuBody
from bodycast.app.estimation.gpu_crops import GpuCrops
from bodycast.app.records import Frame
from bodycast.engines.cuda import CudaDevice
from bodycast.engines.devices import cuda_gpus
from bodycast.engines.errors import EngineUnavailableError
from bodycast.engines.package import ModelPackage
from bodycast.engines.registry import ENGINES, check_golden, open_engine
from bodycast.hmr.body.body_model import BodyModel
from bodycast.hmr.geometry.crop import crop_transforms
from bodycast.hmr.geometry.rotations import axis_angle_to_matrix
from tests.engines.test_gpu_graphs import BOXES, HW, picture, tracks_of
from tests.tiny_packages import affine_program, hmr_package

pytestmark = pytest.mark.gpu

NAMES = ["onnxruntime", "tensorrt", "tensorrt-rtx"]


def package_with_plans(folder: Path, engine: str) -> ModelPackage:
    package = hmr_package(folder, input_hw=(64, 48))
    if engine.startswith("tensorrt"):
        from bodycast.export.tensorrt_plan import BuildOptions, build_plan

        for gpu in cuda_gpus():
            build_plan(package, BuildOptions(gpu.compute_capability, "rtx" if engine == "tensorrt-rtx" else "tensorrt"))
    return package


def opened(folder: Path, name: str) -> object:
    if not ENGINES[name].installed():
        pytest.skip(f"{ENGINES[name].library} is not installed")
    try:
        return open_engine(package_with_plans(folder, name), name, "cuda")
    except EngineUnavailableError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("name", NAMES)
def test_recorded_graphs_give_what_the_package_says(tmp_path: Path, name: str) -> None:
    with opened(tmp_path / "p", name) as engine:
        assert engine.uses_cuda_graphs
        assert max(check_golden(engine).values()) < 1e-3
        for red in (0, 100, 255):  # a replay must read what is there now
            crops = np.zeros((3, 64, 48, 3), np.uint8)
            crops[..., 0] = red
            np.testing.assert_allclose(engine.run({"crops": crops})["betas"][:, 0], red / 255, atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_memory_does_not_grow_with_runs(tmp_path: Path, name: str) -> None:
    driver = CudaDevice()
    try:
        with opened(tmp_path / "p", name) as engine:
            sizes = (1, 2, 3, 5, 16, 30)
            free: list[int] = []
            for _ in range(3):
                for rows in sizes:
                    engine.run({"crops": np.zeros((rows, 64, 48, 3), np.uint8)})
                free.append(driver.free_bytes())
            assert free[2] >= free[0]
    finally:
        driver.close()


@pytest.mark.parametrize("name", NAMES)
def test_crops_cut_on_the_gpu_are_the_cpus(tmp_path: Path, name: str) -> None:
    with opened(tmp_path / "p", name) as engine:
        cutting = GpuCrops(engine)
        for number in range(3):
            frame = Frame(picture(number), number, 0.0)
            tracks = tracks_of(*BOXES)
            crops = cutting.cut(frame, crop_transforms(tracks.xyxy, HW), HW)
            error = np.abs(crops.host().astype(int) - crop_people(frame, tracks, HW).pixels)
            assert error.mean() < 0.7 and np.percentile(error, 97) <= 2
            reds = engine.run({"crops": crops.tensor})["betas"][:, 0]
            np.testing.assert_allclose(reds, crops.host()[..., 0].mean(axis=(1, 2)) / 255, atol=1e-3)


def test_bodies_skinned_on_the_gpu_are_the_cpus() -> None:
    body = BodyModel.load()
    rng = np.random.default_rng(0)
    pose = axis_angle_to_matrix(rng.normal(0, 0.4, (10, 24, 3))).astype(np.float32)
    betas, transl = (rng.normal(size=(10, width)).astype(np.float32) for width in (10, 3))
    gpu = GpuBody(body, 0)
    np.testing.assert_allclose(gpu(pose, betas, transl).vertices, body(pose, betas, transl).vertices, atol=2e-5)
    gpu.close()


def test_a_torch_program_is_recorded(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="needs requirements/export.txt")
    from tests.tiny_packages import affine_package

    package = affine_package(tmp_path / "p", further_files={"model.pt2": affine_program()})
    with open_engine(package, "torch", "cuda") as engine:
        for value in (1.0, 5.0):
            x = np.full((3, 3), value, np.float32)
            np.testing.assert_allclose(engine.run({"x": x})["y"], 2 * value + 1)


def test_the_drivers_memory_stream_and_graph() -> None:
    device = CudaDevice()
    try:
        host, back = device.host_array((5,), "float32"), device.host_array((5,), "float32")
        address = device.allocate(host.nbytes)

        def there_and_back() -> None:
            device.upload(address, host)
            device.download(back, address)

        graph = device.capture(there_and_back)
        for value in (1.0, 2.0):
            host[:] = value
            device.launch(graph)
            device.synchronise()
            np.testing.assert_array_equal(back, value)
    finally:
        device.close()
