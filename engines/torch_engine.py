"""A `torch.export` program: torch itself, as the reference that the other engines are compared with.

On CUDA each batch bucket is recorded as a CUDA graph. Never chosen by "auto": it loads torch, some 2 s and 500 MB.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from bodycast.engines.base import BATCH_BUCKETS, Engine, EngineInput, GraphTensor, arrays_of
from bodycast.engines.devices import cuda_devices, usable_cores
from bodycast.engines.errors import EngineError, EngineUnavailableError, PackageError, first_line
from bodycast.engines.optional import require
from bodycast.engines.package import BATCH, ModelPackage, Tensor, Tensors
from bodycast.engines.torch_program import PROGRAM_FILE, SIGNATURE_FILE, check_program

_WARM_UP_RUNS = 3


@dataclass
class _Recorded:
    """One batch size on CUDA: fixed tensors and the graph that fills the outputs from the inputs."""

    inputs: dict[str, Any]
    outputs: dict[str, Any]
    graph: Any


class TorchEngine(Engine):
    """Runs `model.pt2` of a package that was exported with `--torch-program`."""

    name = "torch"

    def __init__(self, package: ModelPackage, device: str = "cpu", *, threads: int | None = None) -> None:
        super().__init__(package, device, threads=threads)
        self._torch: Any = None
        self._program: Any = None
        self._signature: dict[str, list[str]] = {}
        self._recorded: dict[int, _Recorded] = {}

    @property
    def batch_buckets(self) -> tuple[int, ...]:
        """On CUDA one recorded graph a size; a CPU runs any N at its cost."""
        return () if self.ordinal is None else BATCH_BUCKETS

    def _open(self) -> tuple[tuple[GraphTensor, ...], tuple[GraphTensor, ...]]:
        path = self.package.folder / PROGRAM_FILE
        if PROGRAM_FILE not in self.package.files:
            raise EngineUnavailableError(
                f"{self.package.folder} has no {PROGRAM_FILE}, which the torch engine runs: export the package with "
                "--torch-program, or choose another engine"
            )
        torch = self._torch = require("torch", "export.txt")
        if self.ordinal is not None and torch.cuda.device_count() <= self.ordinal:
            raise EngineUnavailableError(f"torch {torch.__version__} sees no {self.device}: {cuda_devices()[1]}")
        checked = check_program(path)
        self._signature = {"inputs": list(checked.inputs), "outputs": list(checked.outputs)}
        try:
            program = torch.export.load(checked.archive(self._example_inputs(torch)), extra_files={SIGNATURE_FILE: ""})
        except Exception as error:  # serialisation errors of torch share no base
            raise PackageError(f"{path}: torch cannot open it: {first_line(error)}") from error
        if self.ordinal is not None:
            program = torch.export.passes.move_to_device_pass(program, f"cuda:{self.ordinal}")
        # Guards are Python text from the file that torch would execute; the checks in `run` take their place.
        self._program = program.module(check_guards=False)
        return self._graph_tensors(program)

    def _example_inputs(self, torch: Any) -> bytes:
        """What the archive holds as example inputs, of the package's shapes: the file's own are pickled."""
        specs = {spec.name: spec for spec in self.package.info.inputs}
        unknown = [name for name in self._signature["inputs"] if name not in specs]
        if unknown:
            raise PackageError(f"{self.package.folder / PROGRAM_FILE}: takes {unknown[0][:80]!r}, the package does not")
        tensors: list[Any] = []
        for name in self._signature["inputs"]:
            shape = tuple(2 if size == BATCH else int(size) for size in specs[name].shape)
            tensors.append(torch.zeros(shape, dtype=getattr(torch, specs[name].dtype)))
        written = io.BytesIO()
        torch.save((tuple(tensors), {}), written)
        return written.getvalue()

    def _graph_tensors(self, program: Any) -> tuple[tuple[GraphTensor, ...], tuple[GraphTensor, ...]]:
        values = {node.name: node.meta.get("val") for node in program.graph.nodes}
        sides: list[tuple[GraphTensor, ...]] = []
        for side in ("inputs", "outputs"):
            nodes = cast("tuple[str, ...]", getattr(program.graph_signature, f"user_{side}"))
            names = self._signature[side]
            if len(nodes) != len(names):
                raise PackageError(
                    f"{self.package.folder / PROGRAM_FILE}: {len(nodes)} {side}, its {SIGNATURE_FILE} names {names}"
                )
            sides.append(tuple(_graph_tensor(name, values[node]) for name, node in zip(names, nodes, strict=True)))
        return sides[0], sides[1]

    def _run(self, inputs: Mapping[str, EngineInput]) -> Tensors:
        torch, arrays = self._torch, arrays_of(inputs)
        try:
            with torch.inference_mode():
                if self.ordinal is not None:
                    with torch.cuda.device(self.ordinal):
                        return self._run_cuda(arrays)
                before = torch.get_num_threads()
                torch.set_num_threads(self.threads or usable_cores())
                try:
                    outputs = self._call({name: torch.from_numpy(array) for name, array in arrays.items()})
                finally:
                    torch.set_num_threads(before)
                # Outputs may be views of weights or of each other: the caller's own arrays are copies.
                return {name: tensor.numpy().copy() for name, tensor in outputs.items()}
        except RuntimeError as error:
            raise EngineError(f"{self.describe()}: {first_line(error)}") from error

    def _call(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        values: tuple[Any, ...] = self._program(*(inputs[name] for name in self._signature["inputs"]))
        return dict(zip(self._signature["outputs"], values, strict=True))

    def _run_cuda(self, inputs: Mapping[str, Tensor]) -> Tensors:
        torch = self._torch
        rows = next((len(inputs[spec.name]) for spec in self.package.info.inputs if spec.batched), 1)
        recorded = self._recorded.get(rows)
        if recorded is None:
            recorded = self._recorded[rows] = self._record(inputs)
        for name, array in inputs.items():
            recorded.inputs[name].copy_(torch.from_numpy(array))
        recorded.graph.replay()
        return {name: tensor.cpu().numpy().copy() for name, tensor in recorded.outputs.items()}

    def _record(self, inputs: Mapping[str, Tensor]) -> _Recorded:
        torch = self._torch
        fixed = {name: torch.from_numpy(array).cuda() for name, array in inputs.items()}
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UP_RUNS):
                self._call(fixed)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            outputs = self._call(fixed)
        return _Recorded(fixed, outputs, graph)

    def _close(self) -> None:
        self._recorded.clear()
        self._program = None


def _graph_tensor(name: str, value: Any) -> GraphTensor:
    dtype = str(value.dtype).removeprefix("torch.")
    return GraphTensor(name, dtype, tuple(size if isinstance(size, int) else BATCH for size in value.shape))
