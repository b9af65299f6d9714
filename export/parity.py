"""The parity report of a package: each engine against fp32 torch on fixed and random inputs, and the time per item.

The report (`parity.json`) and torch's answers (`parity.npz`) belong to the package and are hashed with it. The inputs
are drawn again from their seed, so anybody can repeat the comparison on their own machine without torch or weights.
"""

from __future__ import annotations

import io
import json
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from bodycast.engines.base import Engine
from bodycast.engines.devices import usable_cores
from bodycast.engines.errors import EngineError, EngineUnavailableError, PackageError
from bodycast.engines.package import UNREADABLE, ModelPackage, PackageInfo, Tensors, TensorSpec
from bodycast.engines.registry import ENGINES, open_engine
from bodycast.export.exportable import Exportable, example_input
from bodycast.export.onnx_graph import run_torch
from bodycast.export.parity_crops import sha256_of_array
from bodycast.export.parity_errors import TOLERANCES, beyond_tolerance, compare, largest_differences
from bodycast.npz import read_npz

REPORT_FILE = "parity.json"
REFERENCE_FILE = "parity.npz"
SCHEMA_VERSION = 1
KINDS = ("fixed", "random")
ROWS = 8
LARGE_BYTES, FEW_ROWS = 1_000_000_000, 2
"""Weights (as fp16) from which so few rows go through at a time: what networks this large keep of each is large too."""
TIMED_BATCHES = (1, 4, 16)
EXPORT_ENGINES = ("onnxruntime", "openvino", "openvino-bf16")
LOWER_PRECISION = ("openvino-bf16",)
"""Engines that compute in less than the graph says: reported, never a reason to refuse a package."""

TORCH = "torch, fp32"

TIME_BUDGET_S = 0.6
"""For each engine and batch."""


@dataclass(frozen=True)
class EngineParity:
    """One engine. errors: kind of input -> measures. largest: output -> difference, over both kinds.
    ms_per_item: batch -> least milliseconds a row. refused: what exceeds its tolerance, in words."""

    engine: str
    device: str
    errors: dict[str, dict[str, float]]
    largest: dict[str, float]
    ms_per_item: dict[str, float]
    refused: list[str]


@dataclass(frozen=True)
class ParityReport:
    """What parity.json holds. held_to: the precision whose tolerance counts (fp16 where fp32 weights are
    stored in fp16). inputs: kind -> {"rows", "sha256" by input}. skipped: engine -> why. reference: what the engines
    are compared with."""

    task: str
    precision: str
    held_to: str
    machine: dict[str, Any]
    inputs: dict[str, dict[str, Any]]
    tolerance: dict[str, float]
    engines: list[EngineParity]
    skipped: dict[str, str]
    reference: str = TORCH

    @property
    def refused(self) -> list[str]:
        """Everything beyond its tolerance, by engine."""
        return [f"{row.engine}: {text}" for row in self.engines for text in row.refused]

    def to_json(self) -> bytes:
        """The file's content."""
        document = {"schema_version": SCHEMA_VERSION, "reference": self.reference, **asdict(self)}
        return (json.dumps(document, indent=2) + "\n").encode()


def reference_outputs(item: Exportable) -> dict[str, Tensors]:
    """torch's answers for both kinds of inputs."""
    import torch

    names = [spec.name for spec in item.inputs]
    large = 2 * sum(weight.numel() for weight in item.module.parameters()) >= LARGE_BYTES

    def run(inputs: Tensors) -> Tensors:
        return run_torch(item.module, [torch.from_numpy(inputs[name]) for name in names], item.output_names)

    return {kind: _in_parts(run, item.inputs, _inputs(item.inputs, ROWS, kind), large) for kind in KINDS}


