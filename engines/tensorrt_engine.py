"""TensorRT plans on an NVIDIA GPU: the `tensorrt` package, or `tensorrt_rtx` for RTX cards, which has the same API.

Each batch bucket gets a context, page-locked host arrays, fixed device addresses and one CUDA graph that holds the
network and the copy out: a run is a copy in and a launch. The contexts share their scratch memory, since they run one
after the other on one stream. Where a run cannot be recorded it goes on without a graph, and `describe` says why.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bodycast.engines.base import BATCH_BUCKETS, Engine, EngineInput, GraphTensor
from bodycast.engines.cuda.device import CudaDevice
from bodycast.engines.cuda.tensors import Buffers, TensorPlace
from bodycast.engines.errors import CaptureError, EngineError, PlanError
from bodycast.engines.optional import require
from bodycast.engines.package import BATCH, ModelPackage, Tensors
from bodycast.engines.plans import Plan, expected_key, find_plan, others_may_write
from bodycast.engines.user_cache import cache_folder, write_whole


@dataclass
class _Bucket:
    """One batch size, ready to run. graph: None where the context cannot be captured."""

    context: Any
    buffers: Buffers
    graph: object | None = None


class TensorRtEngine(Engine):
    """Runs a plan of the full TensorRT, built on a GPU of the same name by the same version."""

    name = "tensorrt"
    devices = ("cuda",)
    library = "tensorrt"
    runtime_flag = "tensorrt"

    def __init__(self, package: ModelPackage, device: str = "cuda", *, threads: int | None = None) -> None:
        super().__init__(package, device, threads=threads)
        self._trt: Any = None
        self._runtime: Any = None
        self._plan: Any = None
        self._jit_cache: Any = None
        self._cuda: CudaDevice | None = None
        self._record: Plan | None = None
        self._scratch = (0, 0)
        self._buckets: dict[int, _Bucket] = {}
        self._sizes: tuple[int, ...] = ()

    @property
    def batch_buckets(self) -> tuple[int, ...]:
        """The usual sizes within the plan's range; known once it is open."""
        return self._sizes

    @property
    def cuda(self) -> CudaDevice | None:
        """The GPU and stream that it runs on; None while it is not open."""
        return self._cuda

    @property
    def uses_cuda_graphs(self) -> bool:
        """Whether every prepared size runs as one recorded graph."""
        return bool(self._buckets) and all(bucket.graph is not None for bucket in self._buckets.values())

    def _open(self) -> tuple[tuple[GraphTensor, ...], tuple[GraphTensor, ...]]:
        self._trt = require(self.library, "gpu.txt")
        self._cuda = CudaDevice(self.ordinal or 0)
        try:
            return self._open_plan(self._cuda)
        except BaseException:
            self._close()
            raise

    def _open_plan(self, cuda: CudaDevice) -> tuple[tuple[GraphTensor, ...], tuple[GraphTensor, ...]]:
        trt = self._trt
        expected = expected_key(self.package, self.library, str(trt.__version__), cuda.gpu)
        self._record = find_plan(self.package, expected, self.runtime_flag)
        logger = trt.Logger(trt.Logger.ERROR)
        self._runtime = trt.Runtime(logger)
        self._plan = self._runtime.deserialize_cuda_engine(self._record.read())
        if self._plan is None:
            raise PlanError(
                f"{self._record.path}: {self.library} {trt.__version__} cannot open it on {cuda.gpu.name}; build it "
                f"again: bodycast export tensorrt {self.package.folder} --runtime {self.runtime_flag}"
            )
        size = int(self._plan.device_memory_size_v2)
        self._scratch = (cuda.allocate(size), size)
        inputs: list[GraphTensor] = []
        outputs: list[GraphTensor] = []
        for index in range(self._plan.num_io_tensors):
            tensor = self._graph_tensor(str(self._plan.get_tensor_name(index)))
            is_input = self._plan.get_tensor_mode(tensor.name) == trt.TensorIOMode.INPUT
            (inputs if is_input else outputs).append(tensor)
        self._sizes = self._bucket_sizes(inputs)
        return tuple(inputs), tuple(outputs)

    def _graph_tensor(self, name: str) -> GraphTensor:
        dtype = np.dtype(self._trt.nptype(self._plan.get_tensor_dtype(name))).name
        shape = tuple(BATCH if size < 0 else int(size) for size in self._plan.get_tensor_shape(name))
        return GraphTensor(name, dtype, shape)

    def _bucket_sizes(self, inputs: list[GraphTensor]) -> tuple[int, ...]:
        for tensor in inputs:
            if tensor.shape and tensor.shape[0] == BATCH:
                least, _, most = self._plan.get_tensor_profile_shape(tensor.name, 0)
                low, high = int(least[0]), int(most[0])
                return tuple(sorted({size for size in BATCH_BUCKETS if low <= size <= high} | {high}))
        return ()

    def _run(self, inputs: Mapping[str, EngineInput]) -> Tensors:
        assert self._cuda is not None
        rows = self.bucket_of(inputs)
        try:
            # Opened in one thread, run in another: the library needs the context too.
            self._cuda.activate()
            bucket = self._buckets.get(rows)
            if bucket is None:
                bucket = self._buckets[rows] = self._prepare(self._cuda, rows)
            return self._run_bucket(self._cuda, bucket, inputs)
        except EngineError as error:
            raise EngineError(f"{self.describe()}: {error}") from error

    def _run_bucket(self, cuda: CudaDevice, bucket: _Bucket, inputs: Mapping[str, EngineInput]) -> Tensors:
        try:
            bucket.buffers.send(inputs)
            if bucket.graph is not None:
                cuda.launch(bucket.graph)
            else:
                self._enqueue(cuda, bucket)
            cuda.synchronise()
        except BaseException:
            # What is on the stream still reads and writes the buffers.
            cuda.drain()
            raise
        return bucket.buffers.outputs()

    def _prepare(self, cuda: CudaDevice, rows: int) -> _Bucket:
        """Buffers, a context and a CUDA graph for this many rows; nothing is kept where one of them cannot be made."""
        info = self.package.info
        places = [
            tuple(TensorPlace(spec.name, spec.concrete(rows), spec.dtype) for spec in specs)
            for specs in (info.inputs, info.outputs)
        ]
        buffers = Buffers(cuda, *places)
        try:
            bucket = _Bucket(self._shaped_context(buffers, rows), buffers)
            # The first run compiles and allocates, which no graph can hold.
            self._enqueue(cuda, bucket)
            cuda.synchronise()
            bucket.graph = self._recorded(cuda, bucket)
        except BaseException:
            cuda.drain()
            buffers.close()
            raise
        return bucket

    def _shaped_context(self, buffers: Buffers, rows: int) -> Any:
        """A context with its scratch memory, addresses and input shapes."""
        context = self._new_context()
        if context is None:
            raise EngineError(f"{self.library} makes no execution context: too little memory on the GPU")
        context.set_device_memory(*self._scratch)
        for name, tensor in buffers.device.items():
            if not context.set_tensor_address(name, tensor.address):
                raise EngineError(f"{self.library} refused the address of {name!r}")
        for spec in self.package.info.inputs:
            if not context.set_input_shape(spec.name, spec.concrete(rows)):
                raise EngineError(f"{self.library} refused {spec.name} {spec.concrete(rows)}")
        missing = context.infer_shapes()
        if missing:
            raise EngineError(f"{self.library} does not know the shapes of {', '.join(missing)}")
        return context

    def _recorded(self, cuda: CudaDevice, bucket: _Bucket) -> object | None:
        """The bucket's run as a CUDA graph; None where it cannot be one, and `notes` says why."""
        why = f"{self.library} says that this plan cannot be recorded"
        try:
            if self._capturable(bucket.context, cuda):
                return cuda.capture(lambda: self._enqueue(cuda, bucket))
        except CaptureError as error:
            why = str(error)
        self.notes = (f"no CUDA graphs: {why}",)
        return None

    def _enqueue(self, cuda: CudaDevice, bucket: _Bucket) -> None:
        cuda.submit(lambda: self._execute(cuda, bucket.context))
        bucket.buffers.fetch()

    def _execute(self, cuda: CudaDevice, context: Any) -> None:
        if not context.execute_async_v3(cuda.stream):
            raise EngineError(f"{self.library} did not run the plan")

    def _new_context(self) -> Any:
        return self._plan.create_execution_context(self._trt.ExecutionContextAllocationStrategy.USER_MANAGED)

    def _capturable(self, context: Any, cuda: CudaDevice) -> bool:
        return True

    def _close(self) -> None:
        if self._cuda is not None:
            # After an error of the GPU nothing of it can be asked any more, but all of it is to be let go.
            with suppress(EngineError):
                self._cuda.synchronise()
        self._save_compiled()
        self._buckets.clear()
        self._jit_cache = self._plan = self._runtime = None
        self._sizes = ()
        if self._cuda is not None:
            cuda, self._cuda = self._cuda, None
            cuda.close()

    def _save_compiled(self) -> None:
        """Keep what this run compiled, for the next; the full TensorRT compiles nothing at run time."""


