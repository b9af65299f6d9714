"""A CUDA driver made of the process's own memory: what `cuda.bindings.driver` offers of the calls that we use.

Work on a stream is not done when it is enqueued but when somebody waits for it, as late as CUDA may do it: a result
that is read without waiting is wrong, memory that is given back too early is found out. Every rule that is broken is
noted in `violations`; `fail` makes a call fail at its next, or a later, use.
"""

# ruff: noqa: N802  (the driver's own names)

from __future__ import annotations

import ctypes
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from threading import get_ident
from types import SimpleNamespace
from typing import Any


class Status(IntEnum):
    CUDA_SUCCESS = 0
    CUDA_ERROR_INVALID_VALUE = 1
    CUDA_ERROR_OUT_OF_MEMORY = 2
    CUDA_ERROR_INVALID_CONTEXT = 201
    CUDA_ERROR_ILLEGAL_ADDRESS = 700
    CUDA_ERROR_LAUNCH_FAILED = 719
    CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED = 900
    CUDA_ERROR_STREAM_CAPTURE_INVALIDATED = 901


@dataclass
class Stream:
    """Work that waits, or while `captured` is a list: that is recorded."""

    waiting: list[Callable[[], None]] = field(default_factory=list)
    captured: list[Callable[[], None]] | None = None
    invalid: bool = False

    def put(self, work: Callable[[], None]) -> None:
        (self.waiting if self.captured is None else self.captured).append(work)

    def drain(self, until: Callable[[], None] | None = None) -> None:
        """Do what waits, up to and with `until` where it still does."""
        while self.waiting if until is None else until in self.waiting:
            self.waiting.pop(0)()


