"""A pool of worker processes in which a dead worker costs its films in flight and nothing else.

`concurrent.futures` gives up its whole pool when one process is killed; this one starts another. The worker's film is
tried once more at the end, since a process may be killed for no fault of its film (memory, an operator); then alone.
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
class _Seat:
    """Where a worker does one film at a time."""

    connection: Connection
    film: Film | None = None


@dataclass(slots=True, eq=False)
class _Worker:
    """retires: it gets no more films, and ends with those in flight."""

    process: SpawnProcess
    seats: list[_Seat]
    gpu: str = ""
    retires: bool = False

    @property
    def films(self) -> list[Film]:
        """In flight."""
        return [seat.film for seat in self.seats if seat.film is not None]


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
        together: int = 1,
    ) -> None:
        """work: a function of a module, called in each process with its connections and `arguments`. on_end: told of
        every film that has ended, and how; gives films that are to be done now. on_advance:
        told how far a film is. on_tick: called at least every POLL_S. gpus: numbers of the GPUs; each worker sees one
        of them alone. engines: what the first worker chooses and the others are given. together: films at a time in
        each worker, which has a connection for each."""
        self._work, self._arguments, self._count, self._together = work, tuple(arguments), workers, together
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
            while self._waiting or any(worker.films for worker in self._workers):
                self._give_out()
                self._listen()
                if self._on_tick is not None:
                    self._on_tick()
            self._end_idle()
        finally:
            for worker in self._workers:
                worker.process.kill()
                worker.process.join(JOIN_S)
                _hang_up(worker)
            self._workers.clear()

    def process_ids(self) -> list[int]:
        """Of the workers that there are now."""
        return [worker.process.pid for worker in self._workers if worker.process.pid is not None]

    def _give_out(self) -> None:
        """A film to every free seat. Until one worker has opened its networks there is no second one, and no second
        film: they would measure their engines in each other's way."""
        for worker in self._workers:
            self._fill(worker)
        wanted = self._count if self._opened else 1
        while self._waiting and len(self._workers) < wanted:
            self._fill(self._start())

    def _fill(self, worker: _Worker) -> None:
        for seat in worker.seats:
            if seat.film is None and self._takes_another(worker):
                seat.film = self._waiting.popleft()
                # A pipe that is broken is a death; `_listen` sees it.
                with suppress(OSError):
                    seat.connection.send(seat.film)

    def _takes_another(self, worker: _Worker) -> bool:
        """Whether the next film may go to this worker. One whose worker has died is done alone: if it was the cause,
        it costs no others their second try."""
        if not self._waiting or worker.retires:
            return False
        if not worker.films:
            return True
        return self._opened and not any(film.folder in self._deaths for film in (*worker.films, self._waiting[0]))

    def _start(self) -> _Worker:
        pipes = [self._context.Pipe() for _ in range(self._together)]
        gpu = self._free_gpu()
        theirs = tuple(there for _, there in pipes)
        arguments = (gpu, self._work, theirs, *self._arguments, self._engines.chosen)
        process = self._context.Process(target=_work_on_gpu, args=arguments, daemon=True)
        process.start()
        for there in theirs:
            there.close()  # so that reading ends when the process does
        worker = _Worker(process, [_Seat(here) for here, _ in pipes], gpu)
        self._workers.append(worker)
        return worker

    def _free_gpu(self) -> str:
        """The one that the fewest workers have; "" without GPUs."""
        taken = Counter(worker.gpu for worker in self._workers)
        return min(self._gpus, key=lambda gpu: taken[gpu], default="")

    def _listen(self) -> None:
        wait([seat.connection for worker in self._workers for seat in worker.seats], POLL_S)
        for worker in list(self._workers):
            if not all([self._hear(worker, seat) for seat in worker.seats]) and worker in self._workers:
                self._bury(worker)

    def _hear(self, worker: _Worker, seat: _Seat) -> bool:
        """Take what has been said there. False: the worker is dead; what it had said before is taken."""
        try:
            while worker in self._workers and seat.connection.poll():
                self._take(worker, seat, seat.connection.recv())
        except (EOFError, OSError):
            return False
        return True

    def _take(self, worker: _Worker, seat: _Seat, message: Message) -> None:
        film = seat.film
        if isinstance(message, Fatal):
            raise UsageError(message.error)
        if isinstance(message, Finished):
            seat.film = None
            worker.retires = worker.retires or message.retires
            if worker.retires and not worker.films:
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
        """The worker is dead: its films wait for another try, or have failed."""
        films = worker.films
        self._part_with(worker)
        for film in films:
            self._died(film, worker)

    def _died(self, film: Film, worker: _Worker) -> None:
        deaths = self._deaths[film.folder] = self._deaths.get(film.folder, 0) + 1
        if deaths < TRIES:
            self._waiting.append(film)
        else:
            error = f"its worker died {deaths} times, last {_cause(worker.process.exitcode)}"
            self._waiting.extendleft(reversed(self._on_end(film, Finished(error))))

    def _part_with(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        _hang_up(worker)
        worker.process.join(JOIN_S)
        if worker.process.exitcode is None:
            worker.process.kill()
            worker.process.join(JOIN_S)

    def _end_idle(self) -> None:
        """Without films they end by themselves and close their engines."""
        for worker in self._workers:
            _hang_up(worker)
        for worker in self._workers:
            worker.process.join(JOIN_S)


def _hang_up(worker: _Worker) -> None:
    for seat in worker.seats:
        seat.connection.close()


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
