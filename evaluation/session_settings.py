"""`python -m evaluation session-options`: what each setting of ONNX Runtime's sessions gains on this CPU.

Every setting runs in a process of its own, all of them in turns, with a pause between runs as a camera makes it. The
CPU time of a run says what it costs everybody else: threads that spin are quick, and keep cores from other work.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter, process_time, sleep
from typing import Any

import numpy as np

from bodycast.engines.devices import usable_cores
from bodycast.engines.errors import EngineError
from bodycast.engines.onnxruntime_engine import SETTINGS, session_options
from bodycast.engines.optional import require
from bodycast.engines.package import load_package
from bodycast.export.command_line import Parser

_SPIN = {"session.intra_op.allow_spinning": "1"}
_WITHIN = {**_SPIN, "session.force_spinning_stop": "1"}

VARIANTS: dict[str, dict[str, Any]] = {
    "as the engine is": {},
    "one thread": {"threads": 1},
    "threads spin": {"settings": _SPIN},
    "threads spin for 1 ms at most": {"settings": {**_SPIN, "session.intra_op.spin_duration_us": "1000"}},
    "threads spin within a run": {"settings": _WITHIN},
    "spin within, work in smaller parts": {"settings": {**_WITHIN, "session.dynamic_block_base": "4"}},
    "work in smaller parts": {"settings": {"session.dynamic_block_base": "4"}},
    "spin within, threads held on their cores": {"settings": _WITHIN, "pinned": True},
    "spin within, denormals are zero": {"settings": {**_WITHIN, "session.set_denormal_as_zero": "1"}},
    "spin within, Gelu by tanh": {"settings": {**_WITHIN, "optimization.enable_gelu_approximation": "1"}},
    "spin within, no memory pattern": {"settings": _WITHIN, "attributes": {"enable_mem_pattern": False}},
    "spin within, extended optimisations only": {"settings": _WITHIN, "level": "ORT_ENABLE_EXTENDED"},
    "spin within, basic optimisations only": {"settings": _WITHIN, "level": "ORT_ENABLE_BASIC"},
}
"""Name -> what differs from the engine: threads, settings, attributes and level of the session."""


@dataclass(frozen=True)
class SettingTime:
    """Milliseconds a run of one row; cpu_ms: of all threads together."""

    package: str
    variant: str
    least_ms: float
    median_ms: float
    cpu_ms: float


def main(argv: Sequence[str]) -> int:
    """Measure and print one table a package; 2 where a package is damaged or not there."""
    options = parser().parse_args(argv)
    threads = usable_cores() if options.threads is None else options.threads
    if min(threads, options.rounds, options.repeats) < 1:
        parser().error("--threads, --rounds and --repeats must be at least 1")
    try:
        for folder in options.packages:
            load_package(folder)
    except EngineError as error:
        print(f"session-options: {error}", file=sys.stderr)
        return 2
    rows: list[SettingTime] = []
    for folder in options.packages:
        rows += compare(folder, threads, options.rounds, options.repeats, options.pause_ms)
    print(table(rows))
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n", encoding="utf-8")
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    session = Parser(prog="python -m evaluation session-options", description=__doc__)
    session.add_argument("packages", nargs="+", type=Path, metavar="PACKAGE", help="package folders")
    session.add_argument("--threads", type=int, help="CPU threads; the usable cores where left out")
    session.add_argument("--rounds", type=int, default=3, help="turns of every setting, each in a new process")
    session.add_argument("--repeats", type=int, default=40, help="runs a turn")
    session.add_argument("--pause-ms", type=float, default=5.0, help="sleep between two runs")
    session.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    return session


def compare(folder: Path, threads: int, rounds: int, repeats: int, pause_ms: float) -> list[SettingTime]:
    """Every variant on one package."""
    wall: dict[str, list[float]] = {name: [] for name in VARIANTS}
    cpu: dict[str, list[float]] = {name: [] for name in VARIANTS}
    for _ in range(rounds):
        for name, variant in VARIANTS.items():
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                times, spent = pool.submit(time_session, folder, variant, threads, repeats, pause_ms).result()
            wall[name] += times
            cpu[name].append(spent)
    return [
        SettingTime(folder.name, name, min(wall[name]), float(np.median(wall[name])), min(cpu[name]))
        for name in VARIANTS
    ]


def time_session(
    folder: Path, variant: Mapping[str, Any], threads: int, repeats: int, pause_ms: float
) -> tuple[list[float], float]:
    """Milliseconds of every run, and CPU milliseconds a run with the pause behind it."""
    ort = require("onnxruntime", "live.txt")
    package = load_package(folder)
    count = int(variant.get("threads", threads))
    options = session_options(ort, count, {**SETTINGS, **variant.get("settings", {})})
    if variant.get("pinned") and count > 1:
        cores = ";".join(str(core + 1) for core in range(1, count))
        options.add_session_config_entry("session.intra_op_thread_affinities", cores)
    for name, value in variant.get("attributes", {}).items():
        setattr(options, name, value)
    if "level" in variant:
        options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, variant["level"])
    session = ort.InferenceSession(str(package.model_path), options, providers=["CPUExecutionProvider"])
    golden, _ = package.golden()
    inputs = {name: array[:1] for name, array in golden.items()}
    for _ in range(3):
        session.run(None, inputs)
    times: list[float] = []
    before = process_time()
    for _ in range(repeats):
        start = perf_counter()
        session.run(None, inputs)
        times.append(1e3 * (perf_counter() - start))
        sleep(pause_ms / 1e3)
    return times, 1e3 * (process_time() - before) / repeats


def table(rows: Sequence[SettingTime]) -> str:
    """Markdown: a row for each variant; least (median) and CPU milliseconds for each package."""
    packages = list(dict.fromkeys(row.package for row in rows))
    lines = [
        f"| setting | {' | '.join(f'{name}, ms | CPU ms' for name in packages)} |",
        f"|---|{'---|---|' * len(packages)}",
    ]
    for variant in dict.fromkeys(row.variant for row in rows):
        mine = {row.package: row for row in rows if row.variant == variant}
        cells = [f"{mine[p].least_ms:.2f} ({mine[p].median_ms:.2f}) | {mine[p].cpu_ms:.1f}" for p in packages]
        lines.append(f"| {variant} | {' | '.join(cells)} |")
    return "\n".join(lines)
