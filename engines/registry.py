"""Engines by name, imported only when chosen, and the choice that "auto" makes."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import cast

import numpy as np

from engines.base import Engine
from engines.devices import cuda_devices
from engines.errors import EngineError, EngineUnavailableError
from engines.package import ModelPackage, load_package


@dataclass(frozen=True, slots=True)
class EngineEntry:
    """Where an engine's class is, what it runs on, and the library it needs."""

    module: str
    attribute: str
    devices: tuple[str, ...]
    library: str
    requirements: str

    def load(self) -> type[Engine]:
        """Import the class."""
        return cast("type[Engine]", getattr(import_module(self.module), self.attribute))

    def installed(self) -> bool:
        """Whether its library is there; imports nothing."""
        return find_spec(self.library) is not None


ENGINES: dict[str, EngineEntry] = {
    "onnxruntime": EngineEntry(
        "engines.onnxruntime_engine", "OnnxRuntimeEngine", ("cpu", "cuda"), "onnxruntime", "live.txt"
    ),
    "openvino": EngineEntry("engines.openvino_engine", "OpenVinoEngine", ("cpu",), "openvino", "live.txt"),
    "openvino-bf16": EngineEntry("engines.openvino_engine", "OpenVinoBf16Engine", ("cpu",), "openvino", "live.txt"),
}

_CPU_CANDIDATES = ("onnxruntime", "openvino")
"""What "auto" races on the CPU: engines that compute in the package's own precision."""

_RACE_RUNS = 7


def open_engine(
    package: Path | str | ModelPackage, engine: str = "auto", device: str = "auto", *, threads: int | None = None
) -> Engine:
    """Open a package on the named engine and device; the caller closes it.

    engine: a name in ENGINES, or "auto". device: "cpu", "cuda" or "auto" (CUDA where it works, else the CPU).
    `Engine.reason` says why an automatic choice was made.

    Raises: PackageError (the package is at fault), EngineUnavailableError (what was asked for is not here),
    EngineError (anything else that stops it from opening).
    """
    if engine != "auto" and engine not in ENGINES:
        raise EngineUnavailableError(f"no engine {engine!r}; there are auto, {', '.join(ENGINES)}")
    if device not in ("auto", "cpu", "cuda"):
        raise EngineUnavailableError(f"no device {device!r}; there are auto, cpu, cuda")
    loaded = package if isinstance(package, ModelPackage) else load_package(package)
    if device == "cpu":
        return _open_on_cpu(loaded, engine, threads, "asked for the CPU")
    if device == "cuda":
        return _open_on_cuda(loaded, engine, threads)
    if engine != "auto" and "cuda" not in ENGINES[engine].devices:
        return _open_on_cpu(loaded, engine, threads, f"{engine} runs on the CPU")
    count, driver = cuda_devices()
    if count == 0:
        return _open_on_cpu(loaded, engine, threads, driver)
    try:
        return _open_on_cuda(loaded, engine, threads)
    except EngineUnavailableError as error:
        return _open_on_cpu(loaded, engine, threads, f"CUDA does not work: {error}")


def _open_on_cuda(package: ModelPackage, engine: str, threads: int | None) -> Engine:
    names = [name for name, entry in ENGINES.items() if "cuda" in entry.devices]
    if engine not in ("auto", *names):
        raise EngineUnavailableError(f"{engine} does not run on cuda; {', '.join(names)} can")
    opened = ENGINES[names[0] if engine == "auto" else engine].load()(package, "cuda", threads=threads).open()
    opened.reason = cuda_devices()[1]
    return opened


def _open_on_cpu(package: ModelPackage, engine: str, threads: int | None, why: str) -> Engine:
    if engine != "auto":
        opened = ENGINES[engine].load()(package, "cpu", threads=threads).open()
        opened.reason = why
        return opened
    names = [name for name in _CPU_CANDIDATES if ENGINES[name].installed()]
    if not names:
        raise EngineUnavailableError(
            "neither onnxruntime nor openvino is installed: pip install -r requirements/live.txt"
        )
    return _fastest(package, names, threads, why)


def _fastest(package: ModelPackage, names: list[str], threads: int | None, why: str) -> Engine:
    """Open each, keep the one with the shortest single-row run: which one wins depends on the CPU and the graph."""
    best: Engine | None = None
    times_ms: dict[str, float] = {}
    failures: list[str] = []
    for name in names:
        try:
            candidate = ENGINES[name].load()(package, "cpu", threads=threads).open()
        except EngineUnavailableError as error:
            failures.append(f"{name}: {error}")
            continue
        times_ms[name] = _time_ms(candidate) if len(names) > 1 else 0.0
        if best is None or times_ms[name] < times_ms[best.name]:
            if best is not None:
                best.close()
            best = candidate
        else:
            candidate.close()
    if best is None:
        raise EngineUnavailableError("; ".join(failures))
    race = ", ".join(f"{name} {time_ms:.1f} ms" for name, time_ms in times_ms.items())
    best.reason = "; ".join([why, *([f"timed here: {race}"] if len(times_ms) > 1 else []), *failures])
    return best


def _time_ms(engine: Engine) -> float:
    """Best of a few runs with one row, in milliseconds: the least disturbed by other programs."""
    inputs = {spec.name: np.zeros(spec.concrete(1), spec.dtype) for spec in engine.package.info.inputs}
    times: list[float] = []
    for _ in range(_RACE_RUNS):
        start = perf_counter()
        engine.run(inputs)
        times.append(perf_counter() - start)
    return 1e3 * min(times)


def check_golden(engine: Engine) -> dict[str, float]:
    """Largest absolute difference from the package's golden outputs, by output name.

    Raises: EngineError where an output has a value that is not finite.
    """
    inputs, expected = engine.package.golden()
    actual = engine.run(inputs)
    for name, array in actual.items():
        if not np.all(np.isfinite(array)):
            raise EngineError(f"{engine.describe()}: output {name!r} has values that are not finite")
    return {
        name: float(np.max(np.abs(actual[name].astype(np.float64) - array.astype(np.float64)), initial=0.0))
        for name, array in expected.items()
    }
