"""`python -m evaluation bench`: packages on engines, alone and end to end, against the floor of this machine.

The least time says what the code costs, median and 95th percentile what the machine made of it. The floor is the
network's multiply-accumulates over the best matrix rate, with as many threads, that this run saw on the machine.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bodycast.app.errors import BodycastError
from bodycast.app.model_packages import find_package, installed_packages
from bodycast.engines.errors import EngineError
from bodycast.engines.package import load_package
from bodycast.engines.registry import ENGINES
from bodycast.export.command_line import Parser
from evaluation import bench_engines, bench_pipeline
from evaluation.bench_engines import EngineTime
from evaluation.bench_pipeline import PipelineTime


def main(argv: Sequence[str]) -> int:
    """Measure and print tables, or JSON; 1 where nothing could be measured, 2 where the command line is at fault."""
    options = parser().parse_args(argv)
    options.batches = options.batches or ([1, 16] if options.gpu else [1, 4, 16])
    if (
        min(*options.batches, options.repeats, options.people, 1 if options.threads is None else options.threads) < 1
        or options.frames < 2
    ):
        parser().error("--batches, --threads, --repeats and --people must be at least 1, --frames at least 2")
    if options.gpu:
        return gpu_main(options)
    try:
        folders = packages(options.packages)
        for target in (options.json, options.picture):
            if target is not None and not target.absolute().parent.is_dir():
                raise EngineError(f"{target}: no folder {target.absolute().parent}; nothing was measured")
    except (BodycastError, EngineError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    times = engine_times(folders, options)
    runs = [] if options.no_pipeline else pipeline_times(folders, options)
    if times:
        Console().print(engine_table(times))
    for run in runs:
        Console().print(pipeline_table(run))
    if options.json:
        document = {
            "engines": [asdict(row) | {"floor_ms": row.floor_ms} for row in times],
            "pipeline": [asdict(row) for row in runs],
        }
        options.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    if options.picture:
        from evaluation.bench_picture import draw

        try:
            print(draw(times, options.picture))
        except ValueError as error:
            print(f"bench: {error}", file=sys.stderr)
            return 1
    return 0 if times else 1


def parser() -> argparse.ArgumentParser:
    """The command line."""
    bench = Parser(prog="python -m evaluation bench", description=__doc__)
    bench.add_argument("packages", nargs="*", metavar="PACKAGE", help="folders or names; all installed where left out")
    bench.add_argument(
        "--gpu",
        action="store_true",
        help="in place of packages: networks with random weights by all that a GPU can run, batch 1 and 16; PACKAGE is "
        "then the name of a network",
    )
    bench.add_argument(
        "--engine", nargs="+", default=["onnxruntime", "openvino"], choices=list(ENGINES), dest="engines"
    )
    bench.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    bench.add_argument("--batches", nargs="+", type=int, help="rows a call (1 4 16; with --gpu 1 16)")
    bench.add_argument("--threads", type=int, help="CPU threads, also of the floor; the usable cores where left out")
    bench.add_argument("--repeats", type=int, default=30, help="calls per figure")
    bench.add_argument("--video", type=Path, default=bench_pipeline.DEMO, help="clip for the whole pipeline")
    bench.add_argument("--people", type=int, default=1, help="show the clip so often side by side")
    bench.add_argument("--frames", type=int, default=bench_pipeline.FRAMES, help="frames of the clip")
    bench.add_argument("--no-pipeline", action="store_true", help="engines alone")
    bench.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    bench.add_argument(
        "--picture", type=Path, metavar="FILE", help="time against error, area by parameters (.png, .svg)"
    )
    return bench


def gpu_main(options: argparse.Namespace) -> int:
    """`--gpu`: all networks and methods; 1 where nothing ran, 2 where a name or the device is not there."""
    from bodycast.engines.devices import cuda_devices
    from evaluation import bench_gpu

    device = "cpu" if options.device == "cpu" else "cuda"
    count, driver = cuda_devices()
    unknown = [name for name in options.packages if name not in bench_gpu.NETWORKS]
    problem = f"no network {unknown[0]!r}; there are {', '.join(bench_gpu.NETWORKS)}" if unknown else ""
    if device == "cuda" and count == 0:
        problem = f"no GPU ({driver}); --device cpu tries the command itself"
    if problem:
        print(f"bench: {problem}", file=sys.stderr)
        return 2
    names = options.packages or list(bench_gpu.NETWORKS)
    report = bench_gpu.run(names, options.batches, options.repeats, device, options.json)
    print(bench_gpu.table(report))
    return 0 if report.times else 1


def packages(given: Sequence[str]) -> list[Path]:
    """Folders of the packages to measure. Raises UsageError, EngineError where one is not there or damaged."""
    if not given:
        found = [package.folder for package in installed_packages("hmr")]
        if not found:
            raise EngineError("no package is installed; name a package folder (bodycast export package makes one)")
        return found
    return [(load_package(name) if Path(name).is_dir() else find_package(name, "hmr")).folder for name in given]


def engine_times(folders: Sequence[Path], options: argparse.Namespace) -> list[EngineTime]:
    """Every package on every engine; what cannot run here is said and left out."""
    rows: list[EngineTime] = []
    for folder in folders:
        for engine in options.engines:
            try:
                rows += bench_engines.in_own_process(
                    folder, engine, options.device, tuple(options.batches), options.repeats, options.threads
                )
            except (EngineError, ValueError) as error:
                print(f"bench: {folder.name} on {engine}: {error}", file=sys.stderr)
    return bench_engines.with_best_rates(rows)


def pipeline_times(folders: Sequence[Path], options: argparse.Namespace) -> list[PipelineTime]:
    """The whole pipeline with every body-recovering package on the first engine named."""
    rows: list[PipelineTime] = []
    for folder in folders:
        if load_package(folder).info.task != "hmr":
            continue
        try:
            rows.append(
                bench_pipeline.in_own_process(folder, options.engines[0], options.video, options.people, options.frames)
            )
        except (BodycastError, EngineError, ValueError, RuntimeError) as error:
            print(f"bench: {folder.name}, whole pipeline: {error}", file=sys.stderr)
    return rows


def engine_table(rows: Sequence[EngineTime]) -> Table:
    """One line for each package, engine and batch."""
    table = Table(title="engines alone, milliseconds a crop")
    table.add_column("package", no_wrap=True, min_width=12)
    table.add_column("engine")
    for column in ("batch", "least median 95 %", "floor", "x floor", "MB", "error"):
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(
            row.package,
            f"{row.engine} {row.precision}" + ("" if row.device == "cpu" else f" ({row.device})"),
            str(row.batch),
            f"{row.least_ms:.2f} {row.median_ms:.2f} {row.p95_ms:.2f}",
            "-" if row.floor_ms is None else f"{row.floor_ms:.2f}",
            "-" if row.over_floor is None else f"{row.over_floor:.2f}",
            "-" if row.memory_mb is None else f"{row.memory_mb:.0f}",
            "-" if row.error is None else f"{row.error:.2g} {row.error_name.rpartition('_')[2]}",
        )
    return table


def pipeline_table(run: PipelineTime) -> Table:
    """The stages of one run."""
    memory = "" if run.memory_mb is None else f", {run.memory_mb:.0f} MB"
    table = Table(
        title=f"{run.package}: {run.fps:.1f} frames/s, {run.people} x {run.clip}, {run.frames} frames{memory}",
        caption=run.engine,
    )
    for column in ("stage", "count", "median ms", "95 % ms"):
        table.add_column(column, justify="left" if column == "stage" else "right")
    for stage, times in run.stages.items():
        table.add_row(stage, str(int(times["count"])), f"{times['p50_ms']:.2f}", f"{times['p95_ms']:.2f}")
    return table
