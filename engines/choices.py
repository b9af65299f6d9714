"""What `--engine auto` found fastest on this machine for a package, remembered so that it is measured once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, cast

from bodycast.engines.devices import cpu_name, cuda_gpus, gpu_ordinal, usable_cores
from bodycast.engines.machine import QUIET
from bodycast.engines.package import ModelPackage
from bodycast.engines.plans import PlanError, installed_plans
from bodycast.engines.user_cache import cache_folder, write_whole


@dataclass(frozen=True, slots=True)
class Choice:
    """engine: the fastest. times_ms: a run with one row, by engine. measured: the day."""

    engine: str
    times_ms: dict[str, float]
    measured: str

    def describe(self) -> str:
        """The times, for people."""
        return ", ".join(f"{name} {time_ms:.1f} ms" for name, time_ms in self.times_ms.items())


def conditions(
    package: ModelPackage, device: str, threads: int | None, libraries: Mapping[str, tuple[str, ...]]
) -> dict[str, Any]:
    """All that a measurement depends on: where any of it changes, it is made again.

    libraries: candidate engine -> distributions that may bring its library.
    """
    ordinal = gpu_ordinal(device)
    gpus = () if ordinal is None else cuda_gpus()[ordinal : ordinal + 1]
    plans = [plan.key.stem for plan in installed_plans(package) if not isinstance(plan, PlanError)]
    return {
        "graph": package.sha256,
        "device": device,
        "threads": threads or usable_cores(),
        "processor": cpu_name(),
        "gpus": [f"{gpu.name}, CUDA {gpu.driver}" for gpu in gpus],
        "plans": [] if ordinal is None else sorted(plans),
        "libraries": {engine: _version(names) for engine, names in libraries.items()},
    }


made: dict[str, str] = {}
"""What this process has opened by `--engine auto`: `key` of package and device -> engine."""
told: dict[str, str] = {}
"""The same, as another process opened it, to be followed here: results of two engines differ in their last digits."""


def key(package: ModelPackage, device: str) -> str:
    """Of `made` and `told`."""
    return f"{package.sha256} {device}"


def recall(measured_under: Mapping[str, Any]) -> Choice | None:
    """The remembered choice; None where nothing was measured under these conditions, where other programs used the
    machine meanwhile, or where what was kept is unreadable."""
    try:
        document = cast("dict[str, Any]", json.loads(_path(measured_under).read_text(encoding="utf-8")))
        times = {str(name): float(time_ms) for name, time_ms in document["times_ms"].items()}
        if float(document.get("free", 0.0)) < QUIET:
            return None
        choice = Choice(str(document["engine"]), times, str(document["measured"]))
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        # A cache that cannot be read is an empty one: it is measured again and written anew.
        return None
    return choice if choice.engine in measured_under["libraries"] else None


def remember(measured_under: Mapping[str, Any], engine: str, times_ms: Mapping[str, float], free: float = 1.0) -> None:
    """Keep a measurement. free: share of the machine that was free meanwhile (`machine.free_share`); below QUIET it is
    made again the next time. Raises OSError where the cache cannot be written."""
    document = {
        "conditions": dict(measured_under),
        "engine": engine,
        "times_ms": {name: round(time_ms, 3) for name, time_ms in times_ms.items()},
        "free": round(free, 2),
        "measured": date.today().isoformat(),
    }
    write_whole(_path(measured_under), json.dumps(document, indent=2).encode())


def _path(measured_under: Mapping[str, Any]) -> Path:
    digest = hashlib.sha256(json.dumps(measured_under, sort_keys=True).encode()).hexdigest()
    return cache_folder() / "choices" / f"{digest[:24]}.json"


def _version(distributions: tuple[str, ...]) -> str:
    for name in distributions:
        try:
            return f"{name} {version(name)}"
        except PackageNotFoundError:
            continue
    return "not installed"
