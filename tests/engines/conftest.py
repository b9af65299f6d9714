"""A driver without a GPU, for tests of what runs on one."""

from __future__ import annotations

import sys

import pytest

from bodycast.engines import choices, devices, registry
from bodycast.engines.cuda import device as cuda_device
from bodycast.engines.cuda import onnx_session
from bodycast.engines.devices import CudaGpu
from tests.engines.fake_driver import FakeDriver

GPUS = (CudaGpu("NVIDIA Fake 4090", "8.9", 24 << 30, "13.0"), CudaGpu("NVIDIA Fake L4", "8.9", 24 << 30, "13.0"))


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> FakeDriver:
    """Two GPUs, whose driver is `FakeDriver`."""
    made = FakeDriver(len(GPUS))
    monkeypatch.setitem(sys.modules, "cuda.bindings.driver", made)  # type: ignore[arg-type]
    monkeypatch.setattr(devices, "cuda_devices", lambda: (len(GPUS), f"{len(GPUS)} CUDA devices"))
    monkeypatch.setattr(devices, "cuda_gpus", lambda: GPUS)
    monkeypatch.setattr(registry, "cuda_devices", devices.cuda_devices)
    for module in (cuda_device, choices):
        monkeypatch.setattr(module, "cuda_gpus", devices.cuda_gpus)
    return made


@pytest.fixture
def ort_on_driver(driver: FakeDriver, monkeypatch: pytest.MonkeyPatch) -> FakeDriver:
    """ONNX Runtime's CPU computes on the driver's memory and stream: real graphs, addresses and copies, no GPU."""
    monkeypatch.setattr(cuda_device.CudaDevice, "memory_name", "cpu")
    monkeypatch.setattr(onnx_session, "cuda_providers", lambda cuda, recorded, tf32: ["CPUExecutionProvider"])
    monkeypatch.setattr(onnx_session, "started_provider", lambda session: onnx_session.PROVIDER)
    monkeypatch.setattr(onnx_session, "preload_cuda", lambda ort: "")
    monkeypatch.setattr(
        cuda_device.CudaDevice, "submit", lambda device, work: (device.activate(), driver.put(device.stream, work))
    )
    return driver
