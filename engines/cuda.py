"""Device memory, a stream and CUDA graphs through the driver's API, without torch.

NVIDIA's own bindings (`cuda-bindings`); only what an engine needs. Errors of the driver become EngineError.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from bodycast.engines.devices import CudaGpu, cuda_devices, cuda_gpus
from bodycast.engines.errors import EngineError, EngineUnavailableError
from bodycast.engines.optional import require

_NON_BLOCKING = 1
_GRAPH_FLAGS = 0


class CudaDevice:
    """The primary context of one GPU (the one that libraries use too) with a stream of its own.

    Addresses are plain integers. The context must be current in the calling thread: `upload` and `download` leave that
    to `activate`, the other calls do it themselves, since an engine may be opened in one thread and run in another.

    Raises: EngineUnavailableError where there is no driver, no GPU or no bindings.
    """

    def __init__(self, ordinal: int = 0) -> None:
        count, driver_says = cuda_devices()
        if count <= ordinal:
            raise EngineUnavailableError(f"CUDA device {ordinal} is not here: {driver_says}")
        self.gpu: CudaGpu = cuda_gpus()[ordinal]
        self._driver = require("cuda.bindings.driver", "gpu.txt")
        self._call("cuInit", 0)
        self._device = self._call("cuDeviceGet", ordinal)
        self._context = self._call("cuDevicePrimaryCtxRetain", self._device)
        self.activate()
        self._stream = self._call("cuStreamCreate", _NON_BLOCKING)
        self._device_memory: list[int] = []
        self._host_memory: list[int] = []
        self._graphs: list[Any] = []

    @property
    def stream(self) -> int:
        """The stream's handle, as libraries take it."""
        return int(self._stream)

    def allocate(self, size_bytes: int) -> int:
        """Address of new device memory, freed by `close`. An empty size gives an address too."""
        self.activate()
        address = int(self._call("cuMemAlloc", max(1, size_bytes)))
        self._device_memory.append(address)
        return address

    def host_array(self, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
        """Page-locked memory as an array of zeros, freed by `close`: copies from and to it need no staging."""
        self.activate()
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        address = int(self._call("cuMemAllocHost", max(1, size)))
        self._host_memory.append(address)
        memory: Any = (ctypes.c_uint8 * size).from_address(address)
        array: NDArray[Any] = np.frombuffer(memory, np.dtype(dtype)).reshape(shape)
        array[...] = 0
        return array

    def upload(self, device: int, host: NDArray[Any]) -> None:
        """Enqueue a copy to the device."""
        self._call("cuMemcpyHtoDAsync", device, host.ctypes.data, host.nbytes, self._stream)

    def download(self, host: NDArray[Any], device: int) -> None:
        """Enqueue a copy from the device."""
        self._call("cuMemcpyDtoHAsync", host.ctypes.data, device, host.nbytes, self._stream)

    def free_bytes(self) -> int:
        """Device memory that nobody has, bytes."""
        self.activate()
        free, _ = self._values("cuMemGetInfo")
        return int(free)

    def synchronise(self) -> None:
        """Wait until the stream is done."""
        self.activate()
        self._call("cuStreamSynchronize", self._stream)

    def capture(self, enqueue: Callable[[], None]) -> object:
        """Record what `enqueue` puts on the stream; gives a graph for `launch`."""
        self.activate()
        mode = self._driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        self._call("cuStreamBeginCapture", self._stream, mode)
        try:
            enqueue()
        finally:
            # Also after an error: a stream left in capture mode is of no use to anybody.
            graph = self._call("cuStreamEndCapture", self._stream)
        executable = self._call("cuGraphInstantiate", graph, _GRAPH_FLAGS)
        self._call("cuGraphDestroy", graph)
        self._graphs.append(executable)
        return cast("object", executable)

    def launch(self, graph: object) -> None:
        """Enqueue a recorded graph."""
        self.activate()
        self._call("cuGraphLaunch", graph, self._stream)

    def close(self) -> None:
        """Free all of it; addresses and arrays are void afterwards."""
        self.synchronise()
        for graph in self._graphs:
            self._call("cuGraphExecDestroy", graph)
        for address in self._device_memory:
            self._call("cuMemFree", address)
        for address in self._host_memory:
            self._call("cuMemFreeHost", address)
        self._call("cuStreamDestroy", self._stream)
        self._call("cuDevicePrimaryCtxRelease", self._device)
        self._graphs, self._device_memory, self._host_memory = [], [], []

    def activate(self) -> None:
        """Make the context current in this thread, for a library that is called next."""
        self._call("cuCtxSetCurrent", self._context)

    def _call(self, name: str, *arguments: object) -> Any:
        values = self._values(name, *arguments)
        return values[0] if values else None

    def _values(self, name: str, *arguments: object) -> list[Any]:
        status, *values = getattr(self._driver, name)(*arguments)
        if int(status) != 0:
            raise EngineError(f"CUDA: {name} failed on {self.gpu.name}: {status.name}")
        return values
