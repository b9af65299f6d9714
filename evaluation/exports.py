"""`python -m evaluation exports`: networks with random weights through the export, parity and ahead-of-time plans.

What docs/export.md tells about them comes from here. A network with random weights answers nearly the same to every
crop; `spread` says how far its answers are apart, so that an error can be read against it.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np

from bodycast.engines.errors import EngineError
from bodycast.engines.package import ModelPackage, Tensors
from bodycast.engines.plans import PlanError
from bodycast.npz import read_npz

NETWORKS: dict[str, tuple[str, Mapping[str, Any]]] = {
    "swin-t-s2": ("swin-t-s2", {}),
    "swin-t-s2 at 192x144": ("swin-t-s2", {"image_hw": (192, 144)}),
    "swin-t-s3": ("swin-t-s3", {}),
    "gmf-t-s2": ("gmf-t-s2", {}),
    "vmamba-t-s2": ("vmamba-t-s2", {}),
    "hmr2-s": ("hmr2-s", {}),
    "hmr2-s merged": ("hmr2-s-fast", {}),
    "pose-vit-s": ("pose-vit-s", {}),
    "diffusion-decoder": ("diffusion-decoder", {}),
    "motion-vae": ("motion-vae", {}),
    "swin-b-s3": ("swin-b-s3", {}),
    "hmr2-b merged": ("hmr2-b-fast", {}),
    "deformable-x4 on ViT-S": ("deformable-x4", {"size": "s"}),
}
CAPABILITIES = ("7.5", "8.6", "8.9", "12.0")
ENGINES = ("onnxruntime", "openvino")


@dataclass(frozen=True)
class Exported:
    """errors: engine -> worst row over both kinds of inputs, in `unit`. spread: mean distance of two rows' answers, in
    the same unit. refused: what is beyond its tolerance. plans: compute capability -> seconds and megabytes, or why
    there is none."""

    network: str
    precision: str
    parameters: int
    megabytes: float
    unit: str
    errors: dict[str, float]
    spread: float
    refused: list[str]
    plans: dict[str, dict[str, float] | str]


def main(argv: Sequence[str]) -> int:
    """Export what was asked for, print a table; 1 where something was refused or did not build."""
    options = parser().parse_args(argv)
    if options.full_size:
        return _full_size(options.networks, options.json)
    unknown = sorted(set(options.networks) - set(NETWORKS))
    if unknown:
        parser().error(f"no network {unknown[0]!r}; there are {', '.join(NETWORKS)}")
    rows = _read(options.json)
    done = {(row.network, row.precision) for row in rows}
    for name in options.networks or NETWORKS:
        wanted = [precision for precision in options.precision if (name, precision) not in done]
        if not wanted:
            continue
        for row in export_all(name, wanted, options.compute_capability):
            rows.append(row)
            print(line(row), flush=True)
            if options.json:
                options.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n", encoding="utf-8")
    print("\n" + table(rows))
    failed = [row for row in rows if row.refused or any(isinstance(plan, str) for plan in row.plans.values())]
    return 1 if failed else 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    exports = argparse.ArgumentParser(prog="python -m evaluation exports", description=__doc__)
    exports.add_argument("networks", nargs="*", metavar="NETWORK", help=f"all where left out: {', '.join(NETWORKS)}")
    exports.add_argument("--precision", nargs="+", default=["fp32", "fp16", "int8"], choices=("fp32", "fp16", "int8"))
    exports.add_argument(
        "--compute-capability",
        nargs="*",
        default=[],
        metavar="X.Y",
        help=f"also build RTX plans of the fp16 graphs, e.g. {' '.join(CAPABILITIES)}",
    )
    exports.add_argument(
        "--full-size",
        action="store_true",
        help="registered names (all where left out) at their papers' sizes in fp16, each in its own process: time, "
        "memory, error, and whether TensorRT for RTX's parser takes it",
    )
    exports.add_argument("--json", type=Path, metavar="FILE", help="keep results there, and go on from what is there")
    return exports


def _full_size(networks: Sequence[str], results: Path | None) -> int:
    from bodycast.hmr.networks import registry
    from evaluation import exports_full_size

    unknown = sorted(set(networks) - set(registry.names()))
    if unknown:
        parser().error(f"no network {unknown[0]!r} is registered")
    return exports_full_size.run(networks or registry.names(), results)


def export_all(name: str, precisions: Sequence[str], capabilities: Sequence[str]) -> list[Exported]:
    """One network in every precision, from one run of the exporter."""
    import torch

    from bodycast.export.exportable import exportable
    from bodycast.export.network_package import Options, Words, checked_graph, export_package
    from bodycast.hmr.networks import registry

    torch.manual_seed(0)
    model, arguments = NETWORKS[name]
    net = registry.build(model, **arguments).eval()
    parameters = sum(parameter.numel() for parameter in net.parameters())
    item = exportable(net)
    words = Words(name=model, architecture=model, arguments=arguments, licence="none", training_data="none")
    graph = checked_graph(item)
    rows: list[Exported] = []
    with TemporaryDirectory() as folder:
        for precision in precisions:
            options = Options(precision=precision, accept_error=True, engines=ENGINES, timed_batches=())
            try:
                package, report = export_package(item, Path(folder) / precision, words, options, graph)
            except ValueError as error:
                rows.append(Exported(name, precision, parameters, 0.0, "", {}, 0.0, [str(error)], {}))
                continue
            unit, errors = worst(report.tolerance, {row.engine: row.errors for row in report.engines})
            plans = _plans(package, capabilities) if precision == "fp16" else {}
            size = package.graph_bytes / 1e6
            rows.append(
                Exported(name, precision, parameters, size, unit, errors, spread(package, unit), report.refused, plans)
            )
            gc.collect()
    return rows


def worst(
    limits: Mapping[str, float], errors: Mapping[str, Mapping[str, Mapping[str, float]]]
) -> tuple[str, dict[str, float]]:
    """The last measure that has a limit, and its worst value by engine."""
    measure = list(limits)[-1]
    return measure, {engine: max(kind[measure] for kind in kinds.values()) for engine, kinds in errors.items()}


def spread(package: ModelPackage, measure: str) -> float:
    """How far the answers to different rows are apart: each row against the next, the mean of the measure."""
    from bodycast.export.parity import REFERENCE_FILE, crop_height
    from bodycast.export.parity_errors import compare

    archive = read_npz(package.folder / REFERENCE_FILE)
    tensors: Tensors = {key.partition("/")[2]: archive[key] for key in archive if key.startswith("fixed/")}
    turned = {name: np.roll(array, 1, axis=0) for name, array in tensors.items()}
    return compare(package.info.task, tensors, turned, crop_height(package.info))[measure.replace("_worst", "")]


def _plans(package: ModelPackage, capabilities: Sequence[str]) -> dict[str, dict[str, float] | str]:
    from bodycast.export.tensorrt_plan import BuildOptions, build_plan

    plans: dict[str, dict[str, float] | str] = {}
    for capability in capabilities:
        start = perf_counter()
        try:
            plan = build_plan(package, BuildOptions(capability, beside=True))
        except (PlanError, EngineError) as error:
            plans[capability] = str(error)
            print(f"exports: {package.info.name} for {capability}: {error}", file=sys.stderr)
            continue
        plans[capability] = {"seconds": round(perf_counter() - start, 1), "megabytes": plan.size_bytes / 1e6}
    return plans


def line(row: Exported) -> str:
    """One row as a line of a Markdown table."""
    errors = ", ".join(f"{engine} {error:.2g}" for engine, error in row.errors.items()) or "; ".join(row.refused)
    built = [plan for plan in row.plans.values() if not isinstance(plan, str)]
    plans = f"{len(built)} of {len(row.plans)}" if row.plans else "-"
    if built:
        seconds = "/".join(f"{plan['seconds']:.0f}" for plan in built)
        plans += f": {seconds} s, {max(plan['megabytes'] for plan in built):.1f} MB"
    refused = " (refused)" if row.refused else ""
    return (
        f"| {row.network} | {row.precision} | {row.parameters / 1e6:.1f} M | {row.megabytes:.1f} MB | "
        f"{errors} {row.unit.rpartition('_')[2]}{refused} | {row.spread:.2g} | {plans} |"
    )


def table(rows: Sequence[Exported]) -> str:
    """All rows as a Markdown table."""
    head = (
        "| network | precision | parameters | file | worst error | spread | RTX plans |\n|---|---|---|---|---|---|---|"
    )
    return "\n".join([head, *(line(row) for row in rows)])


def _read(path: Path | None) -> list[Exported]:
    if path is None or not path.is_file():
        return []
    return [Exported(**row) for row in json.loads(path.read_text(encoding="utf-8"))]
