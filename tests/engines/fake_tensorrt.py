"""Stand-ins for a GPU and for TensorRT, so that the engine's own work can be tested where there is neither.

Memory is the process's own, under real addresses; what is put on the stream is done at once, or recorded while a
capture runs. The plan computes y = 2 x + 1, z = sum(y), the tiny package's graph.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from threading import get_ident
from types import SimpleNamespace
from typing import Any

import numpy as np

from bodycast.engines.devices import CudaGpu

GPU = CudaGpu("NVIDIA Fake 4090", "8.9", 24 << 30, "13.0")
VERSION = "1.7.1.116"


class FakeCuda:
    """`bodycast.engines.cuda.CudaDevice` on the process's own memory."""

    def __init__(self) -> None:
        self.gpu = GPU
        self.stream = 7
        self.memory: dict[int, Any] = {}
        self.recording: list[Callable[[], None]] | None = None
        self.launches = 0
        self.captures = 0
        self.closed = False
        self.current_in: set[int] = set()

    def activate(self) -> None:
        self.current_in.add(get_ident())

    def put(self, operation: Callable[[], None]) -> None:
        """Do it now, or at every launch of the graph that is being recorded."""
        if self.recording is None:
            operation()
        else:
            self.recording.append(operation)

    def allocate(self, size_bytes: int) -> int:
        buffer = ctypes.create_string_buffer(max(1, size_bytes))
        self.memory[ctypes.addressof(buffer)] = buffer
        return ctypes.addressof(buffer)

    def host_array(self, shape: tuple[int, ...], dtype: str) -> np.ndarray:
        return np.zeros(shape, dtype)

    def upload(self, device: int, host: np.ndarray) -> None:
        assert get_ident() in self.current_in, "the CUDA context is not current in this thread"
        self.put(lambda: ctypes.memmove(device, host.ctypes.data, host.nbytes) and None)

    def download(self, host: np.ndarray, device: int) -> None:
        self.put(lambda: ctypes.memmove(host.ctypes.data, device, host.nbytes) and None)

    def synchronise(self) -> None:
        assert self.recording is None, "waiting inside a capture is an error of CUDA"

    def capture(self, enqueue: Callable[[], None]) -> object:
        self.recording = []
        enqueue()
        graph, self.recording = self.recording, None
        self.captures += 1
        return graph

    def launch(self, graph: Any) -> None:
        self.launches += 1
        for operation in graph:
            operation()

    def close(self) -> None:
        self.memory.clear()
        self.closed = True


class FakeContext:
    """Runs the affine graph on the addresses it was given."""

    def __init__(self, cuda: FakeCuda, capturable: bool) -> None:
        self.cuda, self.capturable = cuda, capturable
        self.addresses: dict[str, int] = {}
        self.shape = (0, 0)

    def set_device_memory(self, address: int, size: int) -> None:
        assert address in self.cuda.memory and size == FakePlan.device_memory_size_v2

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shape = shape
        return name == "x"

    def is_stream_capturable(self, stream: int) -> bool:
        return self.capturable

    def execute_async_v3(self, stream: int) -> bool:
        assert stream == self.cuda.stream
        self.cuda.put(self._compute)
        return True

    def _compute(self) -> None:
        rows, width = self.shape
        x = self._array("x", rows * width).reshape(rows, width)
        y = 2 * x + 1
        self._array("y", rows * width)[:] = y.ravel()
        self._array("z", rows)[:] = y.sum(axis=1)

    def _array(self, name: str, count: int) -> np.ndarray:
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
        return FakeContext(self.trt.cuda, self.trt.capturable)


class FakeTrt:
    """The module: both `tensorrt` and `tensorrt_rtx`."""

    __version__ = VERSION
    TensorIOMode = SimpleNamespace(INPUT="input")
    ExecutionContextAllocationStrategy = SimpleNamespace(USER_MANAGED="user")
    DynamicShapesKernelSpecializationStrategy = SimpleNamespace(EAGER="eager")
    CudaGraphStrategy = SimpleNamespace(DISABLED="off")

    def __init__(self, cuda: FakeCuda) -> None:
        self.cuda = cuda
        self.capturable = True
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
