"""From a published checkpoint's file to a model package, with layers and tokens merged on the way where asked for."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

from torch import nn

from bodycast.engines.package import ModelPackage
from bodycast.export.errors import WorkError
from bodycast.export.exportable import Exportable, exportable
from bodycast.export.layer_choice import choose_layers
from bodycast.export.network_package import Options, Words, export_package
from bodycast.export.onnx_graph import run_torch
from bodycast.export.parity import ParityReport
from bodycast.export.parity_errors import compare
from bodycast.export.source import Source, merged, open_source
from bodycast.hmr import checkpoints
from bodycast.hmr.networks import registry
from bodycast.hmr.networks.hmr_net import HmrNet
from bodycast.hmr.networks.merging.error_constrained_layer_merging import LayerMergeRecipe

FIGURES = 4
TIMED_RUNS = 3
Say = Callable[[str], None]


@dataclass(frozen=True)
class Merging:
    """What is merged. keep: blocks that layer merging leaves, chosen here; or recipe: what a search wrote.
    schedule: tokens merged in each of the first blocks; masks: where the person masks that guide it come from in a run
    ("silhouette", "segmenter"), "none" for merging without."""

    keep: int | None = None
    recipe: LayerMergeRecipe | None = None
    schedule: Sequence[int] | None = None
    masks: str = "none"

    @property
    def by_mask(self) -> bool:
        """Whether the network takes masks."""
        return self.schedule is not None and self.masks != "none"

    def __bool__(self) -> bool:
        return self.keep is not None or self.recipe is not None or self.schedule is not None


@dataclass(frozen=True)
class MergingCost:
    """blocks: before and after. tokens: before and after. ms: least milliseconds a crop in torch on this CPU, before
    and after. apart_mm: mean joint distance (MPJPE) of the two networks' answers on painted figures."""

    blocks: tuple[int, int]
    tokens: tuple[int, int]
    ms: tuple[float, float]
    apart_mm: float

    def __str__(self) -> str:
        return (
            f"merged: {self.blocks[0]} -> {self.blocks[1]} layers, {self.tokens[0]} -> {self.tokens[1]} tokens; "
            f"{self.ms[0] / self.ms[1]:.2f} times as fast as unmerged ({self.ms[0]:.0f} -> {self.ms[1]:.0f} ms a crop, "
            f"torch on this CPU); answers {self.apart_mm:.2f} mm apart on {FIGURES} painted figures"
        )


@dataclass(frozen=True)
class Imported:
    """The package, its parity report, and what merging did, if anything was merged."""

    package: ModelPackage
    report: ParityReport
    merging: MergingCost | None


def model_of(path: Path) -> str:
    """The registered name of the network in a file. Raises: ValueError, one line, FileNotFoundError."""
    state = checkpoints.read_state(path)
    try:
        return checkpoints.guess_model(state)
    except ValueError as error:
        if {"backbone", "smpl_head"} <= {key.partition(".")[0] for key in state} and "smpl_head.init_cam" in state:
            raise ValueError(
                f"{path.name}: {error}; what the training here wrote goes through bodycast export package"
            ) from error
        raise ValueError(f"{path.name}: {error}") from error


def import_checkpoint(
    path: Path,
    out: Path,
    *,
    model: str | None = None,
    layout: str | None = None,
    merging: Merging | None = None,
    options: Options | None = None,
    name: str | None = None,
    arguments: Mapping[str, Any] | None = None,
    say: Say = print,
) -> Imported:
    """Read, merge, export, compare, write.

    model, layout: guessed from the file where left out. arguments: changes to the registered network's own.
    Raises: FileNotFoundError; ValueError, one line, for a file that is not what it should be; PackageError where `out`
    exists; WorkError where the work fails.
    """
    merging = merging or Merging()
    model = model or model_of(path)
    whole = model.removesuffix("-fast")
    if whole != model:
        raise ValueError(f"published weights are those of the whole network: --as {whole} --eclm N --tokens fasthmr")
    say(f"{path.name}: {model}")
    source = open_published(path, model, layout, arguments)
    if merging and not isinstance(source.net, HmrNet):
        raise ValueError(f"merging is for networks that recover bodies, {model} is none")
    cost = None
    if merging:
        source, cost = _merge(source, merging, say)
    say(f"exporting in {(options or Options()).precision}, and comparing with torch")
    words = Words(
        name=name or out.resolve().name,
        architecture=source.model,
        arguments=source.arguments,
        licence=source.licence,
        training_data=source.training,
        paper=registry.find(source.model).paper.source or "none",
        body=source.body,
        orientation_frame=source.orientation_frame,
        metrics=source.metrics,
        recipe=source.recipe,
        masks=merging.masks if merging.by_mask else "none",
    )
    package, report = export_package(exportable(source.net, with_mask=merging.by_mask), out, words, options)
    return Imported(package, report, cost)


