"""OpenVINO on the CPU: the same ONNX graph, often faster than ONNX Runtime (measured: docs/model_package.md)."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np

from bodycast.engines.base import Engine, EngineInput, GraphTensor, arrays_of
from bodycast.engines.devices import usable_cores
from bodycast.engines.errors import EngineError, EngineUnavailableError
from bodycast.engines.optional import require
from bodycast.engines.package import ModelPackage, Tensors, TensorSpec

_DTYPES = {"u8": "uint8", "i32": "int32", "i64": "int64", "f16": "float16", "f32": "float32"}


class OpenVinoEngine(Engine):
    """Runs the package's ONNX graph with OpenVINO, in the graph's own precision."""

    name = "openvino"
    devices = ("cpu",)
    _precision = "f32"

    def __init__(self, package: ModelPackage, device: str = "cpu", *, threads: int | None = None) -> None:
        super().__init__(package, device, threads=threads)
        self._request: Any = None

    def _open(self) -> tuple[tuple[GraphTensor, ...], tuple[GraphTensor, ...]]:
        openvino = import_openvino()
        core = openvino.Core()
        self._check_cpu(core)
        try:
            compiled = core.compile_model(str(self.package.model_path), "CPU", self.settings())
        except RuntimeError as error:
            line = str(error).strip().rpartition("\n")[2]
            raise EngineError(f"{self.package.model_path}: openvino cannot open it: {line}") from error
        self._request = compiled.create_infer_request()
        info = self.package.info
        inputs = tuple(_graph_tensor(port, info.inputs) for port in compiled.inputs)
        outputs = tuple(_graph_tensor(port, info.outputs) for port in compiled.outputs)
        return inputs, outputs

    def settings(self) -> dict[str, Any]:
        """What a model is compiled with."""
        return {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": self.threads or usable_cores(),
            # Left alone it computes in bfloat16 wherever the CPU can, whatever the graph says.
            "INFERENCE_PRECISION_HINT": self._precision,
            # Pinned threads would hold cores that drawing and decoding need too.
            "ENABLE_CPU_PINNING": False,
        }

    def _check_cpu(self, core: Any) -> None:
        """Raise EngineUnavailableError where this CPU cannot run it as asked."""

    def _run(self, inputs: Mapping[str, EngineInput]) -> Tensors:
        try:
            self._request.infer(dict(arrays_of(inputs)))
        except RuntimeError as error:
            raise EngineError(f"{self.describe()}: {str(error).strip().rpartition(chr(10))[2]}") from error
        # The request's output memory is used again by the next call.
        return {spec.name: np.array(self._request.get_tensor(spec.name).data) for spec in self.package.info.outputs}

    def _close(self) -> None:
        self._request = None


class OpenVinoBf16Engine(OpenVinoEngine):
    """OpenVINO computing in bfloat16: nearly twice as fast on CPUs that have it, at some 3 significant digits."""

    name = "openvino-bf16"
    _precision = "bf16"

    def _check_cpu(self, core: Any) -> None:
        able = cast("list[str]", core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"))
        if "BF16" not in able:
            raise EngineUnavailableError(
                f"this CPU has no bfloat16 arithmetic (it has {', '.join(sorted(able))}); use --engine openvino"
            )


def import_openvino() -> Any:
    """The library, without its telemetry: with it, every import sends an event to its maker, unasked.

    Raises: EngineUnavailableError where OpenVINO is not installed.
    """
    if "openvino_telemetry" not in sys.modules:
        # What is None here cannot be imported; OpenVINO then takes its own empty stand-in.
        cast("dict[str, Any]", sys.modules)["openvino_telemetry"] = None
    return require("openvino", "live.txt")


def _graph_tensor(port: Any, specs: Sequence[TensorSpec]) -> GraphTensor:
    dtype = str(port.get_element_type().get_type_name())
    shape = tuple(int(size.get_length()) if size.is_static else "?" for size in list(port.get_partial_shape()))
    # A port has several names where a step that does nothing was folded away (times 1, plus 0).
    names = cast("set[str]", port.get_names())
    name = next((spec.name for spec in specs if spec.name in names), str(port.get_any_name()))
    return GraphTensor(name, _DTYPES.get(dtype, dtype), shape)
