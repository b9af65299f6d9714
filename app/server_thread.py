"""A server of asyncio on a thread of its own, beside a program that knows nothing of asyncio."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from bodycast.app.errors import UsageError, thread_failure

START_S, STOP_S = 10.0, 3.0


class ServerThread:
    """Runs `serve` until `close`. `loop`: its event loop; `stop`: set at the end, which `serve` waits for."""

    def __init__(self, name: str, serve: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """serve: calls `started` once it listens. Nothing runs before `start`."""
        self.loop = asyncio.new_event_loop()
        self.stop = asyncio.Event()
        self._name, self._serve = name, serve
        self._started = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self, flags: str) -> None:
        """Start, and wait until it listens. flags: what the user gave, for the error. Raises: UsageError."""
        self._thread.start()
        if not self._started.wait(START_S) or self._failure is not None:
            reason = getattr(self._failure, "strerror", None) or self._failure or "it does not start"
            raise UsageError(f"{flags}: {reason}") from self._failure

    def started(self) -> None:
        """It listens."""
        self._started.set()

    def close(self) -> None:
        """May be called twice."""
        if self._thread.is_alive():
            with suppress(RuntimeError):  # the loop has ended meanwhile
                self.loop.call_soon_threadsafe(self.stop.set)
            self._thread.join(STOP_S)

    def _run(self) -> None:
        try:
            self.loop.run_until_complete(self._serve())
        except Exception as error:
            self._failure = self._failure or thread_failure(self._name, error)
        finally:
            self._started.set()
            self.loop.close()
