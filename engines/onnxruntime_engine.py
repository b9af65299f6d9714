"""ONNX Runtime on the CPU or, through IO binding, on CUDA.

ONNX Runtime falls back to the CPU without a word where CUDA does not start. Here that is an error: the providers of
the finished session are compared with the request.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from contextlib import redirect_stdout
from typing import Any, cast

from engines.base import BATCH_BUCKETS, Engine, GraphTensor
from engines.devices import cuda_devices, usable_cores
from engines.errors import EngineError, EngineUnavailableError
from engines.optional import require
from engines.package import ModelPackage, Tensor, Tensors

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


class OnnxRuntimeEngine(Engine):
    """Runs the package's ONNX graph with ONNX Runtime."""

    name = "onnxruntime"

    def __init__(self, package: ModelPackage, device: str = "cpu", *, threads: int | None = None) -> None:
        super().__init__(package, device, threads=threads)
        if device not in ("cpu", "cuda"):
            raise EngineError(f"onnxruntime runs on cpu or cuda, not on {device!r}")
        self._session: Any = None
        self._device_inputs: dict[tuple[int, ...], dict[str, Any]] = {}

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
        loader_says = self._preload_cuda(ort) if self.device == "cuda" else ""
        options = ort.SessionOptions()
        options.log_severity_level = _ERROR
        options.inter_op_num_threads = 1
        # One thread a physical core. Spinning threads answer sooner (some 4 % on two cores) but would keep every
        # core at 100 % between frames, where drawing and decoding need it.
        options.intra_op_num_threads = self.threads or usable_cores()
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            session = ort.InferenceSession(str(self.package.model_path), options, providers=self._providers())
        except Exception as error:  # its exception classes share no public base
            raise EngineError(f"{self.package.model_path}: onnxruntime cannot open it: {_first_line(error)}") from error
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

    def _run_cuda(self, session: Any, inputs: Mapping[str, Tensor], names: list[str]) -> list[Tensor]:
        """Inputs go into buffers that stay on the device, one set for each batch size."""
        ort = require("onnxruntime", "live.txt")
        key = tuple(len(array) for array in inputs.values() if array.ndim)
        buffers = self._device_inputs.get(key)
        if buffers is None:
            buffers = {name: ort.OrtValue.ortvalue_from_numpy(array, "cuda", 0) for name, array in inputs.items()}
            self._device_inputs[key] = buffers
        else:
            for name, array in inputs.items():
                buffers[name].update_inplace(array)
        binding = session.io_binding()
        for name, value in buffers.items():
            binding.bind_ortvalue_input(name, value)
        for name in names:
            binding.bind_output(name, "cuda", 0)
        session.run_with_iobinding(binding)
        return cast("list[Tensor]", binding.copy_outputs_to_cpu())

    def _close(self) -> None:
        self._device_inputs.clear()
        self._session = None

    def _providers(self) -> list[Any]:
        if self.device == "cpu":
            return [_CPU]
        # HEURISTIC: an exhaustive search costs seconds for each batch size and gains nothing on these small graphs.
        return [(_CUDA, {"device_id": "0", "cudnn_conv_algo_search": "HEURISTIC"}), _CPU]

    @staticmethod
    def _preload_cuda(ort: Any) -> str:
        """Load CUDA and cuDNN from the `nvidia-*` packages; give what the loader prints, for the error."""
        printed = io.StringIO()
        with redirect_stdout(printed):
            ort.preload_dlls()
        return " ".join(printed.getvalue().split())


def _graph_tensor(node: Any) -> GraphTensor:
    dtype = _DTYPES.get(node.type, str(node.type))
    shape = tuple(size if isinstance(size, int) else str(size or "?") for size in cast("list[Any]", node.shape))
    return GraphTensor(str(node.name), dtype, shape)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
