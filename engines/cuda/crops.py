"""Crops that are cut on the GPU: a frame is uploaded once, every network's crops are made from it where they are used.

The frame has a stream of its own. A cutter works on its network's stream, which waits for the frame; the caller does
not. The next frame is put over this one only after every cutter is done with it.
"""

from __future__ import annotations

import weakref
from collections import defaultdict, deque
from collections.abc import Callable
from math import prod
from threading import Lock, get_ident
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bodycast.engines.cuda.device import CudaDevice, Event
from bodycast.engines.cuda.own_graphs import open_graph
from bodycast.engines.cuda.tensors import Buffers, DeviceTensor, TensorPlace

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]
MOST_ROWS = 16
"""Crops of one call of the graph: its scratch memory grows with them."""
PARAMETERS = 9


class FrameOnGpu:
    """The last frame, in device memory. Use it from one thread; `shared` gives each thread its own."""

    def __init__(self, ordinal: int) -> None:
        """Raises: EngineError."""
        self._cuda = CudaDevice(ordinal)
        self._ready = self._cuda.event()
        self._buffers: Buffers | None = None
        self._held: tuple[object, object] = (None, None)
        self._readers: list[Event] = []
        self._owners = 0
        self.uploads = 0
        """How many frames were uploaded."""

    _shared: dict[tuple[int, int], FrameOnGpu] = {}  # noqa: RUF012  (the class's own register)
    _lock = Lock()

    @classmethod
    def shared(cls, ordinal: int) -> FrameOnGpu:
        """This thread's, for a GPU; `release` it once for each time."""
        with cls._lock:
            key = (get_ident(), ordinal)
            found = cls._shared.get(key)
            if found is None or not found._cuda.is_open:
                found = cls._shared[key] = cls(ordinal)
            found._owners += 1
            return found

    def release(self) -> None:
        """Closes it after the last owner's."""
        with self._lock:
            self._owners -= 1
            if self._owners > 0:
                return
            for key in [key for key, value in self._shared.items() if value is self]:
                del self._shared[key]
        self.close()

    def put(self, image: U8, key: object) -> DeviceTensor:
        """The frame (H, W, 3) uint8 on the device, uploaded unless it is there: the same array under the same key.

        Enqueues; readers call `begin` before and `end` after their work.
        """
        if self._held[0] is image and self._held[1] == key and self._buffers is not None:
            return self._buffers.device["frame"]
        # The copy before may still read the page-locked memory.
        self._cuda.wait(self._ready)
        for event in self._readers:
            self._cuda.wait_for(event)
        self._readers.clear()
        self._held = (None, None)
        if self._buffers is not None and self._buffers.device["frame"].shape != image.shape:
            self._buffers.close()
            self._buffers = None
        if self._buffers is None:
            self._buffers = Buffers(self._cuda, [TensorPlace("frame", image.shape, "uint8")], [])
        self._buffers.send({"frame": image})
        self._cuda.record(self._ready)
        self._held = (image, key)
        self.uploads += 1
        return self._buffers.device["frame"]

    def begin(self, reader: CudaDevice) -> None:
        """Let a reader's stream wait for the frame."""
        reader.wait_for(self._ready)

    def end(self, event: Event) -> None:
        """The frame is needed until this event."""
        if event not in self._readers:
            self._readers.append(event)

    def forget(self, event: Event) -> None:
        """A reader is done for good, and its event is destroyed next."""
        if event in self._readers:
            self._readers.remove(event)

    def close(self) -> None:
        """Give the memory back. May be called twice."""
        self._held = (None, None)
        self._buffers = None
        self._cuda.close()


class Memory:
    """Device memory for crops that are in use: taken for a batch, given back when nobody has the batch any more, taken
    again. A buffer that is taken again is written on the stream behind whoever read it."""

    def __init__(self, cuda: CudaDevice) -> None:
        self._cuda = cuda
        self._free: defaultdict[int, deque[int]] = defaultdict(deque)

    def take(self, size_bytes: int) -> tuple[int, Callable[[], None]]:
        """Address, and what gives it back; that may be called in any thread."""
        free = self._free[size_bytes]
        address = free.popleft() if free else self._cuda.allocate(size_bytes)
        return address, lambda: free.append(address)


