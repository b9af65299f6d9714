"""A pool of worker processes in which a dead worker costs its film in flight and nothing else.

`concurrent.futures` gives up its whole pool when one process is killed; this one starts another. The worker's film is
tried once more at the end, since a process may be killed for no fault of its film (memory, an operator).
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

from bodycast.app.batch.batch_engines import BatchEngines
from bodycast.app.batch.films import Film
from bodycast.app.batch.messages import Advanced, Fatal, Finished, Message
from bodycast.app.errors import UsageError

TRIES = 2
"""A film whose worker dies so often has failed."""
POLL_S = 1.0
JOIN_S = 10.0


@dataclass(slots=True, eq=False)
class _Worker:
    process: SpawnProcess
    connection: Connection
    gpu: str = ""
    film: Film | None = None


class Supervisor:
    """Gives films to workers. Use it from one thread."""

    def __init__(
        self,
        work: Callable[..., None],
        arguments: Sequence[Any],
        workers: int,
        on_end: Callable[[Film, Finished], Sequence[Film]],
        on_advance: Callable[[Film, Advanced], None] | None = None,
        on_tick: Callable[[], None] | None = None,
        gpus: Sequence[str] = (),
        engines: BatchEngines | None = None,
    ) -> None:
        """work: a function of a module, called in each process with its connection and `arguments`. on_end: told of
        every film that has ended, and how; gives films that are to be done now. on_advance:
        told how far a film is. on_tick: called at least every POLL_S. gpus: numbers of the GPUs; each worker sees one
        of them alone. engines: what the first worker chooses and the others are given."""
        self._work, self._arguments, self._count = work, tuple(arguments), workers
        self._on_end, self._on_advance, self._on_tick = on_end, on_advance, on_tick
        self._context = multiprocessing.get_context("spawn")
        self._workers: list[_Worker] = []
        self._waiting: deque[Film] = deque()
        self._gpus = tuple(gpus)
        self._engines = engines or BatchEngines(None)
        self._deaths: dict[str, int] = {}
        self._opened = False

    def run(self, films: Sequence[Film]) -> None:
        """Do all films; whatever ends this, all workers have ended afterwards.

        Raises: UsageError where a worker says that no film can be done.
        """
        self._waiting.extend(films)
        try:
            while self._waiting or any(worker.film is not None for worker in self._workers):
                self._give_out()
                self._listen()
                if self._on_tick is not None:
                    self._on_tick()
            self._end_idle()
        finally:
            for worker in self._workers:
                worker.process.kill()
                worker.process.join(JOIN_S)
                worker.connection.close()
            self._workers.clear()

    def process_ids(self) -> list[int]:
        """Of the workers that there are now."""
        return [worker.process.pid for worker in self._workers if worker.process.pid is not None]

    def _give_out(self) -> None:
        """A film to everybody who has none. Until one worker has opened its networks there is no second one: they
        would measure their engines in each other's way."""
        for worker in list(self._workers):
            if worker.film is None and self._waiting:
                self._hand_over(worker)
        wanted = self._count if self._opened else 1
        while self._waiting and len(self._workers) < wanted:
            worker = self._start()
            self._hand_over(worker)

    def _start(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        gpu = self._free_gpu()
        arguments = (gpu, self._work, theirs, *self._arguments, self._engines.chosen)
        process = self._context.Process(target=_work_on_gpu, args=arguments, daemon=True)
        process.start()
        theirs.close()  # so that reading ends when the process does
        worker = _Worker(process, ours, gpu)
        self._workers.append(worker)
        return worker

    def _free_gpu(self) -> str:
        """The one that the fewest workers have; "" without GPUs."""
        taken = Counter(worker.gpu for worker in self._workers)
        return min(self._gpus, key=lambda gpu: taken[gpu], default="")

    def _hand_over(self, worker: _Worker) -> None:
        worker.film = self._waiting.popleft()
        # A pipe that is broken is a death; `_listen` sees it.
        with suppress(OSError):
            worker.connection.send(worker.film)

    def _listen(self) -> None:
        wait([worker.connection for worker in self._workers], POLL_S)
        for worker in list(self._workers):
            try:
                while worker in self._workers and worker.connection.poll():
                    self._take(worker, worker.connection.recv())
            except (EOFError, OSError):
                self._bury(worker)

    def _take(self, worker: _Worker, message: Message) -> None:
        film = worker.film
        if isinstance(message, Fatal):
            raise UsageError(message.error)
        if isinstance(message, Finished):
            worker.film = None
            if message.retires:
                self._part_with(worker)
            if film is not None:
                self._waiting.extendleft(reversed(self._on_end(film, message)))
        elif isinstance(message, Advanced):
            if film is not None and self._on_advance is not None:
                self._on_advance(film, message)
        else:
            self._engines.choose(message.engines)
            self._opened = True

    def _bury(self, worker: _Worker) -> None:
        """The worker is dead: its film waits for another try, or has failed."""
        film = worker.film
        self._part_with(worker)
        if film is None:
            return
        deaths = self._deaths[film.folder] = self._deaths.get(film.folder, 0) + 1
        if deaths < TRIES:
            self._waiting.append(film)
        else:
            error = f"its worker died {deaths} times, last {_cause(worker.process.exitcode)}"
            self._waiting.extendleft(reversed(self._on_end(film, Finished(error))))

    def _part_with(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        worker.connection.close()
        worker.process.join(JOIN_S)
        if worker.process.exitcode is None:
            worker.process.kill()
            worker.process.join(JOIN_S)

    def _end_idle(self) -> None:
        """Without films they end by themselves and close their engines."""
        for worker in self._workers:
            worker.connection.close()
        for worker in self._workers:
            worker.process.join(JOIN_S)


def _work_on_gpu(gpu: str, work: Callable[..., None], *arguments: Any) -> None:
    """In the process: the variable is read when CUDA is first asked, which is when the networks are opened."""
    if gpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    work(*arguments)


def _cause(exit_code: int | None) -> str:
    if exit_code is None:
        return "without an answer"
    if exit_code >= 0:
        return f"with exit code {exit_code}"
    with suppress(ValueError):
        return f"by {signal.Signals(-exit_code).name}"
    return f"by signal {-exit_code}"
