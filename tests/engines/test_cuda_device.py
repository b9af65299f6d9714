"""The device on a driver of the process's own memory: order, lifetime, errors. Numbers pass through real copies."""

from __future__ import annotations

import gc

import numpy as np
import pytest

from bodycast.app.config import NetworkConfig
from bodycast.app.errors import UsageError
from bodycast.engines.cuda.device import CudaDevice
from bodycast.engines.cuda.tensors import Buffers, DeviceTensor, TensorPlace
from bodycast.engines.devices import gpu_ordinal
from bodycast.engines.errors import CaptureError, EngineError, EngineUnavailableError
from tests.engines.fake_driver import FakeDriver, Status

EMPTY = dict.fromkeys(("memory", "pinned", "streams", "events", "graphs", "executables", "contexts"), 0)
PLACES = [TensorPlace("x", (2, 3), "float32")], [TensorPlace("y", (2, 3), "float32")]


@pytest.fixture
def device(driver: FakeDriver) -> CudaDevice:
    opened = CudaDevice(1)
    yield opened
    opened.close()
    assert driver.held == EMPTY and driver.violations == []


def there_and_back(device: CudaDevice, buffers: Buffers, x: np.ndarray) -> None:
    buffers.send({"x": x})
    device.copy(buffers.device["y"].address, buffers.device["x"].address, x.nbytes)
    buffers.fetch()


def test_nothing_is_there_before_the_stream_was_waited_for(device: CudaDevice) -> None:
    buffers = Buffers(device, *PLACES)
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    there_and_back(device, buffers, x)
    assert not buffers.outputs()["y"].any()
    device.synchronise()
    np.testing.assert_array_equal(buffers.outputs()["y"], x)


def test_the_second_gpu_is_the_one_that_was_asked_for(device: CudaDevice, driver: FakeDriver) -> None:
    assert device.gpu.name == "NVIDIA Fake L4" and device.ordinal == 1 and driver.contexts == {1: 1}


def test_a_gpu_that_is_not_there(driver: FakeDriver) -> None:
    with pytest.raises(
        EngineUnavailableError, match=r"cuda:2 is not here: 2 CUDA devices \(cuda:0 NVIDIA Fake 4090, cuda"
    ):
        CudaDevice(2)
    assert driver.calls == []


def test_a_graph_replays_with_what_is_there_then(device: CudaDevice) -> None:
    buffers = Buffers(device, *PLACES)
    graph = device.capture(buffers.fetch)
    for value in (1.0, 2.0):
        x = np.full((2, 3), value, np.float32)
        buffers.send({"x": x})
        device.copy(buffers.device["y"].address, buffers.device["x"].address, x.nbytes)
        device.launch(graph)
        device.synchronise()
        np.testing.assert_array_equal(buffers.outputs()["y"], x)
    device.forget(graph)


@pytest.mark.parametrize(
    ("call", "status"),
    [
        ("cuStreamBeginCapture", Status.CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED),
        ("cuMemcpyDtoHAsync", Status.CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED),
        ("cuStreamEndCapture", Status.CUDA_ERROR_STREAM_CAPTURE_INVALIDATED),
        ("cuGraphInstantiate", Status.CUDA_ERROR_OUT_OF_MEMORY),
    ],
)
def test_after_a_capture_that_failed_the_stream_works_and_nothing_is_left(
    device: CudaDevice, driver: FakeDriver, call: str, status: Status
) -> None:
    buffers = Buffers(device, *PLACES)
    held = driver.held
    driver.fail(call, status)
    with pytest.raises(CaptureError, match=f"{call} failed on NVIDIA Fake L4: {status.name}"):
        device.capture(buffers.fetch)
    assert driver.held == held
    x = np.ones((2, 3), np.float32)
    there_and_back(device, buffers, x)
    device.synchronise()
    np.testing.assert_array_equal(buffers.outputs()["y"], x)


