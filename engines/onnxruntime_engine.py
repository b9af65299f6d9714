"""ONNX Runtime on the CPU or, through IO binding and recorded CUDA graphs, on CUDA.

ONNX Runtime falls back to the CPU without a word where CUDA does not start. Here that is an error: the providers of
the finished session are compared with the request.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from bodycast.engines.base import BATCH_BUCKETS, Engine, GraphTensor
from bodycast.engines.devices import cuda_devices, usable_cores
from bodycast.engines.errors import EngineError, EngineUnavailableError
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
_CUDA = "CUDAExecutionProvider"
_CPU = "CPUExecutionProvider"

SETTINGS = {"session.intra_op.allow_spinning": "0"}
"""Spinning threads answer sooner (some 4 % on two cores) but would keep every core at 100 % between frames, where
drawing and decoding need it. Other settings are measured by `python -m evaluation session-options`."""


@dataclass(frozen=True)
class _DeviceBuffers:
    """What one batch size keeps on the GPU."""

    inputs: dict[str, Any]
    outputs: dict[str, Any]
    binding: Any
    run_options: Any


class OnnxRuntimeEngine(Engine):
    """Runs the package's ONNX graph with ONNX Runtime."""

    name = "onnxruntime"

    def __init__(self, package: ModelPackage, device: str = "cpu", *, threads: int | None = None) -> None:
        super().__init__(package, device, threads=threads)
        if device not in ("cpu", "cuda"):
            raise EngineError(f"onnxruntime runs on cpu or cuda, not on {device!r}")
        self._session: Any = None
        self.uses_cuda_graphs = False
        """Whether runs replay a recorded CUDA graph; known once it is open."""
        self._device_buffers: dict[int, _DeviceBuffers] = {}

    @property
    def batch_buckets(self) -> tuple[int, ...]:
        """CUDA prepares kernels and memory for each new shape, so sizes are few; a CPU runs any N at its cost."""
        return BATCH_BUCKETS if self.device == "cuda" else ()

    def _open(self) -> tuple[tuple[GraphTensor, ...], tuple[GraphTensor, ...]]:
        ort = require("onnxruntime", "live.txt")
        available = cast("list[str]", ort.get_available_providers())
        wanted = _CUDA if self.device == "cuda" else _CPU
        if wanted not in available:
            raise EngineUnavailableError(
                f"onnxruntime has no {wanted}, it has {', '.join(available)}; for CUDA: pip install -r "
                "requirements/gpu.txt"
            )
        if self.device == "cuda" and cuda_devices()[0] == 0:
            # Asked first: a session that finds no driver writes lines of its own into the terminal.
            raise EngineUnavailableError(
                f"onnxruntime cannot start {wanted}: {cuda_devices()[1]}. What runs here is {_CPU}: --device cpu"
            )
        loader_says = self._preload_cuda(ort) if self.device == "cuda" else ""
        session = self._new_session(ort, session_options(ort, self.threads))
        actual = cast("list[str]", session.get_providers())
        if actual[0] != wanted:
            raise EngineUnavailableError(
                f"onnxruntime did not start {wanted}, only {', '.join(actual)}: {cuda_devices()[1]}. It needs the CUDA "
                f"and cuDNN libraries of requirements/gpu.txt. {loader_says}".strip()
            )
        self._session = session
        return (
            tuple(_graph_tensor(node) for node in session.get_inputs()),
            tuple(_graph_tensor(node) for node in session.get_outputs()),
        )

    def _run(self, inputs: Mapping[str, Tensor]) -> Tensors:
        session = self._session
        try:
            names = [spec.name for spec in self.package.info.outputs]
            values = self._run_cuda(session, inputs, names) if self.device == "cuda" else session.run(names, inputs)
        except Exception as error:  # its exception classes share no public base
            raise EngineError(f"{self.describe()}: {_first_line(error)}") from error
        return dict(zip(names, cast("list[Tensor]", values), strict=True))

    def _new_session(self, ort: Any, options: Any) -> Any:
        """A session; on CUDA with recorded graphs, or without them where the graph has nodes that CUDA does not run."""
        try:
            if self.device == "cuda":
                try:
                    session = self._session_of(ort, options, recorded=True)
                    self.uses_cuda_graphs = True
                    return session
                except Exception:  # its exception classes share no public base
                    self.uses_cuda_graphs = False
            return self._session_of(ort, options, recorded=False)
        except Exception as error:  # likewise
            raise EngineError(f"{self.package.model_path}: onnxruntime cannot open it: {_first_line(error)}") from error

    def _session_of(self, ort: Any, options: Any, recorded: bool) -> Any:
        return ort.InferenceSession(str(self.package.model_path), options, providers=self._providers(recorded))

    def _run_cuda(self, session: Any, inputs: Mapping[str, Tensor], names: list[str]) -> list[Tensor]:
        """Inputs and outputs have buffers that stay on the device, one set and one recorded graph for each size.

        A recorded graph replays with the addresses it was recorded with, so outputs are bound to fixed memory too.
        """
        ort = require("onnxruntime", "live.txt")
        rows = next((len(inputs[spec.name]) for spec in self.package.info.inputs if spec.batched), 1)
        buffers = self._device_buffers.get(rows)
        if buffers is None:
            buffers = self._device_buffers[rows] = self._bind(ort, session, inputs, rows)
        else:
            for name, array in inputs.items():
                buffers.inputs[name].update_inplace(array)
        session.run_with_iobinding(buffers.binding, buffers.run_options)
        return [cast("Tensor", buffers.outputs[name].numpy()) for name in names]

    def _bind(self, ort: Any, session: Any, inputs: Mapping[str, Tensor], rows: int) -> _DeviceBuffers:
        values = {name: ort.OrtValue.ortvalue_from_numpy(array, "cuda", 0) for name, array in inputs.items()}
        outputs = {
            spec.name: ort.OrtValue.ortvalue_from_shape_and_type(spec.concrete(rows), np.dtype(spec.dtype), "cuda", 0)
            for spec in self.package.info.outputs
        }
        binding = session.io_binding()
        for name, value in values.items():
            binding.bind_ortvalue_input(name, value)
        for name, value in outputs.items():
            binding.bind_ortvalue_output(name, value)
        run_options = ort.RunOptions()
        if self.uses_cuda_graphs:
            # The first run with a new number records, later ones replay.
            run_options.add_run_config_entry("gpu_graph_id", str(rows))
        return _DeviceBuffers(values, outputs, binding, run_options)

    def _close(self) -> None:
        self._device_buffers.clear()
        self._session = None

    def _providers(self, recorded: bool) -> list[Any]:
        if self.device == "cpu":
            return [_CPU]
        cuda = {
            "device_id": "0",
            # An exhaustive search costs seconds for each batch size and gains nothing on these small graphs.
            "cudnn_conv_algo_search": "HEURISTIC",
            # Memory grows by what is asked for, not in doubling steps: other programs use the GPU too.
            "arena_extend_strategy": "kSameAsRequested",
            "enable_cuda_graph": "1" if recorded else "0",
        }
        return [(_CUDA, cuda), _CPU]

    @staticmethod
    def _preload_cuda(ort: Any) -> str:
        """Load CUDA and cuDNN from the `nvidia-*` packages; give what the loader prints, for the error."""
        printed = io.StringIO()
        with redirect_stdout(printed):
            ort.preload_dlls()
        return " ".join(printed.getvalue().split())


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


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
