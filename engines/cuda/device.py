"""One GPU through the driver's API, without torch: memory, a stream, events and CUDA graphs.

NVIDIA's own bindings (`cuda-bindings`); only what the engines need. Errors of the driver become EngineError.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from bodycast.engines.devices import CudaGpu, check_ordinal, cuda_gpus
from bodycast.engines.errors import CaptureError, EngineError
from bodycast.engines.optional import require

_NON_BLOCKING = 1
_NO_TIMING = 2
_GRAPH_FLAGS = 0
_OUT_OF_MEMORY = 2


@dataclass(frozen=True, slots=True)
class Event:
    """A place on a stream that other streams, or the caller, can wait for. Belongs to the device that made it."""

    handle: Any


class CudaDevice:
    """The primary context of one GPU (the one that libraries use too) with a stream of its own.

    Addresses are plain integers. The context is made current in the calling thread by every call that needs it, since
    an engine may be opened in one thread and run in another; not safe to use from two threads at a time. What it gave
    out is freed by `close`, after the stream has ended; every later call raises EngineError.

    Raises: EngineUnavailableError where there is no driver, no GPU of this number or no bindings; EngineError where the
    driver fails.
    """

    memory_name = "cuda"
    """What ONNX Runtime calls this device's memory."""

    def __init__(self, ordinal: int = 0) -> None:
        check_ordinal(ordinal)
        self.ordinal = ordinal
        self.gpu: CudaGpu = cuda_gpus()[ordinal]
        self._driver = require("cuda.bindings.driver", "gpu.txt")
        self._call("cuInit", 0)
        self._device = self._call("cuDeviceGet", ordinal)
        self._context = self._call("cuDevicePrimaryCtxRetain", self._device)
        self._open = True
        self._device_memory: dict[int, int] = {}
        self._host_memory: set[int] = set()
        self._graphs: list[Any] = []
        self._events: list[Any] = []
        self._stream: Any = None
        try:
            self.activate()
            self._stream = self._call("cuStreamCreate", _NON_BLOCKING)
        except BaseException:
            self.close()
            raise

    @property
    def is_open(self) -> bool:
        """Until `close`."""
        return self._open

    @property
    def stream(self) -> int:
        """The stream's handle, as libraries take it."""
        self._check_open()
        return int(self._stream)

    def activate(self) -> None:
        """Make the context current in this thread, for a library that is called next."""
        self._check_open()
        self._call("cuCtxSetCurrent", self._context)

    def allocate(self, size_bytes: int) -> int:
        """Address of new device memory, freed by `free` or `close`. An empty size gives an address too."""
        self.activate()
        address = int(self._call("cuMemAlloc", max(1, size_bytes), memory_bytes=size_bytes))
        self._device_memory[address] = size_bytes
        return address

    def free(self, address: int) -> None:
        """Give device memory back, after everything on the stream that may use it."""
        self.synchronise()
        del self._device_memory[address]
        self._call("cuMemFree", address)

    def host_array(self, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
        """Page-locked memory as an array of zeros, freed by `free_host` or `close`: copies from and to it need no
        staging and do not wait for the GPU."""
        self.activate()
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        address = int(self._call("cuMemAllocHost", max(1, size), memory_bytes=size))
        self._host_memory.add(address)
        memory: Any = (ctypes.c_uint8 * size).from_address(address)
        array: NDArray[Any] = np.frombuffer(memory, np.dtype(dtype)).reshape(shape)
        array[...] = 0
        return array

    def free_host(self, array: NDArray[Any]) -> None:
        """Give page-locked memory back, after everything on the stream that may use it; the array is void then."""
        self.synchronise()
        address = array.ctypes.data
        self._host_memory.remove(address)
        self._call("cuMemFreeHost", address)

    def upload(self, device: int, host: NDArray[Any]) -> None:
        """Enqueue a copy to the device. `host` must stay as it is until the stream has done it."""
        self.activate()
        self._call("cuMemcpyHtoDAsync", device, host.ctypes.data, host.nbytes, self._stream)

    def download(self, host: NDArray[Any], device: int) -> None:
        """Enqueue a copy from the device."""
        self.activate()
        self._call("cuMemcpyDtoHAsync", host.ctypes.data, device, host.nbytes, self._stream)

    def copy(self, target: int, source: int, size_bytes: int) -> None:
        """Enqueue a copy within the device."""
        self.activate()
        self._call("cuMemcpyDtoDAsync", target, source, size_bytes, self._stream)

    def submit(self, work: Callable[[], None]) -> None:
        """Let a library put work on the stream. All work of libraries goes through here."""
        self.activate()
        work()

    def free_bytes(self) -> int:
        """Device memory that nobody has, bytes."""
        self.activate()
        free, _ = self._values("cuMemGetInfo")
        return int(free)

    @property
    def held_bytes(self) -> int:
        """Device memory that was given out and not given back, bytes."""
        return sum(self._device_memory.values())

    def synchronise(self) -> None:
        """Wait until the stream is done. What failed on the GPU since the last wait is raised here."""
        self.activate()
        self._call("cuStreamSynchronize", self._stream)

    def drain(self) -> None:
        """Wait as `synchronise` does, after an error, whose message is not to be hidden by a second one."""
        with suppress(EngineError):
            self.synchronise()

    def event(self) -> Event:
        """A new event, destroyed by `close`."""
        self.activate()
        handle = self._call("cuEventCreate", _NO_TIMING)
        self._events.append(handle)
        return Event(handle)

    def record(self, event: Event) -> None:
        """The event is when everything that is on the stream now is done."""
        self.activate()
        self._call("cuEventRecord", event.handle, self._stream)

    def wait_for(self, event: Event) -> None:
        """The stream goes on after the event, which may be another device object's; the caller does not wait."""
        self.activate()
        self._call("cuStreamWaitEvent", self._stream, event.handle, 0)

    def wait(self, event: Event) -> None:
        """The caller waits for the event."""
        self.activate()
        self._call("cuEventSynchronize", event.handle)

    def capture(self, enqueue: Callable[[], None]) -> object:
        """Record what `enqueue` puts on the stream; gives a graph for `launch`.

        Raises: CaptureError where it cannot be recorded; the stream can be used as before.
        """
        self.activate()
        mode = self._driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        try:
            self._call("cuStreamBeginCapture", self._stream, mode)
            try:
                enqueue()
            except BaseException:
                # A stream that is left in capture mode is of no use to anybody.
                with suppress(EngineError):
                    self._destroy_graph(self._call("cuStreamEndCapture", self._stream))
                raise
            graph = self._call("cuStreamEndCapture", self._stream)
            try:
                executable = self._call("cuGraphInstantiate", graph, _GRAPH_FLAGS)
            finally:
                self._destroy_graph(graph)
        except EngineError as error:
            raise CaptureError(str(error)) from error
        self._graphs.append(executable)
        return cast("object", executable)

    def launch(self, graph: object) -> None:
        """Enqueue a recorded graph."""
        self.activate()
        self._call("cuGraphLaunch", graph, self._stream)

    def forget(self, graph: object) -> None:
        """Destroy a recorded graph, after the stream has ended."""
        self.synchronise()
        self._graphs.remove(graph)
        self._call("cuGraphExecDestroy", graph)

    def close(self) -> None:
        """Free all of it, after the stream has ended; addresses and arrays are void then. May be called twice.

        Goes through to its end after an error of the GPU, which every call reports from then on.
        """
        if not self._open:
            return
        with suppress(EngineError):
            self.activate()
        if self._stream is not None:
            self.drain()
        frees: list[tuple[str, Any]] = [("cuGraphExecDestroy", graph) for graph in self._graphs]
        frees += [("cuEventDestroy", event) for event in self._events]
        frees += [("cuMemFree", address) for address in self._device_memory]
        frees += [("cuMemFreeHost", address) for address in self._host_memory]
        frees += [("cuStreamDestroy", self._stream)] if self._stream is not None else []
        for name, what in (*frees, ("cuDevicePrimaryCtxRelease", self._device)):
            with suppress(EngineError):
                self._call(name, what)
        self._open = False
        self._graphs, self._events, self._device_memory, self._host_memory = [], [], {}, set()

    def _destroy_graph(self, graph: Any) -> None:
        # An invalidated capture ends with no graph.
        if graph is not None and int(graph) != 0:
            self._call("cuGraphDestroy", graph)

    def _check_open(self) -> None:
        if not self._open:
            raise EngineError(f"CUDA: {self.gpu.name} was closed; open the engine again")

    def _call(self, name: str, *arguments: object, memory_bytes: int | None = None) -> Any:
        values = self._values(name, *arguments, memory_bytes=memory_bytes)
        return values[0] if values else None

    def _values(self, name: str, *arguments: object, memory_bytes: int | None = None) -> list[Any]:
        status, *values = getattr(self._driver, name)(*arguments)
        if int(status) == _OUT_OF_MEMORY and memory_bytes is not None:
            kind = "page-locked memory" if name == "cuMemAllocHost" else f"memory on {self.gpu.name}"
            raise EngineError(
                f"CUDA: {memory_bytes / 1e6:.0f} MB of {kind} are not free: close other programs that use the GPU, "
                "or choose a smaller network"
            )
        if int(status) != 0:
            raise EngineError(f"CUDA: {name} failed on {self.gpu.name}: {status.name}")
        return values