def parity_line(report: ParityReport) -> str:
    """The worst row of the engines that are held to the tolerance, in the report's last measure."""
    measure = list(report.tolerance)[-1]
    rows = [row for row in report.engines if not row.engine.endswith("bf16")] or report.engines
    worst = {row.engine: max(errors[measure] for errors in row.errors.values()) for row in rows}
    unit = "mm" if measure.endswith("mm") else "px" if measure.endswith("px") else ""
    said = ", ".join(f"{engine} {value:.2g}" for engine, value in worst.items())
    return f"parity: worst row {said} {unit} from {report.reference} ({measure}, allowed {report.tolerance[measure]:g})"


def open_published(path: Path, model: str, layout: str | None, arguments: Mapping[str, Any] | None) -> Source:
    """The network with the file's weights, by the first of its layouts that fits."""
    layouts = (layout,) if layout is not None else checkpoints.layouts_of(model)
    if not layouts:
        registry.find(model)
        raise ValueError(f"no published files for {model} are known here: give --layout")
    refused: ValueError | None = None
    for candidate in layouts:
        try:
            return open_source(str(path), model=model, layout=candidate, arguments=arguments)
        except checkpoints.CheckpointMismatch as error:
            refused = refused or error
    assert refused is not None
    raise refused


def _merge(source: Source, merging: Merging, say: Say) -> tuple[Source, MergingCost]:
    net = source.net
    assert isinstance(net, HmrNet)
    recipe = merging.recipe
    if merging.keep is not None and recipe is None:
        say(f"layers: trying each pair of {len(net.encoder.blocks)} on {FIGURES} painted figures")
        recipe = choose_layers(net, merging.keep)
        say(f"layers: merging {', '.join(f'{low} into {high}' for low, high in recipe.windows) or 'none'}")
    smaller = merged(source, recipe, merging.schedule)
    before, after = exportable(net), exportable(smaller.net, with_mask=merging.by_mask)
    answers = [_answers(item) for item in (before, after)]
    cost = MergingCost(
        blocks=(_blocks(net), _blocks(smaller.net)),
        tokens=(_tokens(net), _tokens(smaller.net)),
        ms=(_ms(before), _ms(after)),
        apart_mm=compare("hmr", *answers)["mpjpe_mm"],
    )
    if not cost.apart_mm < float("inf"):
        raise WorkError(f"{source.model}: merged, its answers are no numbers")
    del before, net
    gc.collect()
    return replace(smaller), cost


def _answers(item: Exportable):
    return run_torch(item.module, item.examples(FIGURES, "fixed"), item.output_names)


def _ms(item: Exportable) -> float:
    """Least milliseconds of one crop: other programs only ever add to it."""
    crop = item.examples(1, "fixed")
    times: list[float] = []
    for _ in range(TIMED_RUNS):
        start = perf_counter()
        run_torch(item.module, crop, item.output_names)
        times.append(perf_counter() - start)
    return 1e3 * min(times)


def _blocks(net: nn.Module) -> int:
    assert isinstance(net, HmrNet)
    return len(net.encoder.blocks)


def _tokens(net: nn.Module) -> int:
    assert isinstance(net, HmrNet)
    rows, columns = net.encoder.grid_hw
    return getattr(net.backbone, "tokens_out", rows * columns)
