"""What `python -m evaluation bench` knows about each network, and the Markdown table it makes of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

TOLERANCE = 1e-4
"""Largest difference of an ONNX graph from torch that is allowed, absolute."""


@dataclass(frozen=True)
class Machine:
    """What the machine reaches: 1e9 fp32 operations and 1e9 bytes per second, best of several."""

    gflops: float
    gbytes_s: float


@dataclass(frozen=True)
class Timing:
    """Milliseconds of `runs` forward passes."""

    median_ms: float
    least_ms: float
    runs: int


@dataclass
class Record:
    """What is known about one network; parts that were not done yet are None.

    Attributes:
        parameters_m, gmacs: millions, and 1e9 multiply-accumulates of all kinds. io_mbytes: inputs and outputs.
        parity: largest absolute difference of ONNX Runtime from torch over all outputs, batch 1 and 3.
        export_seconds: what the export took. not_exported: why there is no ONNX file.
        torch, onnxruntime: times. machine: rates that were measured in the run of those times.
    """

    name: str
    parameters_m: float
    gmacs: float
    io_mbytes: float
    parity: float | None = None
    export_seconds: float | None = None
    not_exported: str | None = None
    torch: Timing | None = None
    onnxruntime: Timing | None = None
    machine: Machine | None = None

    def floor_ms(self) -> tuple[float, str] | None:
        """The floor and which side sets it: "operations" or "bytes"."""
        if self.machine is None:
            return None
        operations = 2 * self.gmacs / self.machine.gflops
        moved = 4 * (self.parameters_m + self.io_mbytes / 4) / 1e3 / self.machine.gbytes_s
        return (1e3 * operations, "operations") if operations >= moved else (1e3 * moved, "bytes")


def load_record(cache: Path, name: str) -> Record | None:
    """The record of an earlier run, or None."""
    path = cache / f"{name}.json"
    if not path.is_file():
        return None
    values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    for key, kind in (("torch", Timing), ("onnxruntime", Timing), ("machine", Machine)):
        if values[key] is not None:
            values[key] = kind(**values[key])
    return Record(**values)


def save_record(cache: Path, record: Record) -> None:
    """Write a record; a reader sees the old file or the new one, never half of it."""
    part = cache / f"{record.name}.part"
    part.write_text(json.dumps(asdict(record), indent=1), encoding="utf-8")
    part.replace(cache / f"{record.name}.json")


HEAD = """\
# Forward times of the registered networks, against their floors

Every registered network of at most {largest:.0f} M parameters, batch 1, fp32, {threads} threads: median of the timed
passes in milliseconds, the least in brackets. Weights are random. Networks of bodies take uint8 crops and give
rotations, as in a model package. `docs/networks.md` says which file holds which network.

The floor is the larger of two times that no program beats here: multiply-accumulates (attention and scans included)
x 2 at the measured rate of large fp32 matrix products (the better of torch's and ONNX Runtime's), and weights, inputs
and outputs (fp32) at the measured memory bandwidth. "x floor" is the median over the floor. A network far above its
floor spends its time outside large matrix products: depthwise convolutions, norms, window shuffles, scans, many small
calls.

- Command: `python -m evaluation bench --threads {threads} --out docs/model_times.md`
"""


def format_document(records: Sequence[Record], threads: int, largest_m: float, facts: Sequence[str]) -> str:
    """The whole page: how it was measured, the table, what was not exported and why.

    facts: lines about the machine and the libraries.
    """
    records = _at_best_rates(records)
    lines = [HEAD.format(largest=largest_m, threads=threads), *(f"- {fact}\n" for fact in facts)]
    lines += [f"- {line}\n" for line in (*_machine_lines(records), *_spread_lines(records), _parity_line(records))]
    lines.append("\n")
    lines += [
        "| network | params M | GMACs | floor ms | set by | torch ms | x floor | ORT ms | x floor | off by |\n",
        "|---|--:|--:|--:|---|--:|--:|--:|--:|--:|\n",
    ]
    lines += [_row(record) for record in records]
    missing = [record for record in records if record.onnxruntime is None]
    if missing:
        lines.append("\n## Not timed in ONNX Runtime here\n\n")
        lines += [f"- {record.name}: {record.not_exported or 'not exported in this run'}\n" for record in missing]
    return "".join(lines)


def _row(record: Record) -> str:
    floor = record.floor_ms()
    cells = [record.name, f"{record.parameters_m:.2f}", f"{record.gmacs:.2f}"]
    cells += ["-", "-"] if floor is None else [f"{floor[0]:.1f}", floor[1]]
    for timing in (record.torch, record.onnxruntime):
        if timing is None or floor is None:
            cells += ["-", "-"]
        else:
            cells += [f"{timing.median_ms:.1f} ({timing.least_ms:.1f})", f"{timing.median_ms / floor[0]:.1f}"]
    cells.append("-" if record.parity is None else f"{record.parity:.0e}")
    return f"| {' | '.join(cells)} |\n"


def _at_best_rates(records: Sequence[Record]) -> list[Record]:
    """All at the best rates of all runs: it is one machine, and other programs only lower what it reaches."""
    machines = [record.machine for record in records if record.machine is not None]
    if not machines:
        return list(records)
    best = Machine(max(m.gflops for m in machines), max(m.gbytes_s for m in machines))
    return [record if record.machine is None else replace(record, machine=best) for record in records]


def _machine_lines(records: Sequence[Record]) -> list[str]:
    best = next((record.machine for record in records if record.machine is not None), None)
    if best is None:
        return []
    return [
        f"Best of all runs: {best.gflops:.0f} GFLOP/s in fp32 matrix products, {best.gbytes_s:.0f} GB/s of memory; the "
        "floors are at these."
    ]


def _spread_lines(records: Sequence[Record]) -> list[str]:
    lines: list[str] = []
    for label, timings in (
        ("torch", [record.torch for record in records if record.torch is not None]),
        ("ONNX Runtime", [record.onnxruntime for record in records if record.onnxruntime is not None]),
    ):
        if timings:
            spreads = sorted(timing.median_ms / timing.least_ms - 1 for timing in timings)
            runs = sorted(timing.runs for timing in timings)
            lines.append(
                f"{label}: {len(timings)} networks, {runs[0]} to {runs[-1]} timed passes each; the median lies "
                f"{spreads[len(spreads) // 2]:.0%} above the least time in the middle case, {spreads[-1]:.0%} at most."
            )
    return lines


def _parity_line(records: Sequence[Record]) -> str:
    compared = [record for record in records if record.parity is not None]
    if not compared:
        return "No network was exported."
    worst = max(compared, key=lambda record: record.parity or 0.0)
    return (
        f"ONNX Runtime equals torch to {worst.parity:.1e} at worst ({worst.name}) over {len(compared)} exported "
        f"networks, batch 1 and 3; allowed are {TOLERANCE:.0e}."
    )
