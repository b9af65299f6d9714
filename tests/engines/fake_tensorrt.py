"""A stand-in for TensorRT on the driver of `fake_driver`, so that the engine's own work can be tested without a GPU.

What it puts on the stream waits there as the driver's own work does. The plan computes y = 2 x + 1, z = sum(y), the
tiny package's graph.
"""

from __future__ import annotations

import ctypes
from threading import get_ident
from types import SimpleNamespace
from typing import Any

import numpy as np

from tests.engines.fake_driver import FakeDriver

VERSION = "1.7.1.116"


class FakeContext:
    """Runs the affine graph on the addresses it was given."""

    def __init__(self, trt: FakeTrt) -> None:
        self.trt, self.driver = trt, trt.driver
        self.addresses: dict[str, int] = {}
        self.shape = (0, 0)

    def set_device_memory(self, address: int, size: int) -> None:
        assert address in self.driver.memory and size == FakePlan.device_memory_size_v2

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shape = shape
        return name == "x"

    def is_stream_capturable(self, stream: int) -> bool:
        return self.trt.capturable

    def infer_shapes(self) -> list[str]:
        return []

    def execute_async_v3(self, stream: int) -> bool:
        assert get_ident() in self.driver.current, "the CUDA context is not current in this thread"
        if self.trt.breaks_captures and self.driver.streams[stream].captured is not None:
            self.driver.streams[stream].invalid = True
            return False
        if not self.trt.runs:
            return False
        self.driver.put(stream, self._compute)
        return True

    def _compute(self) -> None:
        rows, width = self.shape
        x = self._array("x", rows * width).reshape(rows, width)
        y = 2 * x + 1
        self._array("y", rows * width)[:] = y.ravel()
        self._array("z", rows)[:] = y.sum(axis=1)

    def _array(self, name: str, count: int) -> np.ndarray:
        assert self.driver.readable(self.addresses[name], 4 * count, name)
        memory = (ctypes.c_float * count).from_address(self.addresses[name])
        return np.frombuffer(memory, np.float32)


class FakePlan:
    """What `deserialize_cuda_engine` gives."""

    device_memory_size_v2 = 64
    tensors = ({"x": (-1, 3)}, {"y": (-1, 3), "z": (-1,)})

    def __init__(self, trt: FakeTrt) -> None:
        self.trt = trt
        self.names = [*self.tensors[0], *self.tensors[1]]
        self.num_io_tensors = len(self.names)

    def get_tensor_name(self, index: int) -> str:
        return self.names[index]

    def get_tensor_mode(self, name: str) -> str:
        return "input" if name in self.tensors[0] else "output"

    def get_tensor_dtype(self, name: str) -> str:
        return "float"

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return (self.tensors[0] | self.tensors[1])[name]

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[tuple[int, ...]]:
        low, high = self.trt.batches
        return [(low, 3), (low, 3), (high, 3)]

    def create_runtime_config(self) -> Any:
        return SimpleNamespace(
            set_execution_context_allocation_strategy=lambda strategy: None,
            create_runtime_cache=lambda: self.trt.kernels,
            set_runtime_cache=lambda cache: True,
        )

    def create_execution_context(self, config: Any) -> FakeContext:
        return FakeContext(self.trt)


class FakeTrt:
    """The module: both `tensorrt` and `tensorrt_rtx`."""

    __version__ = VERSION
    TensorIOMode = SimpleNamespace(INPUT="input")
    ExecutionContextAllocationStrategy = SimpleNamespace(USER_MANAGED="user")
    DynamicShapesKernelSpecializationStrategy = SimpleNamespace(EAGER="eager")
    CudaGraphStrategy = SimpleNamespace(DISABLED="off")

    def __init__(self, driver: FakeDriver) -> None:
        self.driver = driver
        self.capturable = True
        self.breaks_captures = False
        self.runs = True
        self.batches = (1, 4)
        self.opens = True
        self.seen: list[bytes] = []
        self.kernels_read: list[bytes] = []
        self.kernels = SimpleNamespace(
            deserialize=lambda blob: self.kernels_read.append(blob) or True, serialize=lambda: b"compiled kernels"
        )

    def nptype(self, dtype: str) -> type:
        return np.float32

    def Logger(self, level: int) -> object:  # noqa: N802
        return object()

    def Runtime(self, logger: object) -> Any:  # noqa: N802
        return SimpleNamespace(deserialize_cuda_engine=self._deserialise)

    def _deserialise(self, content: bytes) -> FakePlan | None:
        self.seen.append(content)
        return FakePlan(self) if self.opens else None


FakeTrt.Logger.ERROR = 1  # type: ignore[attr-defined]
