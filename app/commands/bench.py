"""`bodycast bench`: how long each stage of a run takes on this machine, and each preset's networks on each engine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from bodycast.app.command_line import LEFT_OUT, parse
from bodycast.app.config import PresetName, check_device
from bodycast.app.errors import UsageError
from bodycast.app.presets import PRESETS
from bodycast.engines.devices import cuda_devices
from bodycast.engines.registry import ENGINES

if TYPE_CHECKING:
    from bodycast.app.commands.bench_stages import StageTime


@dataclass(frozen=True)
class Bench:
    """Time every stage of a run on this machine, one at a time, and the networks of every preset on every engine.

    A frame of the demo clip is used, with one of its people as often as --people says.
    """

    people: tuple[int, ...] = (1,)
    """People in the picture; with several numbers everything is timed for each."""

    presets: tuple[PresetName, ...] = tuple(PRESETS)
    """Whose networks are timed."""

    engines: tuple[str, ...] = ()
    """On which engines; where left out, on all that are installed, torch aside."""

    device: str = "auto"
    """Where the networks run: cpu, cuda, cuda:1 and so on; auto: the first GPU where it works, else the CPU."""

    renderers: tuple[Literal["moderngl", "cpu", "pyrender"], ...] = ("moderngl", "cpu")
    """Which overlays are timed."""

    threads: Annotated[int | None, LEFT_OUT] = None
    """CPU threads of the networks; where left out, as in a run."""

    repeats: int = 30
    """Calls that are timed for each line, after three that are not."""

    json: tyro.conf.FlagCreatePairsOff[bool] = False
    """Print JSON: a list of lines, and what could not be timed."""


def main(args: Sequence[str], prog: str = "bodycast bench") -> int:
    """Measure and print one table; 1 where no network could be timed. Raises: UsageError."""
    given = parse(Bench, args, prog)
    if not given.people or min(given.people) < 1 or given.repeats < 1 or (given.threads or 1) < 1:
        raise UsageError("--people, --repeats and --threads must be at least 1")
    check_device(given.device)
    unknown = [name for name in given.engines if name not in ENGINES]
    if unknown:
        raise UsageError(f"no engine {unknown[0]!r}; there are {', '.join(ENGINES)}")
    from bodycast.app.commands.bench_stages import BenchOptions, measure_all

    options = BenchOptions(
        people=given.people,
        presets=given.presets,
        engines=given.engines or engines_here(),
        device=given.device,
        renderers=given.renderers,
        threads=given.threads,
        repeats=given.repeats,
    )
    times, left_out = measure_all(options)
    if given.json:
        print(json.dumps({"times": [asdict(time) for time in times], "left_out": left_out}, indent=2))
    else:
        print(table(times))
        print("".join(f"\nnot timed: {what}: {why}" for what, why in left_out.items()), end="\n" if left_out else "")
    return 0 if any(time.stage.startswith("networks") for time in times) else 1


def engines_here() -> tuple[str, ...]:
    """Engines that are installed and have a device to run on, torch aside."""
    devices = ("cpu", "cuda") if cuda_devices()[0] else ("cpu",)
    return tuple(
        name
        for name, entry in ENGINES.items()
        if name != "torch" and entry.installed() and any(device in devices for device in entry.devices)
    )


def table(times: Sequence[StageTime]) -> str:
    """Lines of columns: stage, engine, people, then milliseconds."""
    head = ("stage", "engine", "people", "least ms", "median ms", "95 % ms")
    rows = [
        (
            time.stage,
            time.engine,
            str(time.people),
            *(f"{ms:.2f}" for ms in (time.least_ms, time.median_ms, time.p95_ms)),
        )
        for time in times
    ]
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) if column < 2 else cell.rjust(width) for column, (cell, width) in enumerate(pairs))
        for pairs in (list(zip(row, widths, strict=True)) for row in (head, *rows))
    )
