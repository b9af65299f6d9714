"""`python -m evaluation bench`: forward time of every registered network on the CPU, against its floor.

Each network is exported, compared with torch, and timed at batch 1 in torch and in ONNX Runtime. Its floor is the
larger of two times that no program beats on this machine: its operations at the measured rate of large fp32 matrix
products, and its weights, inputs and outputs at the measured memory bandwidth, with the same threads in the same run.
With --gpu, a choice of networks is timed on an NVIDIA GPU instead, in torch and on the engines.

Results and ONNX files stay in a cache folder, one of each a network, so that a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from evaluation.bench_table import TOLERANCE, Machine, Record, format_document, load_record, save_record
from evaluation.models import select

if TYPE_CHECKING:
    from bodycast.hmr.networks.registry import ModelSpec


def main(argv: Sequence[str]) -> int:
    """Export, time, write the table. Returns 1 where an ONNX graph is off by more than 1e-4 or nothing ran on the GPU,
    2 for a wrong name or a missing GPU."""
    options = parser().parse_args(argv)
    if min(options.threads, options.runs, *options.batches) < 1 or options.export_limit <= 0:
        parser().error("--threads, --runs and --batches must be at least 1, --export-limit above 0")
    return gpu_main(options) if options.gpu else cpu_main(options)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    bench = argparse.ArgumentParser(prog="python -m evaluation bench", description=__doc__)
    bench.add_argument("names", nargs="*", metavar="NAME", help="networks, with wildcards (default: all that fit)")
    bench.add_argument("--threads", type=int, default=2, help="of torch and of ONNX Runtime (default: 2)")
    bench.add_argument("--runs", type=int, default=7, help="timed passes a network and engine, after a warm-up")
    bench.add_argument("--budget", type=float, default=3.0, help="seconds of timed passes a network and engine (CPU)")
    bench.add_argument("--cache", type=Path, default=Path("runs/bench"), help="folder of results and ONNX files")
    bench.add_argument("--out", type=Path, help="write the table to this Markdown file (default: print it)")
    bench.add_argument("--largest", type=float, default=100.0, help="leave out networks of more million parameters")
    bench.add_argument("--export-limit", type=float, default=240.0, help="seconds after which an export is given up")
    bench.add_argument("--only", choices=("export", "time", "table"), help="one step instead of all three")
    bench.add_argument("--note", help="a line for the page, about what else the machine did")
    bench.add_argument("--again", action="store_true", help="also time what has times, and try failed exports again")
    bench.add_argument(
        "--gpu", action="store_true", help="some networks by all that an NVIDIA GPU can run (evaluation/bench_gpu.py)"
    )
    bench.add_argument("--batches", nargs="+", type=int, default=[1, 16], help="rows a call, with --gpu")
    bench.add_argument("--device", choices=("cpu", "cuda"), default="cuda", help="with --gpu; cpu tries the command")
    bench.add_argument(
        "--people",
        nargs="*",
        type=int,
        default=[1, 2, 6, 10],
        help="with --gpu: in whole frames; none: no frames",
    )
    bench.add_argument("--json", type=Path, metavar="FILE", help="with --gpu: write all figures there")
    return bench


def gpu_main(options: argparse.Namespace) -> int:
    """`--gpu`: 1 where nothing ran, 2 where a name or the device is not there."""
    from bodycast.engines.devices import cuda_devices
    from evaluation import bench_gpu

    count, driver = cuda_devices()
    unknown = [name for name in options.names if name not in bench_gpu.NETWORKS]
    problem = f"no network {unknown[0]!r}; there are {', '.join(bench_gpu.NETWORKS)}" if unknown else ""
    if options.device == "cuda" and count == 0:
        problem = f"no GPU ({driver}); --device cpu tries the command itself"
    if problem:
        print(f"bench: {problem}", file=sys.stderr)
        return 2
    names = options.names or [name for name in bench_gpu.NETWORKS if name not in bench_gpu.TOYS]
    report = bench_gpu.run(names, options.batches, options.runs, options.device, options.json)
    bench_gpu.add_frames(report, options.people, options.runs, options.device, options.json)
    print(bench_gpu.table(report))
    return 0 if report.times else 1


def cpu_main(options: argparse.Namespace) -> int:
    """Every network on the CPU engines."""
    try:
        specs = select(options.names, None)
    except LookupError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    records = load_or_count(specs, options.cache, options.largest)
    specs = sorted((spec for spec in specs if spec.name in records), key=lambda spec: records[spec.name].gmacs)
    if options.only in (None, "export"):
        for spec in specs:
            export_once(spec, records[spec.name], options)
    if options.only in (None, "time"):
        time_all(specs, records, options)
    if options.only != "export":
        facts = [f"Machine: {processor()}. {libraries()}.", *([options.note] if options.note else [])]
        text = format_document(list(records.values()), options.threads, options.largest, facts)
        if options.out is None:
            print(text, end="")
        else:
            options.out.write_text(text, encoding="utf-8")
    return 1 if any(record.parity is not None and record.parity > TOLERANCE for record in records.values()) else 0


def load_or_count(specs: Sequence[ModelSpec], cache: Path, largest_m: float) -> dict[str, Record]:
    """What is known about each network, in the registry's order, without those that are too large."""
    from evaluation.bench_forward import new_record

    cache.mkdir(parents=True, exist_ok=True)
    records: dict[str, Record] = {}
    for spec in specs:
        record = load_record(cache, spec.name)
        if record is None:
            record = new_record(spec)
            save_record(cache, record)
        if record.parameters_m <= largest_m:
            records[spec.name] = record
    return records


def export_once(spec: ModelSpec, record: Record, options: argparse.Namespace) -> None:
    """Export a network that has neither a file nor a reason against it."""
    from evaluation.bench_forward import export_within

    path: Path = options.cache / f"{spec.name}.onnx"
    if path.is_file() or (record.not_exported is not None and not options.again):
        return
    export_within(spec, record, path, options.export_limit)
    save_record(options.cache, record)
    _say(f"{spec.name}: {record.not_exported or f'exported in {record.export_seconds} s, parity {record.parity:.1e}'}")


def time_all(specs: Sequence[ModelSpec], records: dict[str, Record], options: argparse.Namespace) -> None:
    """Time what has no times; the machine is measured before and after, and the better figures count."""
    from evaluation.bench_forward import measure_machine, time_onnxruntime, time_torch

    how = (options.threads, options.runs, options.budget)
    machine = measure_machine(options.threads)
    timed: list[Record] = []
    for spec in specs:
        record = records[spec.name]
        path: Path = options.cache / f"{spec.name}.onnx"
        wants_onnx = path.is_file() and (options.again or record.onnxruntime is None)
        if record.torch is not None and not options.again and not wants_onnx:
            continue
        if record.torch is None or options.again:
            record.torch = time_torch(spec, *how)
        if wants_onnx:
            record.onnxruntime = time_onnxruntime(path, *how)
        record.machine = machine
        timed.append(record)
        save_record(options.cache, record)
        _say(f"{spec.name}: torch {record.torch}, ONNX Runtime {record.onnxruntime}")
    after = measure_machine(options.threads)
    best = Machine(max(machine.gflops, after.gflops), max(machine.gbytes_s, after.gbytes_s))
    _say(f"machine before {machine}, after {after}")
    for record in timed:
        record.machine = best
        save_record(options.cache, record)


def processor() -> str:
    """What kind of processor this is, as it names itself."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def libraries() -> str:
    """Versions of the two engines."""
    import onnxruntime
    import torch

    return f"torch {torch.__version__}, ONNX Runtime {onnxruntime.__version__}"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
