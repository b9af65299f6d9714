"""The threads of a pipeline: each runs one loop, reports its first error, and never leaves a neighbour waiting."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from bodycast.app.errors import thread_failure


@dataclass(frozen=True, slots=True)
class Failure:
    """The first error of the run and the part it came from."""

    where: str
    error: BaseException


class FirstFailure:
    """Keeps the first error of all threads; later ones are usually its echo."""

    def __init__(self, on_failure: Callable[[], None]) -> None:
        self._on_failure = on_failure
        self._lock = threading.Lock()
        self._failure: Failure | None = None

    @property
    def failure(self) -> Failure | None:
        """The first error, None while all is well."""
        return self._failure

    def report(self, where: str, error: BaseException) -> None:
        """An error in the part called `where`; the first one stops the run."""
        with self._lock:
            first = self._failure is None
            if first:
                self._failure = Failure(where, error)
        if first:
            self._on_failure()


class Worker:
    """One daemon thread: `loop`, then always `release`. An error of either goes to `failures`."""

    def __init__(
        self, name: str, loop: Callable[[], None], release: Callable[[], None], failures: FirstFailure
    ) -> None:
        self.name = name
        self._loop = loop
        self._release = release
        self._failures = failures
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def alive(self) -> bool:
        """Whether the thread still runs."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def join(self, timeout_s: float) -> bool:
        """Wait for the end; False when it did not come in time."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        for step in (self._loop, self._release):
            try:
                step()
            except BaseException as error:  # whatever ends a thread must reach the main one
                self._failures.report(self.name, thread_failure(self.name, error))
