"""An ONNX graph in ONNX Runtime on a CudaDevice's stream, with inputs and outputs at addresses of ours.

The stream is ours (`user_compute_stream`), so that copies, graphs and other libraries' work stand in one order and the
caller waits once, at the end of a run. Names and rules: ONNX Runtime's CUDA execution provider and I/O binding pages.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, cast

from bodycast.engines.cuda.device import CudaDevice
from bodycast.engines.cuda.tensors import DeviceTensor
from bodycast.engines.errors import EngineError, EngineUnavailableError, first_line

PROVIDER = "CUDAExecutionProvider"


def cuda_providers(cuda: CudaDevice, recorded: bool, tf32: bool) -> list[Any]:
    """Providers of a session. recorded: each `gpu_graph_id` is recorded as a CUDA graph at its first run and replayed
    from then on, which wants fixed addresses and shapes, and every node on the GPU. tf32: fp32 products with ten bits
    of mantissa, where the GPU has them."""
    options = {
        "device_id": str(cuda.ordinal),
        "user_compute_stream": str(cuda.stream),
        # An exhaustive search costs seconds for each batch size and gains nothing on these small graphs.
        "cudnn_conv_algo_search": "HEURISTIC",
        # Memory grows by what is asked for, not in doubling steps: other programs use the GPU too.
        "arena_extend_strategy": "kSameAsRequested",
        "enable_cuda_graph": "1" if recorded else "0",
        "use_tf32": "1" if tf32 else "0",
    }
    return [(PROVIDER, options), "CPUExecutionProvider"]


def started_provider(session: Any) -> str:
    """The provider that a session really uses first."""
    return cast("list[str]", session.get_providers())[0]


class OnnxSession:
    """One graph, opened. Run it with device tensors; close it before the device."""

    def __init__(
        self,
        ort: Any,
        model: Path | bytes,
        cuda: CudaDevice,
        options: Any,
        *,
        recorded: bool,
        tf32: bool = True,
    ) -> None:
        """model: a file, or the graph itself. options: `onnxruntime.SessionOptions`.

        Raises: EngineError where the graph does not open; EngineUnavailableError where CUDA does not start.
        """
        loader_says = preload_cuda(ort)
        where = str(model) if isinstance(model, Path) else "a graph of ours"
        source = str(model) if isinstance(model, Path) else model
        try:
            session = ort.InferenceSession(source, options, providers=cuda_providers(cuda, recorded, tf32))
        except Exception as error:  # its exception classes share no public base
            raise EngineError(f"{where}: onnxruntime cannot open it: {first_line(error)}") from error
        # It falls back to the CPU without a word where CUDA does not start.
        if started_provider(session) != PROVIDER:
            raise EngineUnavailableError(
                f"onnxruntime did not start {PROVIDER}, only {', '.join(session.get_providers())}: it needs the CUDA "
                f"and cuDNN libraries of requirements/gpu.txt. {loader_says}".strip()
            )
        self._ort, self._cuda = ort, cuda
        self._session: Any = session
        self.recorded = recorded

    @property
    def session(self) -> Any:
        """ONNX Runtime's session."""
        return self._session

    def bound(
        self, inputs: Mapping[str, DeviceTensor], outputs: Mapping[str, DeviceTensor], graph_id: int | None = None
    ) -> BoundRun:
        """The graph with these tensors, to be run once or often. graph_id: of the recorded CUDA graph."""
        binding = self._session.io_binding()
        for name, tensor in inputs.items():
            binding.bind_input(name, *self._place(tensor))
        for name, tensor in outputs.items():
            binding.bind_output(name, *self._place(tensor))
        run_options = self._ort.RunOptions()
        # The caller waits for the stream, once, behind its copies.
        run_options.add_run_config_entry("disable_synchronize_execution_providers", "1")
        if self.recorded and graph_id is not None:
            run_options.add_run_config_entry("gpu_graph_id", str(graph_id))
        return BoundRun(self._session, binding, run_options, self._cuda)

    def close(self) -> None:
        """Release the graph and its memory. May be called twice; runs that were bound are void then."""
        self._session = None

    def _place(self, tensor: DeviceTensor) -> tuple[Any, ...]:
        return self._cuda.memory_name, self._cuda.ordinal, tensor.dtype.type, tensor.shape, tensor.address


class BoundRun:
    """A session with its tensors bound."""

    def __init__(self, session: Any, binding: Any, run_options: Any, cuda: CudaDevice) -> None:
        self._session, self._binding, self._run_options, self._cuda = session, binding, run_options, cuda

    def enqueue(self) -> None:
        """Put the graph on the device's stream. Raises: EngineError where the library refuses."""

        def work() -> None:
            try:
                self._session.run_with_iobinding(self._binding, self._run_options)
            except Exception as error:  # its exception classes share no public base
                raise EngineError(first_line(error)) from error

        self._cuda.submit(work)


def preload_cuda(ort: Any) -> str:
    """Load CUDA and cuDNN from the `nvidia-*` packages; give what the loader prints, for an error."""
    printed = io.StringIO()
    with redirect_stdout(printed):
        ort.preload_dlls()
    return " ".join(printed.getvalue().split())