@pytest.mark.parametrize("call", ["cuMemAlloc", "cuMemAllocHost"])
@pytest.mark.parametrize("after", [0, 1])
def test_memory_that_is_not_to_be_had_is_one_line_and_leaves_nothing(
    device: CudaDevice, driver: FakeDriver, call: str, after: int
) -> None:
    driver.fail(call, Status.CUDA_ERROR_OUT_OF_MEMORY, after)
    with pytest.raises(EngineError, match=r"are not free: close other programs") as caught:
        Buffers(device, *PLACES)
    assert "\n" not in str(caught.value)
    assert driver.held["memory"] == driver.held["pinned"] == 0 and device.held_bytes == 0


def test_a_thousand_runs_hold_what_the_first_did(device: CudaDevice, driver: FakeDriver) -> None:
    held: list[dict[str, int]] = []
    for number in range(1000):
        buffers = Buffers(device, *PLACES)
        graph = device.capture(buffers.fetch)
        there_and_back(device, buffers, np.full((2, 3), number, np.float32))
        device.launch(graph)
        device.forget(graph)
        buffers.close()
        held.append(driver.held)
    assert held[0] == held[-1] == {**EMPTY, "streams": 1, "contexts": 1}


def test_after_an_error_of_the_gpu_all_is_let_go(driver: FakeDriver) -> None:
    device = CudaDevice()
    buffers = Buffers(device, *PLACES)
    driver.fail("cuStreamSynchronize", Status.CUDA_ERROR_ILLEGAL_ADDRESS)
    with pytest.raises(EngineError, match="ILLEGAL_ADDRESS"):
        device.synchronise()
    device.close()
    buffers.close()
    device.close()
    assert driver.held["contexts"] == 0 and not device.is_open


def test_no_use_after_close(driver: FakeDriver) -> None:
    device = CudaDevice()
    tensor = DeviceTensor(device, device.allocate(12), (3,), np.dtype("float32"))
    device.close()
    calls = len(driver.calls)
    for use in (
        lambda: device.allocate(1),
        lambda: device.stream,
        device.synchronise,
        device.event,
        tensor.host,
        lambda: device.submit(lambda: None),
    ):
        with pytest.raises(EngineError, match="was closed"):
            use()
    assert len(driver.calls) == calls


def test_a_stream_that_cannot_be_made_leaves_no_context(driver: FakeDriver) -> None:
    driver.fail("cuStreamCreate", Status.CUDA_ERROR_OUT_OF_MEMORY)
    with pytest.raises(EngineError, match="cuStreamCreate failed"):
        CudaDevice()
    assert driver.held == EMPTY


def test_one_stream_waits_for_anothers_event(device: CudaDevice, driver: FakeDriver) -> None:
    other = CudaDevice(1)
    x = other.host_array((4,), "int32")
    x[:] = 5
    address = other.allocate(x.nbytes)
    other.upload(address, x)
    uploaded = other.event()
    other.record(uploaded)
    device.wait_for(uploaded)
    back = device.host_array((4,), "int32")
    device.download(back, address)
    device.synchronise()
    assert back.tolist() == [5] * 4
    other.close()


def test_rows_of_a_device_tensor_and_its_copy(device: CudaDevice) -> None:
    buffers = Buffers(device, *PLACES)
    buffers.send({"x": np.arange(6, dtype=np.float32).reshape(2, 3)})
    tensor = buffers.device["x"]
    assert tensor[1:].host().tolist() == [[3, 4, 5]] and tensor[:1].shape == (1, 3) and len(tensor[2:]) == 0
    assert tensor.ndim == 2 and tensor.nbytes == 24
    del buffers
    gc.collect()
    assert device.held_bytes == 48  # given back by `close`, not by chance


@pytest.mark.parametrize(("device", "ordinal"), [("cpu", None), ("cuda", 0), ("cuda:0", 0), ("cuda:12", 12)])
def test_a_device_by_its_number(device: str, ordinal: int | None) -> None:
    assert gpu_ordinal(device) == ordinal
    assert NetworkConfig(device=device).device == device


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:-1", "cuda:one", "cuda:1 ", "CUDA", ""])
def test_what_is_no_device(device: str) -> None:
    with pytest.raises(EngineUnavailableError, match="no device"):
        gpu_ordinal(device)
    with pytest.raises(UsageError, match="expected auto, cpu, cuda, or a GPU by its number"):
        NetworkConfig(device=device)