class CropsOnGpu:
    """Crops (N, h, w, 3) uint8 RGB in the memory of a network's device, and behind them perhaps their mirror images."""

    def __init__(self, tensor: DeviceTensor, rows: int) -> None:
        """rows: N, all of the tensor or half of it."""
        self._tensor = tensor
        self._rows = rows
        self._host: U8 | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, h, w, 3)."""
        return (self._rows, *self._tensor.shape[1:])

    @property
    def owner(self) -> CudaDevice:
        """The device whose engine may take them."""
        return self._tensor.owner

    @property
    def tensor(self) -> DeviceTensor:
        """The crops."""
        return self._tensor[: self._rows]

    @property
    def both(self) -> DeviceTensor | None:
        """The crops and their mirror images, 2N rows; None where there are none."""
        return self._tensor if len(self._tensor) == 2 * self._rows and self._rows else None

    def host(self) -> U8:
        """The crops in ordinary memory, fetched once."""
        if self._host is None:
            self._host = self.tensor.host()
        return self._host


class Cutter:
    """Cuts crops on the stream of a network's device. Close it before the device."""

    def __init__(self, cuda: CudaDevice) -> None:
        """Raises: EngineError where ONNX Runtime or its CUDA provider is not there."""
        self._cuda = cuda
        self._graph = open_graph("crop.onnx", cuda, tf32=True)
        self._done, self._sent = cuda.event(), cuda.event()
        self._memory = Memory(cuda)
        self._frames: weakref.WeakSet[FrameOnGpu] = weakref.WeakSet()
        self._counting: Buffers | None = None
        self._parameters = Buffers(cuda, [TensorPlace("crops", (MOST_ROWS, PARAMETERS), "float32")], [])

    @property
    def cuda(self) -> CudaDevice:
        """The network's device."""
        return self._cuda

    def cut(
        self, frame: FrameOnGpu, image: U8, key: object, parameters: F32, hw: tuple[int, int], n: int
    ) -> CropsOnGpu:
        """Enqueue the crops that `parameters` (M, 9) describe (`export.gpu_graphs.crop_graph`), the first n of them and
        perhaps as many mirror images. Raises: EngineError."""
        there = frame.put(image, key)
        self._frames.add(frame)
        shape = (len(parameters), *hw, 3)
        address, give_back = self._memory.take(max(1, _rounded(len(parameters)) * prod(hw) * 3))
        crops = CropsOnGpu(DeviceTensor(self._cuda, address, shape, np.dtype(np.uint8)), n)
        weakref.finalize(crops, give_back)
        frame.begin(self._cuda)
        try:
            whole = DeviceTensor(self._cuda, address, shape, np.dtype(np.uint8))
            for start in range(0, len(parameters), MOST_ROWS):
                self._cut(there, parameters[start : start + MOST_ROWS], whole[start : start + MOST_ROWS])
        finally:
            self._cuda.record(self._done)
            frame.end(self._done)
        return crops

    def _cut(self, frame: DeviceTensor, parameters: F32, pixels: DeviceTensor) -> None:
        self._cuda.wait(self._sent)
        padded = np.zeros((MOST_ROWS, PARAMETERS), np.float32)
        padded[: len(parameters)] = parameters
        self._parameters.send({"crops": padded})
        self._cuda.record(self._sent)
        height, width = frame.shape[:2]
        numbers, size = self._numbers(max(height, width, *pixels.shape[1:3]), (width, height))
        inputs = {
            "frame": frame,
            "crops": self._parameters.device["crops"][: len(parameters)],
            "columns": numbers[:width],
            "rows": numbers[:height],
            "us": numbers[: pixels.shape[2]],
            "vs": numbers[: pixels.shape[1]],
            "size": size,
        }
        self._graph.bound(inputs, {"pixels": pixels}).enqueue()

    def _numbers(self, most: int, wh: tuple[int, int]) -> tuple[DeviceTensor, DeviceTensor]:
        """0, 1, 2, ... and the frame's width and height, uploaded when the frame's size is another one."""
        content: dict[str, NDArray[Any]] = {
            "numbers": np.arange(most, dtype=np.float32),
            "size": np.array(wh, np.float32),
        }
        if self._counting is None or wh != self._wh or most != self._counting.device["numbers"].shape[0]:
            if self._counting is not None:
                self._counting.close()
                self._counting = None
            places = [TensorPlace(name, array.shape, "float32") for name, array in content.items()]
            self._counting = Buffers(self._cuda, places, [])
            self._counting.send(content)
            self._wh = wh
        return self._counting.device["numbers"], self._counting.device["size"]

    _wh: tuple[int, int] = (0, 0)

    def close(self) -> None:
        """Release the graph, after its work; the memory goes with the device. May be called twice."""
        if self._cuda.is_open:
            self._cuda.drain()
        for frame in self._frames:
            frame.forget(self._done)
        self._graph.close()


def _rounded(rows: int) -> int:
    """A size that other batches have too."""
    return 1 << max(0, rows - 1).bit_length()
