"""Engines by name, imported only when chosen, and the choice that "auto" makes."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Any, cast

import numpy as np

from bodycast.engines import choices
from bodycast.engines.base import Engine
from bodycast.engines.devices import check_ordinal, cuda_devices, gpu_ordinal, usable_cores
from bodycast.engines.errors import EngineError, EngineUnavailableError, PackageError
from bodycast.engines.machine import QUIET, free_share
from bodycast.engines.optional import install_command
from bodycast.engines.package import ModelPackage, load_package


@dataclass(frozen=True, slots=True)
class EngineEntry:
    """Where an engine's class is, what it runs on, the library it needs, and the distributions that bring that."""

    module: str
    attribute: str
    devices: tuple[str, ...]
    library: str
    distributions: tuple[str, ...]

    def load(self) -> type[Engine]:
        """Import the class."""
        return cast("type[Engine]", getattr(import_module(f"bodycast.engines.{self.module}"), self.attribute))

    def installed(self) -> bool:
        """Whether its library is there; imports nothing."""
        return find_spec(self.library) is not None


_ORT = ("onnxruntime-gpu", "onnxruntime")
_RTX = ("tensorrt-rtx-cu12", "tensorrt-rtx-cu13", "tensorrt-rtx")
_TRT = ("tensorrt", "tensorrt-cu13", "tensorrt-cu12")

ENGINES: dict[str, EngineEntry] = {
    "onnxruntime": EngineEntry("onnxruntime_engine", "OnnxRuntimeEngine", ("cpu", "cuda"), "onnxruntime", _ORT),
    "openvino": EngineEntry("openvino_engine", "OpenVinoEngine", ("cpu",), "openvino", ("openvino",)),
    "openvino-bf16": EngineEntry("openvino_engine", "OpenVinoBf16Engine", ("cpu",), "openvino", ("openvino",)),
    "tensorrt": EngineEntry("tensorrt_engine", "TensorRtEngine", ("cuda",), "tensorrt", _TRT),
    "tensorrt-rtx": EngineEntry("tensorrt_engine", "TensorRtRtxEngine", ("cuda",), "tensorrt_rtx", _RTX),
    "torch": EngineEntry("torch_engine", "TorchEngine", ("cpu", "cuda"), "torch", ("torch",)),
}

_CANDIDATES = {"cpu": ("onnxruntime", "openvino"), "cuda": ("tensorrt", "tensorrt-rtx", "onnxruntime")}
"""What "auto" races: engines that compute in the package's own precision, without torch."""

_RACE_RUNS = 7


def open_engine(
    package: Path | str | ModelPackage, engine: str = "auto", device: str = "auto", *, threads: int | None = None
) -> Engine:
    """Open a package on the named engine and device; the caller closes it.

    engine: a name in ENGINES, or "auto". device: "cpu", "cuda" (the first GPU), "cuda:1" and so on, or "auto" (the
    first GPU where CUDA works, else the CPU). A GPU that was named and is not there is an error, never the CPU.
    `Engine.reason` says why an automatic choice was made.

    Raises: PackageError (the package is at fault), EngineUnavailableError (what was asked for is not here),
    EngineError (anything else that stops it from opening).
    """
    if engine != "auto" and engine not in ENGINES:
        raise EngineUnavailableError(f"no engine {engine!r}; there are auto, {', '.join(ENGINES)}")
    ordinal = None if device == "auto" else gpu_ordinal(device)
    loaded = package if isinstance(package, ModelPackage) else load_package(package)
    if device == "cpu":
        return _open_on_cpu(loaded, engine, threads, "asked for the CPU")
    if ordinal is not None:
        return _open_on_cuda(loaded, engine, device, threads)
    if engine != "auto" and "cuda" not in ENGINES[engine].devices:
        return _open_on_cpu(loaded, engine, threads, f"{engine} runs on the CPU")
    count, driver = cuda_devices()
    why = driver
    if count > 0:
        try:
            return _open_on_cuda(loaded, engine, "cuda", threads)
        except EngineUnavailableError as error:
            why = f"CUDA does not work: {error}"
    if engine != "auto" and "cpu" not in ENGINES[engine].devices:
        raise EngineUnavailableError(f"{engine} runs on an NVIDIA GPU only: {why}")
    return _open_on_cpu(loaded, engine, threads, why)