def _in_parts(run: Callable[[Tensors], Tensors], specs: Sequence[TensorSpec], inputs: Tensors, large: bool) -> Tensors:
    """What `run` says to all rows, a few at a time where the network is large and every input has rows."""
    if not large or not all(spec.batched for spec in specs):
        return run(inputs)
    parts = [
        run({name: array[begin : begin + FEW_ROWS] for name, array in inputs.items()})
        for begin in range(0, ROWS, FEW_ROWS)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def reference_file(reference: Mapping[str, Tensors]) -> bytes:
    """The content of parity.npz."""
    buffer = io.BytesIO()
    arrays = {f"{kind}/{name}": array for kind, tensors in reference.items() for name, array in tensors.items()}
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def measure(
    package: ModelPackage,
    reference: Mapping[str, Tensors],
    engines: Sequence[str] = EXPORT_ENGINES,
    device: str = "cpu",
    held_to: str | None = None,
    timed_batches: Sequence[int] = TIMED_BATCHES,
    source: str = TORCH,
    foreign: bool = False,
) -> ParityReport:
    """Run every engine on both kinds of inputs. Engines that are not here are listed as skipped.

    held_to: the precision whose tolerance counts, the package's own where left out. timed_batches: none is quick.
    source: where the reference is from, in words. foreign: the graph is not of our making: an engine that cannot
    open it is skipped too, as long as another one can.

    Raises: ValueError, EngineError where an engine runs but gives no numbers.
    """
    info = package.info
    held_to = held_to or info.precision
    inputs = {kind: _inputs(info.inputs, ROWS, kind) for kind in KINDS}
    rows: list[EngineParity] = []
    skipped: dict[str, str] = {}
    for name in engines:
        if name in ENGINES and not ENGINES[name].installed():
            skipped[name] = f"{ENGINES[name].library} is not installed"
            continue
        try:
            engine = open_engine(package, name, device)
        except EngineUnavailableError as error:
            skipped[name] = str(error)
            continue
        except EngineError as error:
            if not foreign:
                raise
            skipped[name] = str(error).replace(f"{package.model_path}: ", "")
            continue
        with engine:
            rows.append(_measure_engine(engine, inputs, reference, held_to, timed_batches))
    if not rows:
        raise ValueError(f"no engine to measure with: {'; '.join(f'{k}: {v}' for k, v in skipped.items())}")
    described = {
        kind: {"rows": ROWS, "sha256": {name: sha256_of_array(array) for name, array in tensors.items()}}
        for kind, tensors in inputs.items()
    }
    limits = TOLERANCES[info.task][held_to]
    return ParityReport(info.task, info.precision, held_to, _machine(), described, limits, rows, skipped, source)


def read_report(package: ModelPackage) -> ParityReport:
    """The report in a package. Raises PackageError where it has none or it is of another schema."""
    if REPORT_FILE not in package.files:
        raise PackageError(f"{package.folder}: no parity report in this package; export it again")
    path = package.folder / REPORT_FILE
    try:
        document = dict(json.loads(path.read_text(encoding="utf-8")))
        version = document.pop("schema_version", None)
        if version != SCHEMA_VERSION:
            raise PackageError(
                f"{path}: schema {version}, this program reads {SCHEMA_VERSION}; export the package again"
            )
        engines = [EngineParity(**row) for row in document.pop("engines")]
        report = ParityReport(engines=engines, **document)
    except (OSError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise PackageError(f"{path}: not a parity report ({error}); export the package again") from error
    if report.task != package.info.task or report.held_to not in TOLERANCES.get(report.task, {}) or not engines:
        raise PackageError(f"{path}: not the parity report of a package for {package.info.task}; export it again")
    return report


def measure_again(package: ModelPackage, engines: Sequence[str], device: str = "cpu") -> ParityReport:
    """Compare with the torch answers in the package, on this machine; torch is not needed.

    Raises: PackageError where the package has none, or this numpy draws other inputs than the exporting one.
    """
    stored = read_report(package)
    if REFERENCE_FILE not in package.files:
        raise PackageError(f"{package.folder}: no {REFERENCE_FILE} in this package; export it again")
    report = measure(package, _stored_reference(package), engines, device, stored.held_to, source=stored.reference)
    if report.inputs != stored.inputs:
        raise PackageError(f"{package.folder}: numpy {np.__version__} draws other parity inputs than it did at export")
    return report


def _stored_reference(package: ModelPackage) -> dict[str, Tensors]:
    """torch's answers as the package holds them. Raises PackageError where one is missing or of another shape."""
    path = package.folder / REFERENCE_FILE
    reference: dict[str, Tensors] = {kind: {} for kind in KINDS}
    try:
        stored = read_npz(path)
        for kind in KINDS:
            for spec in package.info.outputs:
                reference[kind][spec.name] = stored[f"{kind}/{spec.name}"]
    except UNREADABLE as error:
        raise PackageError(
            f"{path}: does not hold torch's answers for every output; export the package again"
        ) from error
    for kind, tensors in reference.items():
        for spec in package.info.outputs:
            array = tensors[spec.name]
            if not spec.fits(array) or len(array) != ROWS:
                raise PackageError(
                    f"{path}: expected {kind}/{spec}, it is {array.dtype} {array.shape}; export it again"
                )
    return reference


def crop_height(info: PackageInfo) -> int:
    """Pixels of the first input from top to bottom, 1 where it is no picture."""
    shape = info.inputs[0].shape
    return int(shape[1]) if len(shape) == 4 else 1


def _inputs(specs: Sequence[TensorSpec], rows: int, kind: str) -> Tensors:
    return {spec.name: example_input(spec, rows, kind) for spec in specs}


def _measure_engine(
    engine: Engine,
    inputs: Mapping[str, Tensors],
    reference: Mapping[str, Tensors],
    held_to: str,
    timed_batches: Sequence[int],
) -> EngineParity:
    info = engine.package.info
    errors: dict[str, dict[str, float]] = {}
    largest: dict[str, float] = {}
    refused: list[str] = []
    for kind, tensors in inputs.items():
        actual = _in_parts(engine.run, info.inputs, tensors, engine.package.graph_bytes >= LARGE_BYTES)
        try:
            errors[kind] = compare(info.task, reference[kind], actual, crop_height(info))
        except (KeyError, ValueError) as error:
            raise EngineError(f"{engine.describe()}: {error}") from error
        if engine.name not in LOWER_PRECISION:
            refused += [f"{kind} inputs: {text}" for text in beyond_tolerance(info.task, held_to, errors[kind])]
        for name, value in largest_differences(reference[kind], actual).items():
            largest[name] = max(largest.get(name, 0.0), value)
    times = {str(batch): _ms_per_item(engine, batch) for batch in timed_batches}
    return EngineParity(engine.name, engine.device, errors, largest, times, refused)


def _ms_per_item(engine: Engine, batch: int) -> float:
    """Least time a row: other programs only ever add to it."""
    inputs = _inputs(engine.package.info.inputs, batch, "random")
    engine.run(inputs)
    times: list[float] = []
    while len(times) < 2 or sum(times) < TIME_BUDGET_S:
        start = perf_counter()
        engine.run(inputs)
        times.append(perf_counter() - start)
    return round(1e3 * min(times) / batch, 4)


def _machine() -> dict[str, Any]:
    return {"cpu": cpu_name(), "threads": usable_cores(), "system": platform.system()}


def cpu_name() -> str:
    """As the system calls it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())
