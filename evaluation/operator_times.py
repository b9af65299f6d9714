"""`python -m evaluation operators`: where an engine's milliseconds go, operator by operator, on the CPU.

Each node counts with the least time of many runs, so what other programs take falls away. Profiling adds a little to
every node: read shares, and take the whole from `python -m evaluation bench`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from bodycast.engines.devices import usable_cores
from bodycast.engines.errors import EngineError
from bodycast.engines.onnxruntime_engine import session_options
from bodycast.engines.openvino_engine import OpenVinoEngine, import_openvino
from bodycast.engines.optional import require
from bodycast.engines.package import ModelPackage, load_package
from bodycast.export.command_line import Parser

ENGINES = ("onnxruntime", "openvino")
WARM_UP = 3


@dataclass(frozen=True)
class OperatorTimes:
    """ms, nodes: operator -> least milliseconds of its nodes together, and how many they are; the slowest first."""

    package: str
    precision: str
    engine: str
    threads: int
    ms: dict[str, float]
    nodes: dict[str, int]

    @property
    def total_ms(self) -> float:
        """Of all operators."""
        return sum(self.ms.values())


def main(argv: Sequence[str]) -> int:
    """Measure and print one table; 2 where a package is damaged or not there."""
    options = parser().parse_args(argv)
    threads = usable_cores() if options.threads is None else options.threads
    if min(threads, options.repeats, options.batch) < 1:
        parser().error("--threads, --repeats and --batch must be at least 1")
    found: list[OperatorTimes] = []
    for folder in options.packages:
        for engine in options.engine:
            try:
                load_package(folder)
                with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                    found.append(pool.submit(measure, folder, engine, threads, options.repeats, options.batch).result())
            except EngineError as error:
                print(f"operators: {error}", file=sys.stderr)
                return 2
    print(table(found, options.least_share))
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in found], indent=2) + "\n", encoding="utf-8")
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    operators = Parser(prog="python -m evaluation operators", description=__doc__)
    operators.add_argument("packages", nargs="+", type=Path, metavar="PACKAGE", help="package folders")
    operators.add_argument("--engine", nargs="+", default=["onnxruntime"], choices=ENGINES)
    operators.add_argument("--threads", type=int, help="CPU threads; the usable cores where left out")
    operators.add_argument("--repeats", type=int, default=60, help="runs, of which each node's least time counts")
    operators.add_argument("--batch", type=int, default=1, help="rows a run")
    operators.add_argument(
        "--least-share", type=float, default=0.01, help="smaller operators are summed up as the rest"
    )
    operators.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    return operators


def measure(folder: Path, engine: str, threads: int, repeats: int, batch: int = 1) -> OperatorTimes:
    """Profile one package on one engine. Raises: EngineError."""
    package = load_package(folder)
    golden, _ = package.golden()
    inputs = {name: np.resize(array, (batch, *array.shape[1:])) for name, array in golden.items()}
    profile = _onnxruntime if engine == "onnxruntime" else _openvino
    least: dict[str, tuple[str, float]] = {}
    for name, operator, ms in profile(package, inputs, threads, repeats):
        least[name] = (operator, min(ms, least.get(name, (operator, ms))[1]))
    times: dict[str, float] = {}
    nodes: dict[str, int] = {}
    for operator, ms in least.values():
        times[operator] = times.get(operator, 0.0) + ms
        nodes[operator] = nodes.get(operator, 0) + 1
    order = sorted(times, key=lambda operator: -times[operator])
    ms_of = {operator: round(times[operator], 4) for operator in order}
    return OperatorTimes(folder.name, package.info.precision, engine, threads, ms_of, {k: nodes[k] for k in order})


def _onnxruntime(
    package: ModelPackage, inputs: dict[str, np.ndarray], threads: int, repeats: int
) -> Iterator[tuple[str, str, float]]:
    """Node, operator, milliseconds, for every run."""
    ort = require("onnxruntime", "live.txt")
    options = session_options(ort, threads)
    options.enable_profiling = True
    with TemporaryDirectory() as folder:
        options.profile_file_prefix = str(Path(folder) / "run")
        session = ort.InferenceSession(str(package.model_path), options, providers=["CPUExecutionProvider"])
        for _ in range(WARM_UP + repeats):
            session.run(None, inputs)
        events: list[dict[str, Any]] = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            yield event["name"], event["args"]["op_name"], event["dur"] / 1e3


def _openvino(
    package: ModelPackage, inputs: dict[str, np.ndarray], threads: int, repeats: int
) -> Iterator[tuple[str, str, float]]:
    """The same; fused nodes have no time of their own."""
    settings = {**OpenVinoEngine(package, threads=threads).settings(), "PERF_COUNT": True}
    request = import_openvino().Core().compile_model(str(package.model_path), "CPU", settings).create_infer_request()
    for _ in range(WARM_UP + repeats):
        request.infer(inputs)
        for node in request.profiling_info:
            ms = node.real_time.total_seconds() * 1e3
            if ms > 0:
                yield node.node_name, node.node_type, ms


def table(found: Sequence[OperatorTimes], least_share: float = 0.01) -> str:
    """Markdown: a row for each operator, a column for each package and engine: milliseconds (share, nodes)."""
    shown = {name for row in found for name, ms in row.ms.items() if ms >= least_share * row.total_ms}
    order = sorted(shown, key=lambda name: -max(row.ms.get(name, 0.0) / row.total_ms for row in found))
    heads = [f"{row.package}, {row.engine} {row.precision}, {row.threads} threads" for row in found]
    lines = [f"| operator | {' | '.join(heads)} |", f"|---|{'---|' * len(found)}"]
    for name in order:
        cells = [_cell(row, row.ms.get(name), row.nodes.get(name, 0)) for row in found]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    rest = [[name for name in row.ms if name not in shown] for row in found]
    cells = [
        _cell(row, sum(row.ms[name] for name in names), sum(row.nodes[name] for name in names))
        for row, names in zip(found, rest, strict=True)
    ]
    lines.append(f"| the rest | {' | '.join(cells)} |")
    lines.append(f"| together | {' | '.join(f'{row.total_ms:.2f} ms' for row in found)} |")
    return "\n".join(lines)


def _cell(row: OperatorTimes, ms: float | None, nodes: int) -> str:
    return "-" if not nodes or ms is None else f"{ms:.2f} ({ms / row.total_ms:.0%}, {nodes})"