def _open_on_cuda(package: ModelPackage, engine: str, device: str, threads: int | None) -> Engine:
    if engine != "auto":
        _check_runs_on(engine, "cuda")
    check_ordinal(gpu_ordinal(device) or 0)
    why = cuda_devices()[1]
    if engine == "auto":
        return _open_fastest(package, device, threads, why)
    return _open_named(package, engine, device, threads, why)


def _open_on_cpu(package: ModelPackage, engine: str, threads: int | None, why: str) -> Engine:
    if engine == "auto":
        return _open_fastest(package, "cpu", threads, why)
    _check_runs_on(engine, "cpu")
    return _open_named(package, engine, "cpu", threads, why)


def _check_runs_on(engine: str, device: str) -> None:
    if device not in ENGINES[engine].devices:
        able = [name for name, entry in ENGINES.items() if device in entry.devices]
        raise EngineUnavailableError(f"{engine} does not run on {device}; {', '.join(able)} can")


def _open_named(package: ModelPackage, engine: str, device: str, threads: int | None, why: str) -> Engine:
    opened = ENGINES[engine].load()(package, device, threads=threads).open()
    opened.reason = why
    return opened


def _open_fastest(package: ModelPackage, device: str, threads: int | None, why: str) -> Engine:
    """The engine that was fastest when it was measured on this machine; measured now where it never was."""
    candidates = _CANDIDATES[device.partition(":")[0]]
    names = [name for name in candidates if ENGINES[name].installed()]
    if not names:
        raise EngineUnavailableError(f"none of {', '.join(candidates)} is installed: {install_command('live.txt')}")
    told = choices.told.get(choices.key(package, device))
    if told in names:
        return _open_named(package, told, device, threads, f"{why}; chosen when the batch began")
    opened = _recalled_or_raced(package, names, device, threads, why)
    choices.made[choices.key(package, device)] = opened.name
    return opened


def _recalled_or_raced(package: ModelPackage, names: list[str], device: str, threads: int | None, why: str) -> Engine:
    libraries = {name: ENGINES[name].distributions for name in names}
    measured_under = choices.conditions(package, device, threads, libraries)
    remembered = choices.recall(measured_under)
    if remembered is not None:
        reason = f"{why}; timed here on {remembered.measured}: {remembered.describe()}"
        try:
            return _open_named(package, remembered.engine, device, threads, reason)
        except EngineUnavailableError:
            # Whatever went away since then, the race finds out and says it.
            pass
    return _race(package, names, device, threads, why, measured_under)


def _race(
    package: ModelPackage, names: list[str], device: str, threads: int | None, why: str, measured_under: dict[str, Any]
) -> Engine:
    """Open each, keep the one with the shortest single-row run: which one wins depends on machine and graph."""
    best: Engine | None = None
    times_ms: dict[str, float] = {}
    failures: list[str] = []
    refused: EngineError | None = None
    # A GPU's times say nothing of the CPU's load.
    cores = (threads or usable_cores()) if device == "cpu" and len(names) > 1 else 0
    free = free_share(cores) if cores else 1.0
    for name in names:
        try:
            candidate = ENGINES[name].load()(package, device, threads=threads).open()
        except PackageError:
            raise
        except EngineError as error:
            # Not here; or it cannot open this graph, which another one may.
            if not isinstance(error, EngineUnavailableError):
                refused = refused or error
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
        raise refused or EngineUnavailableError("; ".join(failures))
    reasons = [why]
    if len(times_ms) > 1:
        free = min(free, free_share(cores)) if cores else 1.0
        busy = f", with {free:.0%} of the CPU free: to be timed again" if free < QUIET else ""
        times = ", ".join(f"{name} {time_ms:.1f} ms" for name, time_ms in times_ms.items())
        reasons.append(f"timed here: {times}{busy}")
        try:
            choices.remember(measured_under, best.name, times_ms, free)
        except OSError as error:
            reasons.append(f"not remembered: {error}")
    best.reason = "; ".join([*reasons, *failures])
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
