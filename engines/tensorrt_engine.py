"""TensorRT plans on an NVIDIA GPU: the `tensorrt` package, or `tensorrt_rtx` for RTX cards, which has the same API.

Each batch bucket gets a context, page-locked host arrays, fixed device addresses and one CUDA graph that holds the
copy in, the network and the copy out: a run is then a single launch. The contexts share their scratch memory, since
they run one after the other on one stream.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bodycast.engines.base import BATCH_BUCKETS, Engine, GraphTensor
from bodycast.engines.cuda import CudaDevice
from bodycast.engines.errors import EngineError, PlanError
from bodycast.engines.optional import require
from bodycast.engines.package import BATCH, ModelPackage, Tensor, Tensors
from bodycast.engines.plans import Plan, expected_key, find_plan
from bodycast.engines.user_cache import cache_folder, write_whole


@dataclass
class _Bucket:
    """One batch size, ready to run. graph: None where the context cannot be captured."""

    context: Any
    host: Tensors
    device: dict[str, int]
    graph: object | None = None


class TensorRtEngine(Engine):
    """Runs a plan of the full TensorRT, built on a GPU of the same name by the same version."""

    name = "tensorrt"
    library = "tensorrt"
    runtime_flag = "tensorrt"

    def __init__(self, package: ModelPackage, device: str = "cuda", *, threads: int | None = None) -> None:
        super().__init__(package, device, threads=threads)
        if device != "cuda":
            raise EngineError(f"{self.name} runs on cuda, not on {device!r}")
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
    def uses_cuda_graphs(self) -> bool:
        """Whether every prepared size runs as one recorded graph."""
        return bool(self._buckets) and all(bucket.graph is not None for bucket in self._buckets.values())

    def _open(self) -> tuple[tuple[GraphTensor, ...], tuple[GraphTensor, ...]]:
        self._trt = require(self.library, "gpu.txt")
        self._cuda = CudaDevice()
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

    def _run(self, inputs: Mapping[str, Tensor]) -> Tensors:
        cuda = self._cuda
        assert cuda is not None
        # Opened in one thread, run in another: the library needs the context too.
        cuda.activate()
        rows = next((len(inputs[spec.name]) for spec in self.package.info.inputs if spec.batched), 1)
        bucket = self._buckets.get(rows)
        if bucket is None:
            bucket = self._buckets[rows] = self._prepare(cuda, rows)
        for name, array in inputs.items():
            bucket.host[name][...] = array
        if bucket.graph is not None:
            cuda.launch(bucket.graph)
        else:
            self._enqueue(cuda, bucket)
        cuda.synchronise()
        return {spec.name: bucket.host[spec.name].copy() for spec in self.package.info.outputs}

    def _prepare(self, cuda: CudaDevice, rows: int) -> _Bucket:
        """Buffers, a context and a CUDA graph for this many rows."""
        host: Tensors = {}
        device: dict[str, int] = {}
        context = self._new_context()
        context.set_device_memory(*self._scratch)
        for spec in (*self.package.info.inputs, *self.package.info.outputs):
            host[spec.name] = cuda.host_array(spec.concrete(rows), spec.dtype)
            device[spec.name] = cuda.allocate(host[spec.name].nbytes)
            if not context.set_tensor_address(spec.name, device[spec.name]):
                raise EngineError(f"{self.describe()}: {self.library} refused the address of {spec.name!r}")
        for spec in self.package.info.inputs:
            if not context.set_input_shape(spec.name, spec.concrete(rows)):
                raise EngineError(f"{self.describe()}: {self.library} refused {spec.name} {spec.concrete(rows)}")
        bucket = _Bucket(context, host, device)
        # The first run compiles and allocates, which no graph can hold.
        self._enqueue(cuda, bucket)
        cuda.synchronise()
        if self._capturable(context, cuda):
            bucket.graph = cuda.capture(lambda: self._enqueue(cuda, bucket))
        return bucket

    def _enqueue(self, cuda: CudaDevice, bucket: _Bucket) -> None:
        for spec in self.package.info.inputs:
            cuda.upload(bucket.device[spec.name], bucket.host[spec.name])
        if not bucket.context.execute_async_v3(cuda.stream):
            raise EngineError(f"{self.describe()}: {self.library} did not run the plan")
        for spec in self.package.info.outputs:
            cuda.download(bucket.host[spec.name], bucket.device[spec.name])

    def _new_context(self) -> Any:
        return self._plan.create_execution_context(self._trt.ExecutionContextAllocationStrategy.USER_MANAGED)

    def _capturable(self, context: Any, cuda: CudaDevice) -> bool:
        return True

    def _close(self) -> None:
        if self._cuda is not None:
            self._cuda.activate()
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
            if path.is_file():
                # It checks version, GPU and driver itself, and stays empty where they changed.
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
            write_whole(self._compiled_path(), bytes(content))