class TensorRtRtxEngine(TensorRtEngine):
    """Runs a plan of TensorRT for RTX, built ahead of time for a compute capability.

    The library finishes the kernels on the machine that runs them. That is done at the door (eager specialisation, so
    that the captured graphs hold the final kernels) and kept in the user's cache for the next start.
    """

    name = "tensorrt-rtx"
    library = "tensorrt_rtx"
    runtime_flag = "rtx"

    def _new_context(self) -> Any:
        trt = self._trt
        config = self._plan.create_runtime_config()
        config.set_execution_context_allocation_strategy(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
        config.dynamic_shapes_kernel_specialization_strategy = trt.DynamicShapesKernelSpecializationStrategy.EAGER
        # The whole run, copies included, is captured here.
        config.cuda_graph_strategy = trt.CudaGraphStrategy.DISABLED
        if self._jit_cache is None:
            self._jit_cache = config.create_runtime_cache()
            path = self._compiled_path()
            if path.is_file() and not (others_may_write(path) or others_may_write(path.parent)):
                # It checks version, GPU and driver itself, and stays empty where they changed. Compiled kernels that
                # somebody else could have put there are compiled anew.
                self._jit_cache.deserialize(path.read_bytes())
        config.set_runtime_cache(self._jit_cache)
        return self._plan.create_execution_context(config)

    def _capturable(self, context: Any, cuda: CudaDevice) -> bool:
        return bool(context.is_stream_capturable(cuda.stream))

    def _compiled_path(self) -> Path:
        assert self._record is not None
        return cache_folder() / "kernels" / f"{self._record.path.stem}.jit"

    def _save_compiled(self) -> None:
        if self._jit_cache is None or not self._buckets:
            return
        content = self._jit_cache.serialize()
        # Without it the next start compiles again; that is no reason to fail this one's end.
        with suppress(OSError):
            write_whole(self._compiled_path(), bytes(content), private=True)
