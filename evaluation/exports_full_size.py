"""`python -m evaluation exports --full-size`: every registered network at its paper's size, fp16, random weights.

Each in a process of its own, so that its memory can be measured; then TensorRT for RTX's parser reads the graph where
it is installed.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from bodycast.engines.package import DATA_FILE, ModelPackage, load_package

IN_ITS_PROCESS = """
import resource, sys
from pathlib import Path
import torch
from bodycast.export.exportable import exportable
from bodycast.export.network_package import Options, Words, export_package
from bodycast.export.source import open_source

torch.manual_seed(0)
source = open_source(sys.argv[1])
words = Words(sys.argv[1], sys.argv[1], {}, "none", "none")
options = Options("fp16", accept_error=True, engines=("onnxruntime",), timed_batches=())
export_package(exportable(source.net), Path(sys.argv[2]), words, options)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@dataclass(frozen=True)
class FullSize:
    """error: the worst of onnxruntime against fp32 torch in `unit`. refused: what is beyond the tolerance of fp16.
    parsed: by TensorRT for RTX; None where it is not installed. failed: the last lines of what went wrong, or "".
    """

    network: str
    parameters: int
    seconds: float
    megabytes: float
    peak_gb: float
    data_file: bool
    unit: str
    error: float
    refused: list[str]
    parsed: bool | None
    failed: str = ""


def by_size(names: Sequence[str]) -> list[tuple[str, int]]:
    """Names with their parameters, the smallest first; no memory is taken."""
    import torch

    from bodycast.hmr.networks import registry

    sizes: list[tuple[str, int]] = []
    for name in names:
        with torch.device("meta"):
            sizes.append((name, sum(tensor.numel() for tensor in registry.build(name).parameters())))
    return sorted(sizes, key=lambda pair: pair[1])


def full_size(name: str, parameters: int = 0) -> FullSize:
    """Export one network, compare, parse; what is wrong is told in `failed`, nothing is raised."""
    from bodycast.export.parity import read_report
    from evaluation.exports import worst

    with TemporaryDirectory() as folder:
        start = perf_counter()
        command = [sys.executable, "-c", IN_ITS_PROCESS, name, f"{folder}/package"]
        done = subprocess.run(command, capture_output=True, text=True)
        seconds = round(perf_counter() - start, 1)
        if done.returncode != 0:
            return FullSize(name, parameters, seconds, 0, 0, False, "", 0, [], None, done.stderr[-2000:] or "killed")
        package = load_package(Path(folder) / "package")
        report = read_report(package)
        unit, errors = worst(report.tolerance, {row.engine: row.errors for row in report.engines})
        return FullSize(
            network=name,
            parameters=parameters,
            seconds=seconds,
            megabytes=round(package.graph_bytes / 1e6, 1),
            peak_gb=round(int(done.stdout.split()[-1]) / 1e6, 2),
            data_file=DATA_FILE in package.files,
            unit=unit,
            error=errors["onnxruntime"],
            refused=report.refused,
            parsed=parsed_by_rtx(package),
        )


def parsed_by_rtx(package: ModelPackage) -> bool | None:
    """Whether TensorRT for RTX's parser reads the graph; None where it is not installed."""
    try:
        import tensorrt_rtx as trt
    except ImportError:
        return None
    logger = trt.Logger(trt.Logger.ERROR)
    network = trt.Builder(logger).create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    return bool(trt.OnnxParser(network, logger).parse(package.model_path.read_bytes(), str(package.model_path)))


def run(names: Sequence[str], results: Path | None) -> int:
    """All of them, the smallest first, going on from `results`; 1 where one failed."""
    rows: list[FullSize] = []
    if results and results.is_file():
        rows = [FullSize(**row) for row in json.loads(results.read_text(encoding="utf-8"))]
    rows = [row for row in rows if not row.failed]  # these are tried again
    done = {row.network for row in rows}
    for name, parameters in by_size(names):
        if name in done:
            continue
        rows.append(full_size(name, parameters))
        print(line(rows[-1]), flush=True)
        if results:
            results.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n", encoding="utf-8")
    return 1 if any(row.failed or row.parsed is False for row in rows) else 0


def line(row: FullSize) -> str:
    """One row of a Markdown table."""
    if row.failed:
        return f"| {row.network} | {row.parameters / 1e6:.1f} M | {row.seconds:.0f} s | failed: {row.failed[-300:]} |"
    parsed = {True: "parsed", False: "not parsed", None: "-"}[row.parsed]
    beyond = " (beyond its tolerance)" if row.refused else ""
    return (
        f"| {row.network} | {row.parameters / 1e6:.1f} M | {row.seconds:.0f} s | {row.peak_gb:.1f} GB | "
        f"{row.megabytes:.0f} MB | {row.error:.2g} {row.unit.rpartition('_')[2]}{beyond} | {parsed} |"
    )
