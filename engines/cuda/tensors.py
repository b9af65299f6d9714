"""Tensors on a GPU, and the buffers of one batch size: page-locked host memory and device memory, by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bodycast.engines.cuda.device import CudaDevice
from bodycast.engines.errors import EngineError

Array = NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class DeviceTensor:
    """A contiguous tensor in the memory of `owner`, written by work on its stream. Rows can be sliced off, as in numpy.

    Valid until its memory is given back; holding one does not keep the memory.
    """

    owner: CudaDevice
    address: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """Size, bytes."""
        return prod(self.shape) * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> DeviceTensor:
        start, stop, step = rows.indices(len(self))
        if step != 1:
            raise ValueError("rows of a device tensor are sliced one after the other")
        row_bytes = prod(self.shape[1:]) * self.dtype.itemsize
        shape = (max(0, stop - start), *self.shape[1:])
        return DeviceTensor(self.owner, self.address + start * row_bytes, shape, self.dtype)

    def host(self) -> Array:
        """A copy in ordinary memory, after everything on the stream so far."""
        array: Array = np.empty(self.shape, self.dtype)
        try:
            self.owner.download(array, self.address)
        finally:
            # Also after an error: nothing may write into the array any more once it is let go.
            self.owner.drain()
        self.owner.synchronise()
        return array


@dataclass(frozen=True, slots=True)
class TensorPlace:
    """Name, shape and dtype of a tensor that gets buffers."""

    name: str
    shape: tuple[int, ...]
    dtype: str


class Buffers:
    """Host and device memory for the inputs and outputs of one batch size, made once and used in every run.

    `send` and `fetch` only enqueue; the host side belongs to the stream until it has been synchronised.
    """

    def __init__(self, cuda: CudaDevice, inputs: Sequence[TensorPlace], outputs: Sequence[TensorPlace]) -> None:
        """Raises: EngineError where memory is not to be had; what was got by then is given back."""
        self._cuda = cuda
        self._outputs = tuple(place.name for place in outputs)
        self._host: dict[str, Array] = {}
        self._device: dict[str, DeviceTensor] = {}
        try:
            for place in (*inputs, *outputs):
                host = self._host[place.name] = cuda.host_array(place.shape, place.dtype)
                address = cuda.allocate(host.nbytes)
                self._device[place.name] = DeviceTensor(cuda, address, host.shape, host.dtype)
        except BaseException:
            self.close()
            raise

    @property
    def device(self) -> Mapping[str, DeviceTensor]:
        """Device side by name; addresses stay the same until `close`."""
        return self._device

    def send(self, inputs: Mapping[str, Array | DeviceTensor]) -> None:
        """Enqueue the inputs' way to their buffers. A tensor on this device may have fewer rows than its buffer: the
        rows behind it keep what was there."""
        for name, value in inputs.items():
            target = self._device[name]
            if isinstance(value, DeviceTensor):
                if value.owner is not self._cuda:
                    raise EngineError(f"{name}: the tensor was made on another stream")
                self._cuda.copy(target.address, value.address, value.nbytes)
            else:
                self._host[name][...] = value
                self._cuda.upload(target.address, self._host[name])

    def fetch(self) -> None:
        """Enqueue the outputs' way to the host."""
        for name in self._outputs:
            self._cuda.download(self._host[name], self._device[name].address)

    def outputs(self) -> dict[str, Array]:
        """The fetched outputs, the caller's own arrays. The stream must have been synchronised."""
        return {name: self._host[name].copy() for name in self._outputs}

    def close(self) -> None:
        """Give the memory back. May be called twice; does nothing once the device is closed."""
        if self._cuda.is_open:
            for tensor in self._device.values():
                self._cuda.free(tensor.address)
            for array in self._host.values():
                self._cuda.free_host(array)
        self._device, self._host = {}, {}
