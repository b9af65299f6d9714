"""From an `Exportable` to a package on disk: graph, precision, golden tensors, parity; then it is written."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnx

from bodycast.engines.package import BATCH, ModelPackage, PackageInfo, TensorSpec
from bodycast.engines.package_writer import write_package
from bodycast.engines.torch_program import PROGRAM_FILE
from bodycast.export.exportable import Exportable
from bodycast.export.half_graph import store_half, to_half
from bodycast.export.int8_graph import to_int8
from bodycast.export.onnx_graph import OPSET, ParityError, check_parity, run_torch, to_onnx
from bodycast.export.parity import (
    EXPORT_ENGINES,
    REFERENCE_FILE,
    REPORT_FILE,
    TIMED_BATCHES,
    ParityReport,
    measure,
    reference_file,
    reference_outputs,
)
from bodycast.export.torch_program import torch_program
from bodycast.hmr.networks.merging.error_constrained_layer_merging import LayerMergeRecipe

RECIPE_FILE = "merge_recipe.json"
BODY_TASKS = ("hmr", "fusion")
"""Networks that answer with a body."""
TOLERANCES = {"hmr": 1e-4, "fusion": 1e-4, "smoother": 1e-3, "pose": 1e-3, "detector": 0.05}
"""Largest difference between torch and the fp32 graph in ONNX Runtime, in each output's own unit."""

GOLDEN_ROWS = 2


@dataclass(frozen=True)
class Words:
    """What only the caller knows about a package; see `bodycast.engines.package.PackageInfo`."""

    name: str
    architecture: str
    arguments: Mapping[str, Any]
    licence: str
    training_data: str
    paper: str = "none"
    body: str = "none"
    orientation_frame: str = "none"
    metrics: Mapping[str, float] = field(default_factory=dict)
    recipe: LayerMergeRecipe | None = None


@dataclass(frozen=True)
class Options:
    """precision: of the arithmetic. store: of the weights on disk. accept_error: write a package beyond its tolerance.
    engines: whom to compare with torch; those that are not installed are left out. timed_batches: for the report's
    times. exact_merging: in fp16 and int8, what decides which tokens merge stays fp32. torch_program: add the network
    as a `torch.export` program, for the torch engine."""

    precision: str = "fp32"
    store: str = "fp32"
    accept_error: bool = False
    overwrite: bool = False
    exact_merging: bool = False
    torch_program: bool = False
    engines: tuple[str, ...] = EXPORT_ENGINES
    timed_batches: tuple[int, ...] = TIMED_BATCHES

    @property
    def held_to(self) -> str:
        """The precision whose tolerance counts: rounding the weights alone is half of what fp16 does."""
        return "fp16" if (self.precision, self.store) == ("fp32", "fp16") else self.precision


def convert(model: bytes, precision: str, store: str, exact_merging: bool = False) -> bytes:
    """The fp32 graph in another precision, and, or, with its weights stored in fp16. exact_merging: see `Options`.

    Raises: ValueError for an unknown precision or a graph that cannot take it.
    """
    passes: dict[str, Callable[[onnx.ModelProto], onnx.ModelProto]] = {
        "fp32": lambda graph: graph,
        "fp16": lambda graph: to_half(graph, exact_merging),
        "int8": lambda graph: to_int8(graph, exact_merging),
    }
    if precision not in passes or store not in ("fp32", "fp16"):
        raise ValueError(f"precision {precision!r}, store {store!r}: expected {', '.join(passes)}, and fp32 or fp16")
    graph = passes[precision](onnx.load_from_string(model))
    return (store_half(graph) if store == "fp16" else graph).SerializeToString()


@dataclass(frozen=True)
class CheckedGraph:
    """model: the fp32 ONNX graph. difference: output -> largest difference from torch in ONNX Runtime."""

    model: bytes
    difference: dict[str, float]


def checked_graph(item: Exportable) -> CheckedGraph:
    """The fp32 graph, compared with torch at two batch sizes. Raises ParityError where it computes something else."""
    model = to_onnx(item.module, item.examples(GOLDEN_ROWS), item.input_names, item.output_names)
    batches = [item.examples(rows) for rows in (1, 3)]
    return CheckedGraph(model, check_parity(model, item.module, batches, item.output_names, TOLERANCES[item.task]))


def export_package(
    item: Exportable, out: Path, words: Words, options: Options | None = None, graph: CheckedGraph | None = None
) -> tuple[ModelPackage, ParityReport]:
    """Export, compare, write. graph: `checked_graph(item)`, where several precisions are made of it.

    Raises: ParityError where the fp32 graph is not what torch computes, or an engine is beyond the tolerance of the
    precision and `accept_error` is not set; PackageError where `out` exists.
    """
    options = options or Options()
    graph = graph or checked_graph(item)
    difference = graph.difference
    model = convert(graph.model, options.precision, options.store, options.exact_merging)
    golden = item.examples(GOLDEN_ROWS, "fixed")
    outputs = run_torch(item.module, golden, item.output_names)
    inputs = {name: tensor.numpy() for name, tensor in zip(item.input_names, golden, strict=True)}
    info = _info(item, words, options.precision, {name: array.shape[1:] for name, array in outputs.items()})
    info = replace(info, metrics={**words.metrics, **{f"onnx_difference_{k}": v for k, v in difference.items()}})
    reference = reference_outputs(item)
    with TemporaryDirectory() as folder:
        trial = write_package(Path(folder) / "package", info, model, inputs, outputs)
        report = measure(
            trial, reference, options.engines, held_to=options.held_to, timed_batches=options.timed_batches
        )
    if report.refused and not options.accept_error:
        raise ParityError(
            f"{words.name} in {options.precision} is not close enough to torch: {'; '.join(report.refused)}; "
            "--exact-merging helps where tokens are merged, --accept-error writes it all the same"
        )
    further = {REPORT_FILE: report.to_json(), REFERENCE_FILE: reference_file(reference)}
    if options.torch_program:
        examples = item.examples(GOLDEN_ROWS)
        further[PROGRAM_FILE] = torch_program(item.module, examples, item.input_names, item.output_names)
    if words.recipe is not None:
        further[RECIPE_FILE] = (json.dumps(words.recipe.to_json(), indent=2) + "\n").encode()
    package = write_package(out, info, model, inputs, outputs, further_files=further, overwrite=options.overwrite)
    return package, report


def _info(item: Exportable, words: Words, precision: str, shapes: Mapping[str, tuple[int, ...]]) -> PackageInfo:
    return PackageInfo(
        name=words.name,
        task=item.task,
        architecture=words.architecture,
        arguments={key: _plain(value) for key, value in words.arguments.items()},
        inputs=item.inputs,
        outputs=tuple(
            TensorSpec(name, "float32", (BATCH, *shapes[name]), unit, meaning)
            for name, (unit, meaning) in item.outputs.items()
        ),
        normalisation=item.normalisation,
        crop_rule=item.crop_rule,
        focal_convention=item.focal_convention,
        orientation_frame=words.orientation_frame if item.task in BODY_TASKS else "none",
        body=words.body if item.task in BODY_TASKS else "none",
        joint_set=item.joint_set,
        opset=OPSET,
        precision=precision,
        paper=words.paper,
        licence=words.licence,
        training_data=words.training_data,
        metrics={},
    )


def _plain(value: Any) -> Any:
    """A tuple as JSON has it."""
    return list(value) if isinstance(value, tuple) else value
