"""What an engine promises: open a package, check it, warm up, run tensors by name, close.

`open`, `run` and `close` are final and hold the checks; an engine writes `_open`, `_run` and `_close`. The shape is
that of Polygraphy's BaseRunner (NVIDIA): public methods check, private ones compute.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self, cast, final

import numpy as np

from bodycast.engines.cuda.device import CudaDevice
from bodycast.engines.cuda.tensors import DeviceTensor
from bodycast.engines.devices import gpu_ordinal
from bodycast.engines.errors import EngineError, PackageError
from bodycast.engines.package import BATCH, ModelPackage, Tensor, Tensors, TensorSpec, shape_text

BATCH_BUCKETS = (1, 2, 4, 8, 16)
"""Batch sizes that an engine with a per-shape cost prepares; other sizes are padded to the next one."""


EngineInput = Tensor | DeviceTensor
"""An array, or for an engine whose `cuda` is not None a tensor made on that device's stream."""


def arrays_of(inputs: Mapping[str, EngineInput]) -> Mapping[str, Tensor]:
    """The inputs of an engine that takes arrays alone, as its `_run` gets them."""
    return cast("Mapping[str, Tensor]", inputs)


@dataclass(frozen=True, slots=True)
class GraphTensor:
    """An input or output as the opened graph has it: numpy dtype name, and sizes with text for a dynamic one."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]

    def __str__(self) -> str:
        return f"{self.name} {self.dtype} {shape_text(self.shape)}"


def _agree(spec: TensorSpec, tensor: GraphTensor, is_output: bool) -> bool:
    """Whether dtype and sizes are the same; a graph may leave sizes of its outputs open."""
    return (
        tensor.dtype == spec.dtype
        and len(spec.shape) == len(tensor.shape)
        and all(
            isinstance(got, str) if want == BATCH else want == got or (is_output and isinstance(got, str))
            for want, got in zip(spec.shape, tensor.shape, strict=True)
        )
    )


class Engine(ABC):
    """Runs one package on one device. Not safe to `run` from two threads at a time.

    Use as a context manager, or call `open` and `close`. Outputs of `run` are the caller's own arrays.
    """

    name: str = ""
    """The engine's name in the registry."""

    devices: tuple[str, ...] = ("cpu", "cuda")
    """Kinds of devices that it runs on."""

    def __init__(self, package: ModelPackage, device: str = "cpu", *, threads: int | None = None) -> None:
        """package: a loaded package. device: "cpu", "cuda" (the first GPU) or "cuda:1". threads: CPU threads, None for
        the engine's choice."""
        if threads is not None and threads < 1:
            raise EngineError(f"threads must be at least 1, got {threads}")
        self.package = package
        self.ordinal = gpu_ordinal(device)
        """Number of the GPU; None on the CPU."""
        if ("cpu" if self.ordinal is None else "cuda") not in self.devices:
            raise EngineError(f"{self.name} runs on {' or '.join(self.devices)}, not on {device!r}")
        self.device = device
        self.threads = threads
        self.reason = "asked for"
        """Why this engine and device were taken; `registry.open_engine` fills it in for "auto"."""
        self.notes: tuple[str, ...] = ()
        """What runs otherwise than usual on this device, and why; part of `describe`."""
        self._is_open = False
        self._before_close: list[Callable[[], None]] = []

    @property
    def cuda(self) -> CudaDevice | None:
        """The GPU and stream whose tensors `run` takes in place of arrays; None where it takes arrays alone."""
        return None

    @property
    def batch_buckets(self) -> tuple[int, ...]:
        """Batch sizes to pad to and to warm up; empty where any N runs at its own cost, as on a CPU."""
        return ()

    @property
    def max_batch(self) -> int:
        """Rows in one call of `_run`; more are split, so that a crowd needs no more memory than a group."""
        return max(self.batch_buckets, default=BATCH_BUCKETS[-1])

    @property
    def is_open(self) -> bool:
        """Between `open` and `close`."""
        return self._is_open

    @property
    def label(self) -> str:
        """Package, engine and device."""
        return f"{self.package.info.name} on {self.name} ({self.device})"

    def describe(self) -> str:
        """One line for people: package, engine, device, why; what runs otherwise than usual."""
        return "; ".join((f"{self.label}: {self.reason}", *self.notes))

    @final
    def open(self) -> Self:
        """Load the graph, compare it with `package.json`, warm up.

        Raises: EngineError (library or device missing), PackageError (the graph is not what the package says).
        """
        if self._is_open:
            raise EngineError(f"{self.describe()}: already open")
        inputs, outputs = self._open()
        self._is_open = True
        try:
            self._check_graph("input", self.package.info.inputs, inputs)
            self._check_graph("output", self.package.info.outputs, outputs)
            for batch in self.batch_buckets or (1,):
                self._run_checked(self._zeros(batch), batch)
        except BaseException:
            self.close()
            raise
        return self

    @final
    def run(self, inputs: Mapping[str, EngineInput]) -> Tensors:
        """Outputs by name. Inputs must have the package's names, dtypes and shapes, and one N among them.

        N = 0 gives outputs of the right shapes with no rows.

        Raises: EngineError with expected and actual.
        """
        if not self._is_open:
            raise EngineError(f"{self.describe()}: not open; call open(), or use it as a context manager")
        rows = self._check_inputs(inputs)
        if rows == 0:
            return {spec.name: np.zeros(spec.concrete(0), spec.dtype) for spec in self.package.info.outputs}
        if rows is None or rows <= self.max_batch:
            return self._run_padded(inputs, rows)
        parts = [self._run_padded(part, len_part) for part, len_part in self._split(inputs, rows)]
        return {
            spec.name: np.concatenate([part[spec.name] for part in parts]) if spec.batched else parts[0][spec.name]
            for spec in self.package.info.outputs
        }

    @final
    def close(self) -> None:
        """Release the graph. May be called twice."""
        if self._is_open:
            self._is_open = False
            calls, self._before_close = self._before_close, []
            try:
                for call in calls:
                    call()
            finally:
                self._close()

    @final
    def before_close(self, call: Callable[[], None]) -> None:
        """Call this when it is closed, while its device is still open."""
        self._before_close.append(call)

    @final
    def __enter__(self) -> Self:
        return self if self._is_open else self.open()

    @final
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @abstractmethod
    def _open(self) -> tuple[tuple[GraphTensor, ...], tuple[GraphTensor, ...]]:
        """Load the graph; give its inputs and outputs as they are in the graph."""

    @abstractmethod
    def _run(self, inputs: Mapping[str, EngineInput]) -> Tensors:
        """Run checked, contiguous inputs; N is one of `batch_buckets` where there are any. Of device tensors there may
        be fewer rows, down to one; rows of the outputs beyond them are not looked at."""

    @abstractmethod
    def _close(self) -> None:
        """Release what `_open` made."""

    def _check_graph(self, side: str, specs: tuple[TensorSpec, ...], graph: tuple[GraphTensor, ...]) -> None:
        found = {tensor.name: tensor for tensor in graph}
        same = set(found) == {spec.name for spec in specs} and all(
            _agree(spec, found[spec.name], side == "output") for spec in specs
        )
        if not same:
            raise PackageError(
                f"{self.package.model_path}: the graph's {side}s are not those of package.json: expected "
                f"{', '.join(map(str, specs))}; the graph has {', '.join(map(str, graph))}; export the package again"
            )

    def bucket_of(self, inputs: Mapping[str, EngineInput]) -> int:
        """Rows of the batch size that `_run` was given inputs for; 1 where no input has rows."""
        rows = max((len(inputs[spec.name]) for spec in self.package.info.inputs if spec.batched), default=1)
        return next((size for size in self.batch_buckets if size >= rows), rows)

    def _check_inputs(self, inputs: Mapping[str, EngineInput]) -> int | None:
        """The common N of the batched inputs; None where no input has one."""
        specs = self.package.info.inputs
        if set(inputs) != {spec.name for spec in specs}:
            expected = [spec.name for spec in specs]
            raise EngineError(f"{self.package.info.name}: expected the inputs {expected}, got {sorted(inputs)}")
        rows: int | None = None
        for spec in specs:
            array = inputs[spec.name]
            if isinstance(array, DeviceTensor) and array.owner is not self.cuda:
                raise EngineError(f"{self.package.info.name}: {spec.name} is on a GPU stream of another engine")
            if not spec.fits(array):
                raise EngineError(
                    f"{self.package.info.name}: expected {spec}, got {array.dtype} {shape_text(array.shape)}"
                )
            if spec.batched:
                if rows is not None and rows != len(array):
                    raise EngineError(f"{self.package.info.name}: inputs of {rows} and {len(array)} rows in one call")
                rows = len(array)
        return rows

    def _run_padded(self, inputs: Mapping[str, EngineInput], rows: int | None) -> Tensors:
        if rows is None:
            return self._run_checked(inputs, None)
        bucket = next((size for size in self.batch_buckets if size >= rows), rows)
        if bucket == rows:
            return self._run_checked(inputs, rows)
        padded: dict[str, EngineInput] = dict(inputs)
        for spec in self.package.info.inputs:
            value = inputs[spec.name]
            # Repeating the last row keeps the padding inside what the network knows. On the device it is what other
            # pictures left there.
            if spec.batched and not isinstance(value, DeviceTensor):
                padded[spec.name] = np.concatenate([value, value[-1:].repeat(bucket - rows, axis=0)])
        outputs = self._run_checked(padded, bucket)
        return {
            spec.name: outputs[spec.name][:rows] if spec.batched else outputs[spec.name]
            for spec in self.package.info.outputs
        }

    def _run_checked(self, inputs: Mapping[str, EngineInput], rows: int | None) -> Tensors:
        outputs = self._run(
            {
                name: value if isinstance(value, DeviceTensor) else np.asarray(value, order="C")
                for name, value in inputs.items()
            }
        )
        for spec in self.package.info.outputs:
            array = outputs[spec.name]
            if not spec.fits(array) or (spec.batched and rows is not None and len(array) != rows):
                raise EngineError(
                    f"{self.describe()}: expected {spec} for N = {rows}, "
                    f"the graph gave {array.dtype} {shape_text(array.shape)}"
                )
        return outputs

    def _split(self, inputs: Mapping[str, EngineInput], rows: int) -> list[tuple[dict[str, EngineInput], int]]:
        parts: list[tuple[dict[str, EngineInput], int]] = []
        for start in range(0, rows, self.max_batch):
            stop = min(start + self.max_batch, rows)
            part = {
                spec.name: inputs[spec.name][start:stop] if spec.batched else inputs[spec.name]
                for spec in self.package.info.inputs
            }
            parts.append((part, stop - start))
        return parts

    def _zeros(self, batch: int) -> dict[str, EngineInput]:
        return {spec.name: np.zeros(spec.concrete(batch), spec.dtype) for spec in self.package.info.inputs}
