"""One package on one engine: time, memory and floor, each measured in a process of its own."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter

import numpy as np

from bodycast.engines.errors import EngineError
from bodycast.engines.package import load_package
from bodycast.engines.registry import open_engine

WARM_UP = 3


@dataclass(frozen=True)
class EngineTime:
    """ms_*: milliseconds a row. macs: multiply-accumulates of a row, done in `arithmetic`. rate: of those a second that
    this machine managed, None for a GPU.
    memory_mb: peak resident memory that opening and running added; None where the system does not say.
    error: the first measure of the package's parity report for this engine on its fixed inputs."""

    package: str
    precision: str
    engine: str
    device: str
    batch: int
    least_ms: float
    median_ms: float
    p95_ms: float
    macs: int
    arithmetic: str
    rate: float | None
    memory_mb: float | None
    parameters: int
    error_name: str
    error: float | None

    @property
    def floor_ms(self) -> float | None:
        """What the products alone take, of a row; None where the rate is not known."""
        return None if self.rate is None else 1e3 * self.macs / self.rate

    @property
    def over_floor(self) -> float | None:
        """Least time over the floor; None for a graph without products."""
        return None if not self.floor_ms else self.least_ms / self.floor_ms


def in_own_process(
    folder: Path, engine: str, device: str, batches: tuple[int, ...], repeats: int, threads: int | None = None
) -> list[EngineTime]:
    """`measure` in a fresh process, so that memory is that of this engine alone."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(measure, folder, engine, device, batches, repeats, threads).result()


def measure(
    folder: Path, engine: str, device: str, batches: tuple[int, ...], repeats: int, threads: int | None = None
) -> list[EngineTime]:
    """Time a package at every batch size. threads: on a CPU, also those of the floor; None for the engine's choice.

    Raises: EngineError where the engine cannot run here.
    """
    package = load_package(folder)
    before = resident_mb("VmRSS")
    times: dict[int, np.ndarray] = {}
    with open_engine(package, engine, device, threads=threads) as opened:
        for batch in batches:
            inputs = _inputs(folder, batch)
            for _ in range(WARM_UP):
                opened.run(inputs)
            samples: list[float] = []
            for _ in range(repeats):
                start = perf_counter()
                opened.run(inputs)
                samples.append(1e3 * (perf_counter() - start) / batch)
            times[batch] = np.array(samples)
        name, used = opened.name, opened.device
        peak = resident_mb("VmHWM")
    from evaluation.bench_floor import arithmetic, graph_cost, machine_rate

    cost = graph_cost(package.model_path)
    kind = arithmetic(package, name)
    rate = machine_rate(kind, threads) if used == "cpu" else None
    error_name, error = _parity(folder, name)
    return [
        EngineTime(
            package=package.info.name,
            precision=package.info.precision,
            engine=name,
            device=used,
            batch=batch,
            least_ms=float(samples.min()),
            median_ms=float(np.median(samples)),
            p95_ms=float(np.percentile(samples, 95)),
            macs=cost.macs,
            arithmetic=kind,
            rate=rate,
            memory_mb=None if before is None or peak is None else round(peak - before, 1),
            parameters=cost.parameters,
            error_name=error_name,
            error=error,
        )
        for batch, samples in times.items()
    ]


def with_best_rates(rows: Sequence[EngineTime]) -> list[EngineTime]:
    """The same rows, each with the best rate that any of them saw in its arithmetic: other programs only lower it."""
    best: dict[str, float] = {}
    for row in rows:
        if row.rate is not None:
            best[row.arithmetic] = max(best.get(row.arithmetic, 0.0), row.rate)
    return [row if row.rate is None else replace(row, rate=best[row.arithmetic]) for row in rows]


def resident_mb(field: str) -> float | None:
    """VmRSS (now) or VmHWM (peak) of this process in MB; None where the system has no /proc."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{field}:")), None)


def _inputs(folder: Path, batch: int) -> dict[str, np.ndarray]:
    """The package's own golden rows, repeated."""
    inputs, _ = load_package(folder).golden()
    return {name: np.resize(array, (batch, *array.shape[1:])) for name, array in inputs.items()}


def _parity(folder: Path, engine: str) -> tuple[str, float | None]:
    """Name and value of the surface error (or the task's first measure) in the parity report."""
    from bodycast.export.parity import read_report

    try:
        report = read_report(load_package(folder))
    except EngineError:
        return "", None
    row = next((row for row in report.engines if row.engine == engine), None)
    if row is None:
        return "", None
    name = "pve_mm" if "pve_mm" in row.errors["fixed"] else next(iter(row.errors["fixed"]))
    return name, row.errors["fixed"][name]