class FakeDriver:
    """One process's driver with `gpus` devices."""

    CUstreamCaptureMode = SimpleNamespace(CU_STREAM_CAPTURE_MODE_THREAD_LOCAL=1)

    def __init__(self, gpus: int = 2) -> None:
        self.gpus = gpus
        self.calls: list[str] = []
        self.violations: list[str] = []
        self.current: dict[int, int] = {}
        self.contexts: Counter[int] = Counter()
        self.streams: dict[int, Stream] = {}
        self.memory: dict[int, Any] = {}
        self.pinned: dict[int, Any] = {}
        self.events: dict[int, Callable[[], None]] = {}
        """Event -> what waits for it to have happened."""
        self.graphs: dict[int, list[Callable[[], None]]] = {}
        self.executables: dict[int, list[Callable[[], None]]] = {}
        self.dead = False
        self._failures: dict[str, tuple[int, Status]] = {}
        self._next = 100

    def fail(self, call: str, status: Status, after: int = 0) -> None:
        """Let `call` fail once, after so many that work."""
        self._failures[call] = (after, status)

    @property
    def held(self) -> dict[str, int]:
        """How many of what are given out."""
        kinds = ("memory", "pinned", "streams", "events", "graphs", "executables")
        return {kind: len(getattr(self, kind)) for kind in kinds} | {"contexts": sum(self.contexts.values())}

    def put(self, stream: int, work: Callable[[], None]) -> None:
        """What a library puts on a stream."""
        self.streams[stream].put(work)

    def readable(self, address: int, size: int, what: str) -> bool:
        """Whether the bytes lie in memory that is given out; notes a violation where not."""
        for block in (*self.memory.values(), *self.pinned.values()):
            start = ctypes.addressof(block)
            if start <= address and address + size <= start + len(block):
                return True
        self.violations.append(f"{what}: memory that is not given out")
        return False

    def __getattribute__(self, name: str) -> Any:
        found = object.__getattribute__(self, name)
        if not (name.startswith("cu") and name[2].isupper()):
            return found

        def call(*arguments: Any) -> tuple[Any, ...]:
            self.calls.append(name)
            after, status = self._failures.get(name, (-1, Status.CUDA_SUCCESS))
            if after > 0:
                self._failures[name] = (after - 1, status)
            elif after == 0:
                del self._failures[name]
                if status in (Status.CUDA_ERROR_ILLEGAL_ADDRESS, Status.CUDA_ERROR_LAUNCH_FAILED):
                    self.dead = True
                if name == "cuStreamEndCapture":
                    # An invalidated capture is over all the same.
                    self.streams[arguments[0]].captured = None
                return (status,)
            if self.dead and name != "cuDevicePrimaryCtxRelease":
                return (Status.CUDA_ERROR_ILLEGAL_ADDRESS,)
            free_of_context = ("cuInit", "cuDeviceGet", "cuDevicePrimaryCtxRetain", "cuCtxSetCurrent")
            if name not in (*free_of_context, "cuDevicePrimaryCtxRelease") and get_ident() not in self.current:
                self.violations.append(f"{name}: no context is current in this thread")
                return (Status.CUDA_ERROR_INVALID_CONTEXT,)
            answer = found(*arguments)
            return answer if isinstance(answer, tuple) else (Status.CUDA_SUCCESS, answer)

        return call

    def _number(self) -> int:
        self._next += 1
        return self._next

    def cuInit(self, flags: int) -> Any:
        return (Status.CUDA_SUCCESS,)

    def cuDeviceGet(self, ordinal: int) -> Any:
        return ordinal

    def cuDevicePrimaryCtxRetain(self, device: int) -> Any:
        self.contexts[device] += 1
        return 1000 + device

    def cuDevicePrimaryCtxRelease(self, device: int) -> Any:
        self.contexts[device] -= 1
        return (Status.CUDA_SUCCESS,)

    def cuCtxSetCurrent(self, context: int) -> Any:
        self.current[get_ident()] = context
        return (Status.CUDA_SUCCESS,)

    def cuStreamCreate(self, flags: int) -> Any:
        number = self._number()
        self.streams[number] = Stream()
        return number

    def cuStreamDestroy(self, stream: int) -> Any:
        if self.streams.pop(stream).waiting:
            self.violations.append("a stream was destroyed with work on it")
        return (Status.CUDA_SUCCESS,)

    def cuStreamSynchronize(self, stream: int) -> Any:
        found = self.streams[stream]
        if found.captured is not None:
            self.violations.append("waiting inside a capture")
            found.invalid = True
            return (Status.CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED,)
        found.drain()
        return (Status.CUDA_SUCCESS,)

    def cuStreamBeginCapture(self, stream: int, mode: Any) -> Any:
        self.streams[stream].captured, self.streams[stream].invalid = [], False
        return (Status.CUDA_SUCCESS,)

    def cuStreamEndCapture(self, stream: int) -> Any:
        found = self.streams[stream]
        recorded, found.captured = found.captured, None
        if found.invalid:
            return (Status.CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, 0)
        number = self._number()
        self.graphs[number] = recorded or []
        return number

    def cuGraphInstantiate(self, graph: int, flags: int) -> Any:
        number = self._number()
        self.executables[number] = list(self.graphs[graph])
        return number

    def cuGraphDestroy(self, graph: int) -> Any:
        del self.graphs[graph]
        return (Status.CUDA_SUCCESS,)

    def cuGraphExecDestroy(self, executable: int) -> Any:
        self._busy("a graph was destroyed")
        del self.executables[executable]
        return (Status.CUDA_SUCCESS,)

    def cuGraphLaunch(self, executable: int, stream: int) -> Any:
        for work in self.executables[executable]:
            self.streams[stream].put(work)
        return (Status.CUDA_SUCCESS,)

    def cuMemAlloc(self, size: int) -> Any:
        return self._block(self.memory, size)

    def cuMemFree(self, address: int) -> Any:
        self._busy("device memory was freed")
        return self._gone(self.memory, address)

    def cuMemAllocHost(self, size: int) -> Any:
        return self._block(self.pinned, size)

    def cuMemFreeHost(self, address: int) -> Any:
        self._busy("page-locked memory was freed")
        return self._gone(self.pinned, address)

    def cuMemGetInfo(self) -> Any:
        return Status.CUDA_SUCCESS, 1 << 30, 2 << 30

    def cuMemcpyHtoDAsync(self, device: int, host: int, size: int, stream: int) -> Any:
        return self._copy(device, host, size, stream)

    def cuMemcpyDtoHAsync(self, host: int, device: int, size: int, stream: int) -> Any:
        return self._copy(host, device, size, stream, to_device=False)

    def cuMemcpyDtoDAsync(self, target: int, source: int, size: int, stream: int) -> Any:
        return self._copy(target, source, size, stream)

    def cuEventCreate(self, flags: int) -> Any:
        number = self._number()
        self.events[number] = lambda: None
        return number

    def cuEventDestroy(self, event: int) -> Any:
        del self.events[event]
        return (Status.CUDA_SUCCESS,)

    def cuEventRecord(self, event: int, stream: int) -> Any:
        recorded_on = self.streams[stream]

        def mark() -> None:
            pass

        recorded_on.put(mark)
        self.events[event] = lambda: recorded_on.drain(mark)
        return (Status.CUDA_SUCCESS,)

    def cuEventSynchronize(self, event: int) -> Any:
        self.events[event]()
        return (Status.CUDA_SUCCESS,)

    def cuStreamWaitEvent(self, stream: int, event: int, flags: int) -> Any:
        self.streams[stream].put(self.events[event])
        return (Status.CUDA_SUCCESS,)

    def _block(self, blocks: dict[int, Any], size: int) -> int:
        block = ctypes.create_string_buffer(b"\xff" * size, size)
        blocks[ctypes.addressof(block)] = block
        return ctypes.addressof(block)

    def _gone(self, blocks: dict[int, Any], address: int) -> Any:
        block = blocks.pop(address, None)
        if block is None:
            self.violations.append("memory was given back twice")
            return (Status.CUDA_ERROR_INVALID_VALUE,)
        # Kept by nobody now, but what still reads it finds rubbish and not the old numbers.
        ctypes.memset(address, 0xEE, len(block))
        return (Status.CUDA_SUCCESS,)

    def _copy(self, target: int, source: int, size: int, stream: int, to_device: bool = True) -> Any:
        def work() -> None:
            device = target if to_device else source
            if self.readable(device, size, "a copy"):
                ctypes.memmove(target, source, size)

        self.streams[stream].put(work)
        return (Status.CUDA_SUCCESS,)

    def _busy(self, what: str) -> None:
        if any(stream.waiting for stream in self.streams.values()):
            self.violations.append(f"{what} while work was waiting")
