"""From an `Exportable` to a package on disk: graph, precision, golden tensors, parity; then it is written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnx

from bodycast.engines.package import BATCH, MODEL_FILE, ModelPackage, PackageInfo, Tensors, TensorSpec
from bodycast.engines.package_writer import write_package
from bodycast.engines.torch_program import PROGRAM_FILE
from bodycast.export.exportable import Exportable
from bodycast.export.half_graph import half_graph, stored_half
from bodycast.export.int8_graph import to_int8
from bodycast.export.large_graph import LARGEST_FILE, Graph, save, within
from bodycast.export.onnx_graph import OPSET, ParityError, check_parity, run_torch, to_graph
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
TOLERANCES = {
    "hmr": 1e-4,
    "fusion": 1e-4,
    "smoother": 1e-3,
    "pose": 1e-3,
    "detector": 0.05,
    "segmenter": 1e-3,
    "fov": 1e-4,
}
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
    masks: str = "none"
    tokens_of: str = "none"


@dataclass(frozen=True)
class Options:
    """precision: of the arithmetic. store: of the weights on disk. accept_error: write a package beyond its tolerance.
    engines: whom to compare with torch; those that are not installed are left out. timed_batches: for the report's
    times. exact_merging: in fp16 and int8, what decides which tokens merge stays fp32. torch_program: add the network
    as a `torch.export` program, for the torch engine. largest_file: bytes of weights that go into the graph's own file;
    more are written beside it."""

    precision: str = "fp32"
    store: str = "fp32"
    accept_error: bool = False
    overwrite: bool = False
    exact_merging: bool = False
    torch_program: bool = False
    engines: tuple[str, ...] = EXPORT_ENGINES
    timed_batches: tuple[int, ...] = TIMED_BATCHES
    largest_file: int = LARGEST_FILE

    @property
    def held_to(self) -> str:
        """The precision whose tolerance counts: rounding the weights alone is half of what fp16 does."""
        return "fp16" if (self.precision, self.store) == ("fp32", "fp16") else self.precision


def convert(model: bytes, precision: str, store: str, exact_merging: bool = False) -> bytes:
    """`converted` of a serialised graph."""
    return converted(Graph(onnx.load_from_string(model)), precision, store, exact_merging).serialised()


def converted(graph: Graph, precision: str, store: str, exact_merging: bool = False) -> Graph:
    """The fp32 graph in another precision, and, or, with its weights stored in fp16. exact_merging: see `Options`.

    Raises: ValueError for an unknown precision or a graph that cannot take it.
    """
    known = ("fp32", "fp16", "int8")
    if precision not in known or store not in ("fp32", "fp16"):
        raise ValueError(f"precision {precision!r}, store {store!r}: expected {', '.join(known)}, and fp32 or fp16")
    if precision == "fp16":
        graph = half_graph(graph, exact_merging)
    elif precision == "int8":
        if graph.weights:
            raise ValueError("int8: a network of more than 2 GB in fp32 is not made int8; take --precision fp16")
        graph = Graph(to_int8(graph.proto, exact_merging))
    return stored_half(graph) if store == "fp16" else graph


@dataclass(frozen=True)
class CheckedGraph:
    """graph: the fp32 ONNX graph. difference: output -> largest difference from torch in ONNX Runtime."""

    graph: Graph
    difference: dict[str, float]


def checked_graph(item: Exportable, largest_file: int = LARGEST_FILE) -> CheckedGraph:
    """The fp32 graph, compared with torch at two batch sizes. Raises ParityError where it computes something else."""
    examples = item.examples(GOLDEN_ROWS)
    graph = to_graph(item.module, examples, item.input_names, item.output_names, largest_file=largest_file)
    batches = [item.examples(rows) for rows in (1, 3)]
    return CheckedGraph(graph, check_parity(graph, item.module, batches, item.output_names, TOLERANCES[item.task]))


def export_package(
    item: Exportable, out: Path, words: Words, options: Options | None = None, graph: CheckedGraph | None = None
) -> tuple[ModelPackage, ParityReport]:
    """Export, compare, write. graph: `checked_graph(item)`, where several precisions are made of it.

    Raises: ParityError where the fp32 graph is not what torch computes, or an engine is beyond the tolerance of the
    precision and `accept_error` is not set; PackageError where `out` exists.
    """
    options = options or Options()
    graph = graph or checked_graph(item, options.largest_file)
    difference = graph.difference
    lower = converted(graph.graph, options.precision, options.store, options.exact_merging)
    golden = item.examples(GOLDEN_ROWS, "fixed")
    outputs = run_torch(item.module, golden, item.output_names)
    inputs = {name: tensor.numpy() for name, tensor in zip(item.input_names, golden, strict=True)}
    info = _info(item, words, options.precision, {name: array.shape[1:] for name, array in outputs.items()})
    info = replace(info, metrics={**words.metrics, **{f"onnx_difference_{k}": v for k, v in difference.items()}})
    reference = reference_outputs(item)
    with TemporaryDirectory() as folder:
        beside: dict[str, bytes | Path] = {**save(within(lower, options.largest_file), Path(folder))}
        model = Path(folder) / MODEL_FILE
        del beside[MODEL_FILE], lower
        trial = write_package(Path(folder) / "package", info, model, inputs, outputs, further_files=beside)
        report = measure(
            trial, reference, options.engines, held_to=options.held_to, timed_batches=options.timed_batches
        )
        if report.refused and not options.accept_error:
            raise ParityError(
                f"{words.name} in {options.precision} is not close enough to torch: {'; '.join(report.refused)}; "
                "--exact-merging helps where tokens are merged, --accept-error writes it all the same"
            )
        further = beside | _further_files(item, words, options, report, reference)
        package = write_package(out, info, model, inputs, outputs, further_files=further, overwrite=options.overwrite)
    return package, report


def _further_files(
    item: Exportable, words: Words, options: Options, report: ParityReport, reference: Mapping[str, Tensors]
) -> dict[str, bytes | Path]:
    """The parity report and what else was asked for, by file name."""
    further: dict[str, bytes | Path] = {REPORT_FILE: report.to_json(), REFERENCE_FILE: reference_file(reference)}
    if options.torch_program:
        examples = item.examples(GOLDEN_ROWS)
        further[PROGRAM_FILE] = torch_program(item.module, examples, item.input_names, item.output_names)
    if words.recipe is not None:
        further[RECIPE_FILE] = (json.dumps(words.recipe.to_json(), indent=2) + "\n").encode()
    return further


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
        masks=words.masks,
        tokens_of=words.tokens_of,
    )


def _plain(value: Any) -> Any:
    """A tuple as JSON has it."""
    return list(value) if isinstance(value, tuple) else value
