"""`bodycast export parity PACKAGE ...`: print the parity report of packages, or measure again on this machine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bodycast.engines.package import load_package
from bodycast.engines.registry import ENGINES
from bodycast.export.command_line import Parser
from bodycast.export.parity import LOWER_PRECISION, ParityReport, measure_again, read_report

_SHORT = {"mpjpe": "MPJPE", "pve": "PVE", "rotation": "rotation", "keypoint": "keypoints", "box": "box"}


def main(argv: Sequence[str]) -> int:
    """Print; 1 where a package is beyond its tolerance."""
    parser = Parser(prog="bodycast export parity", description=__doc__)
    parser.add_argument("packages", nargs="+", type=Path, metavar="PACKAGE", help="package folders")
    parser.add_argument("--engines", nargs="+", metavar="ENGINE", help=f"measure here: all, or {', '.join(ENGINES)}")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where --engines run")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    given = parser.parse_args(argv)
    engines = list(ENGINES) if given.engines == ["all"] else given.engines
    unknown = sorted(set(engines or ()) - set(ENGINES))
    if unknown:
        parser.error(f"no engine {', '.join(unknown)}; there are all, {', '.join(ENGINES)}")
    reports: dict[str, ParityReport] = {}
    for folder in given.packages:
        package = load_package(folder)
        report = measure_again(package, engines, given.device) if engines else read_report(package)
        reports[str(folder)] = report
        if not given.json:
            print_report(package.info.name, report)
    if given.json:
        print(json.dumps({folder: asdict(report) for folder, report in reports.items()}, indent=2))
    return int(any(report.refused for report in reports.values()))


def print_report(name: str, report: ParityReport) -> None:
    """One table: a row for each engine and kind of input, then what was skipped or refused."""
    console = Console()
    rows = report.engines
    units = _units(rows[0].errors["fixed"])
    batches = list(rows[0].ms_per_item)
    machine = f"{report.machine['cpu']}, {report.machine['threads']} threads"
    table = Table("engine", "inputs", title=f"{name}, {report.precision}, against {report.reference} ({machine})")
    for column in (*units.values(), f"ms each at {', '.join(batches)}"):
        table.add_column(column, justify="right")
    for row in rows:
        times = " ".join(f"{row.ms_per_item[batch]:.1f}" for batch in batches)
        label = row.engine if row.device == "cpu" else f"{row.engine} ({row.device})"
        for kind, errors in row.errors.items():
            cells = [_mean_and_worst(errors, measure) for measure in units]
            first = kind == "fixed"
            table.add_row(label if first else "", kind, *cells, times if first else "")
    console.print(table)
    for row in rows:
        largest = ", ".join(f"{output} {value:.1e}" for output, value in row.largest.items())
        console.print(f"largest difference, {row.engine}: {largest}", style="dim")
    limits = ", ".join(f"{measure} {limit:g}" for measure, limit in report.tolerance.items())
    console.print(f"allowed: {limits}; {', '.join(LOWER_PRECISION)} computes in less, so not held to it", style="dim")
    for engine, why in report.skipped.items():
        console.print(f"not measured: {engine}: {why}")
    for text in report.refused:
        console.print(f"beyond its tolerance: {text}", style="red")


def _units(errors: dict[str, float]) -> dict[str, str]:
    """Measure without its worst -> heading with the unit; a worst without a mean stands for itself."""
    plain = [name for name in errors if "_worst" not in name]
    alone = [name for name in errors if "_worst" in name and not any(name.startswith(p.split("_")[0]) for p in plain)]
    headings: dict[str, str] = {}
    for name in (*plain, *alone):
        quantity, _, unit = name.partition("_")
        headings[name] = f"{_SHORT.get(quantity, quantity)} {unit.removeprefix('worst').strip('_')}".strip()
    return headings


def _mean_and_worst(errors: dict[str, float], measure: str) -> str:
    """Mean / worst row."""
    quantity, _, unit = measure.partition("_")
    worst = errors.get(f"{quantity}_worst_{unit}")
    return _figure(errors[measure]) if worst is None else f"{_figure(errors[measure])} / {_figure(worst)}"


def _figure(value: float) -> str:
    return "<0.001" if value < 5e-4 else f"{value:.3f}"
