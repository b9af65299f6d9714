"""The films of a batch as tasks of Ray: its scheduler, its retries, its GPU resources.

A task is a film, or a fragment of one. Ray keeps worker processes for the next task: networks stay open in them.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from bodycast.app.batch.batch_engines import BatchEngines
from bodycast.app.batch.films import Film
from bodycast.app.batch.kept_stages import KeptStages
from bodycast.app.batch.messages import Fatal, Finished, Opened
from bodycast.app.batch.one_film import do_film
from bodycast.app.batch.remote import REQUIREMENTS, ResultPath
from bodycast.app.batch.supervisor import POLL_S, TRIES
from bodycast.app.config import RunConfig
from bodycast.app.errors import UsageError, require
from bodycast.app.memory import share_heaps
from bodycast.engines import choices

ANSWER_S = 5.0

Arguments = tuple[RunConfig, ResultPath, int, dict[str, str]]
"""Of every task: configuration, output of the batch, threads, engines."""


@dataclass(frozen=True, slots=True)
class RayOptions:
    """address: as `--ray` takes it. workers: how many films at a time a Ray that is started here does. threads: CPU
    threads of a film, which takes as many of Ray's CPUs. gpus: of this machine, for a Ray that is started here; with
    any, a film takes `gpus_each` of Ray's GPUs."""

    address: str
    workers: int
    threads: int
    gpus: int = 0

    @property
    def gpus_each(self) -> float:
        """A share below one where more films run at a time than there are GPUs; none without --gpus."""
        return min(1.0, self.gpus / self.workers)


class RayPool:
    """Gives films to Ray. Use it from one thread."""

    def __init__(
        self,
        options: RayOptions,
        config: RunConfig,
        output: ResultPath,
        on_end: Callable[[Film, Finished], Sequence[Film]],
        on_tick: Callable[[], None] | None = None,
        engines: BatchEngines | None = None,
    ) -> None:
        """on_end, on_tick, engines: as `Supervisor` has them. Raises: UsageError where Ray is not installed."""
        self._options = options
        self._engines = engines or BatchEngines(None)
        self._arguments: Arguments = (config, output, options.threads, self._engines.chosen)
        self._on_end, self._on_tick = on_end, on_tick
        self._ray: Any = require("ray", REQUIREMENTS)

    def run(self, films: Sequence[Film]) -> None:
        """Do all films. Raises: UsageError where Ray cannot be reached, or a task says that no film can be done."""
        ray = self._ray
        _connect(ray, self._options)
        try:
            resources: dict[str, Any] = {"num_cpus": self._options.threads, "num_gpus": self._options.gpus_each}
            task = ray.remote(_task).options(**resources, max_retries=TRIES - 1)
            # Before the others: two that open networks at a time would measure their engines in each other's way.
            opened = _result(ray, ray.remote(_open).options(**resources).remote(self._arguments))
            if not isinstance(opened, Opened):
                raise UsageError(opened.error)
            self._engines.choose(opened.engines)
            self._arguments = (*self._arguments[:3], self._engines.chosen)
            running = {task.remote(film, self._arguments): film for film in films}
            while running:
                ready, _ = ray.wait(list(running), num_returns=1, timeout=POLL_S)
                for reference in ready:
                    film = running.pop(reference)
                    message = _result(ray, reference)
                    if isinstance(message, Fatal):
                        raise UsageError(message.error)
                    more = self._on_end(film, message)
                    running.update((task.remote(one, self._arguments), one) for one in more)
                if self._on_tick is not None:
                    self._on_tick()
        finally:
            ray.shutdown()


def _connect(ray: Any, options: RayOptions) -> None:
    """auto: the cluster that this machine belongs to, else a Ray of this machine alone. Raises: UsageError."""
    if options.address != "auto":
        _check_answers(options.address)
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    try:
        ray.init(address=options.address, **quiet)
        return
    except (ConnectionError, ValueError, OSError, RuntimeError) as error:
        if options.address != "auto":
            raise UsageError(f"--ray {options.address}: no Ray answers there ({_line(error)})") from error
    cpus = options.workers * options.threads
    ray.init(address="local", num_cpus=cpus, num_gpus=options.gpus, include_dashboard=False, **quiet)


def _check_answers(address: str) -> None:
    """Ray itself tries for minutes. Raises: UsageError."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        raise UsageError(f"--ray {address}: expected auto, HOST:PORT or ray://HOST:PORT")
    try:
        socket.create_connection((host, int(port)), ANSWER_S).close()
    except (OSError, OverflowError) as error:
        raise UsageError(f"--ray {address}: no Ray answers there ({error})") from error


def _result(ray: Any, reference: Any) -> Any:
    """What a task gives; a task that died as often as Ray tries is a film that has failed."""
    try:
        return ray.get(reference)
    except ray.exceptions.RayError as error:
        return Finished(f"its worker died {TRIES} times: {_line(error)}")


def _line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return " ".join(lines[0].split()) if lines else type(error).__name__


_kept: dict[int, KeptStages] = {}
"""Of this worker process, by the number of threads: what is open stays open for Ray's next task here."""


def _task(film: Film, arguments: Arguments) -> Finished | Fatal:
    share_heaps()
    config, output, threads, engines = arguments
    choices.told.update(engines)
    kept = _kept.setdefault(threads, KeptStages(threads))
    message = do_film(film, config, output, kept)
    if isinstance(message, Fatal) or message.retires:
        _kept.pop(threads).close()
    return message


def _open(arguments: Arguments) -> Opened | Fatal:
    """Open the networks once, so that the engine that is the fastest here is known and remembered."""
    from bodycast.app.detectors import open_detector
    from bodycast.app.pipeline.build import open_estimator

    share_heaps()
    config, _, threads, engines = arguments
    choices.told.update(engines)
    try:
        open_estimator(config, threads).close()
        open_detector(config.people.detector, device=config.network.device, threads=threads).close()
    except UsageError as error:
        return Fatal(str(error))
    return Opened(dict(choices.made))
