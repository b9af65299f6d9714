"""ONNX Runtime on the CPU or, through IO binding and recorded CUDA graphs, on CUDA.

On CUDA each batch bucket has page-locked and device memory of its own, made when the engine opens; its run is recorded
once and replayed. Where a graph cannot be recorded it runs node by node, and `describe` says so with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from bodycast.engines.base import BATCH_BUCKETS, Engine, EngineInput, GraphTensor
from bodycast.engines.cuda.device import CudaDevice
from bodycast.engines.cuda.onnx_session import PROVIDER, BoundRun, OnnxSession
from bodycast.engines.cuda.tensors import Buffers, TensorPlace
from bodycast.engines.devices import usable_cores
from bodycast.engines.errors import EngineError, EngineUnavailableError, first_line
from bodycast.engines.optional import require
from bodycast.engines.package import ModelPackage, Tensor, Tensors

_DTYPES = {
    "tensor(uint8)": "uint8",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(float16)": "float16",
    "tensor(float)": "float32",
}
_ERROR = 3
_CPU = "CPUExecutionProvider"

SETTINGS = {"session.intra_op.allow_spinning": "0"}
"""Spinning threads answer sooner (some 4 % on two cores) but would keep every core at 100 % between frames, where
drawing and decoding need it. Other settings are measured by `python -m evaluation session-options`."""


@dataclass(frozen=True, slots=True)
class _Bucket:
    """What one batch size keeps on the GPU."""

    buffers: Buffers
    bound: BoundRun


class OnnxRuntimeEngine(Engine):
    """Runs the package's ONNX graph with ONNX Runtime."""

    name = "onnxruntime"

    def __init__(self, package: ModelPackage, device: str = "cpu", *, threads: int | None = None) -> None:
        super().__init__(package, device, threads=threads)
        self._session: Any = None
        self._on_cuda: OnnxSession | None = None
        self._cuda: CudaDevice | None = None
        self._buckets: dict[int, _Bucket] = {}

    @property
    def batch_buckets(self) -> tuple[int, ...]:
        """CUDA prepares kernels and memory for each new shape, so sizes are few; a CPU runs any N at its cost."""
        return () if self.ordinal is None else BATCH_BUCKETS

    @property
    def cuda(self) -> CudaDevice | None:
        """The GPU and stream that it runs on; None on the CPU, and while it is not open."""
        return self._cuda

    @property
    def uses_cuda_graphs(self) -> bool:
        """Whether runs replay a recorded CUDA graph; known once it is open."""
        return self._on_cuda is not None and self._on_cuda.recorded

    def _open(self) -> tuple[tuple[GraphTensor, ...], tuple[GraphTensor, ...]]:
        ort = require("onnxruntime", "live.txt")
        available = cast("list[str]", ort.get_available_providers())
        wanted = _CPU if self.ordinal is None else PROVIDER
        if wanted not in available:
            raise EngineUnavailableError(
                f"onnxruntime has no {wanted}, it has {', '.join(available)}; for CUDA: pip install -r "
                "requirements/gpu.txt"
            )
        if self.ordinal is None:
            session = self._session = self._cpu_session(ort)
        else:
            session = self._open_on_cuda(ort, self.ordinal).session
        return (
            tuple(_graph_tensor(node) for node in session.get_inputs()),
            tuple(_graph_tensor(node) for node in session.get_outputs()),
        )

    def _cpu_session(self, ort: Any) -> Any:
        options = session_options(ort, self.threads)
        try:
            return ort.InferenceSession(str(self.package.model_path), options, providers=[_CPU])
        except Exception as error:  # its exception classes share no public base
            raise EngineError(f"{self.package.model_path}: onnxruntime cannot open it: {first_line(error)}") from error

    def _open_on_cuda(self, ort: Any, ordinal: int) -> OnnxSession:
        """With recorded graphs, or without where the session refuses, as for nodes that CUDA does not run."""
        # First of all: a session that finds no driver writes lines of its own into the terminal.
        self._cuda = CudaDevice(ordinal)
        try:
            self._on_cuda = self._cuda_session(ort, recorded=True)
        except EngineUnavailableError:
            self._close()
            raise
        except EngineError as error:
            self._unrecorded(ort, str(error))
        return cast("OnnxSession", self._on_cuda)

    def _cuda_session(self, ort: Any, recorded: bool) -> OnnxSession:
        assert self._cuda is not None
        options = session_options(ort, self.threads)
        return OnnxSession(ort, self.package.model_path, self._cuda, options, recorded=recorded)

    def _unrecorded(self, ort: Any, why: str) -> None:
        """Go on with a session that records nothing."""
        self._drop_buckets()
        if self._on_cuda is not None:
            self._on_cuda.close()
        try:
            self._on_cuda = self._cuda_session(ort, recorded=False)
        except BaseException:
            self._close()
            raise
        self.notes = (f"no CUDA graphs: {why}",)

    def _run(self, inputs: Mapping[str, EngineInput]) -> Tensors:
        if self._on_cuda is not None:
            return self._run_on_cuda(inputs)
        try:
            names = [spec.name for spec in self.package.info.outputs]
            values = cast("list[Tensor]", self._session.run(names, inputs))
        except Exception as error:  # its exception classes share no public base
            raise EngineError(f"{self.describe()}: {first_line(error)}") from error
        return dict(zip(names, values, strict=True))

    def _run_on_cuda(self, inputs: Mapping[str, EngineInput]) -> Tensors:
        rows = self.bucket_of(inputs)
        try:
            if rows in self._buckets:
                return self._replay(self._buckets[rows], inputs)
            return self._first_run(rows, inputs)
        except EngineError as error:
            raise EngineError(f"{self.describe()}: {error}") from error

    def _first_run(self, rows: int, inputs: Mapping[str, EngineInput]) -> Tensors:
        """Make a batch size's buffers and run it, which records its graph. Of a recording that fails the whole session
        is of no more use."""
        try:
            self._buckets[rows] = self._prepare(rows)
            return self._replay(self._buckets[rows], inputs)
        except EngineError as error:
            if not self.uses_cuda_graphs or rows not in self._buckets:
                raise
            self._unrecorded(require("onnxruntime", "live.txt"), str(error))
        self._buckets[rows] = self._prepare(rows)
        return self._replay(self._buckets[rows], inputs)

    def _prepare(self, rows: int) -> _Bucket:
        assert self._cuda is not None and self._on_cuda is not None
        info = self.package.info
        places = [
            tuple(TensorPlace(spec.name, spec.concrete(rows), spec.dtype) for spec in specs)
            for specs in (info.inputs, info.outputs)
        ]
        buffers = Buffers(self._cuda, *places)
        inputs = {spec.name: buffers.device[spec.name] for spec in info.inputs}
        outputs = {spec.name: buffers.device[spec.name] for spec in info.outputs}
        return _Bucket(buffers, self._on_cuda.bound(inputs, outputs, graph_id=rows))

    def _replay(self, bucket: _Bucket, inputs: Mapping[str, EngineInput]) -> Tensors:
        assert self._cuda is not None
        try:
            bucket.buffers.send(inputs)
            bucket.bound.enqueue()
            bucket.buffers.fetch()
            self._cuda.synchronise()
        except BaseException:
            # What is on the stream still reads and writes the buffers.
            self._cuda.drain()
            raise
        return bucket.buffers.outputs()

    def _drop_buckets(self) -> None:
        buckets, self._buckets = list(self._buckets.values()), {}
        for bucket in buckets:
            bucket.buffers.close()

    def _close(self) -> None:
        self._session = None
        if self._on_cuda is not None:
            self._on_cuda.close()
            self._on_cuda = None
        self._buckets = {}
        if self._cuda is not None:
            self._cuda.close()
            self._cuda = None


def session_options(ort: Any, threads: int | None = None, settings: Mapping[str, str] = SETTINGS) -> Any:
    """What a session here is opened with. threads: None for one a physical core."""
    options = ort.SessionOptions()
    options.log_severity_level = _ERROR
    options.inter_op_num_threads = 1
    options.intra_op_num_threads = threads or usable_cores()
    for key, value in settings.items():
        options.add_session_config_entry(key, value)
    return options


def _graph_tensor(node: Any) -> GraphTensor:
    dtype = _DTYPES.get(node.type, str(node.type))
    shape = tuple(size if isinstance(size, int) else str(size or "?") for size in cast("list[Any]", node.shape))
    return GraphTensor(str(node.name), dtype, shape)
