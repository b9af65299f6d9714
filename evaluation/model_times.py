"""`python -m evaluation model-times`: forward time of every registered network on the CPU, against its floor.

Each network is exported, compared with torch, and timed at batch 1 in torch and in ONNX Runtime. Its floor is the
larger of two times that no program beats on this machine: its operations at the measured rate of large fp32 matrix
products, and its weights, inputs and outputs at the measured memory bandwidth, with the same threads in the same run.
Where a CUDA GPU is, each network is also timed there: fp16, batch 1 and 16, from a CUDA graph.

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

from evaluation.model_times_table import TOLERANCE, Machine, Record, format_document, load_record, save_record
from evaluation.models import select

if TYPE_CHECKING:
    from bodycast.hmr.networks.registry import ModelSpec


def main(argv: Sequence[str]) -> int:
    """Export, time, write the table. Returns 1 where an ONNX graph is off by more than 1e-4, 2 for a wrong name."""
    parser = argparse.ArgumentParser(prog="python -m evaluation model-times", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="networks, with wildcards (default: all that fit)")
    parser.add_argument("--cache", type=Path, default=Path("runs/model_times"), help="folder of results and ONNX files")
    parser.add_argument("--out", type=Path, help="write the table to this Markdown file (default: print it)")
    parser.add_argument("--threads", type=int, default=2, help="of torch and of ONNX Runtime (default: 2)")
    parser.add_argument("--runs", type=int, default=7, help="timed passes a network and engine, after a warm-up")
    parser.add_argument("--budget", type=float, default=3.0, help="seconds of timed passes a network and engine")
    parser.add_argument("--largest", type=float, default=100.0, help="leave out networks of more million parameters")
    parser.add_argument("--export-limit", type=float, default=240.0, help="seconds after which an export is given up")
    parser.add_argument("--only", choices=("export", "time", "gpu", "table"), help="one step instead of all four")
    parser.add_argument("--note", help="a line for the page, about what else the machine did")
    parser.add_argument("--again", action="store_true", help="also time what has times, and try failed exports again")
    options = parser.parse_args(argv)
    if min(options.threads, options.runs) < 1 or options.export_limit <= 0:
        parser.error("--threads and --runs must be at least 1, --export-limit above 0")
    try:
        specs = select(options.names, None)
    except LookupError as error:
        print(f"model-times: {error}", file=sys.stderr)
        return 2
    records = load_or_count(specs, options.cache, options.largest)
    specs = sorted((spec for spec in specs if spec.name in records), key=lambda spec: records[spec.name].gmacs)
    if options.only in (None, "export"):
        for spec in specs:
            export_once(spec, records[spec.name], options)
    if options.only in (None, "time"):
        time_all(specs, records, options)
    if options.only in (None, "gpu"):
        if gpu_is_there():
            time_all_on_gpu(specs, records, options)
        elif options.only == "gpu":
            print("model-times: torch finds no CUDA GPU here; run this on a machine with one", file=sys.stderr)
            return 2
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
    from evaluation.forward_times import new_record

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
    from evaluation.forward_times import export_within

    path: Path = options.cache / f"{spec.name}.onnx"
    if path.is_file() or (record.not_exported is not None and not options.again):
        return
    export_within(spec, record, path, options.export_limit)
    save_record(options.cache, record)
    _say(f"{spec.name}: {record.not_exported or f'exported in {record.export_seconds} s, parity {record.parity:.1e}'}")


def time_all(specs: Sequence[ModelSpec], records: dict[str, Record], options: argparse.Namespace) -> None:
    """Time what has no times; the machine is measured before and after, and the better figures count."""
    from evaluation.forward_times import measure_machine, time_onnxruntime, time_torch

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


def gpu_is_there() -> bool:
    """Whether torch finds a CUDA GPU."""
    import torch

    return torch.cuda.is_available()


def time_all_on_gpu(specs: Sequence[ModelSpec], records: dict[str, Record], options: argparse.Namespace) -> None:
    """Time what has no GPU times yet; the GPU is measured once, before."""
    from evaluation.gpu_times import measure_gpu, time_gpu

    waiting = [spec for spec in specs if options.again or records[spec.name].gpu is None]
    if not waiting:
        return
    machine = measure_gpu()
    _say(f"GPU {machine}")
    for spec in waiting:
        record = records[spec.name]
        record.gpu = time_gpu(spec, options.runs, options.budget, machine)
        save_record(options.cache, record)
        _say(f"{spec.name}: {record.gpu.failure or record.gpu.times}")


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
