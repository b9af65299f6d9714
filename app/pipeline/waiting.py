"""Calls into libraries that may take long or never come back: a thread of their own, so that signals act and limits
hold."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from bodycast.app.errors import UsageError

Result = TypeVar("Result")
POLL_S = 0.1
SOURCE_S = 30.0
"""A source has so long to connect and to show its first picture."""
STAGES_S = 900.0
"""Networks have so long to open: an engine may be built on the way."""


class _Call(threading.Thread, Generic[Result]):
    """A daemon: one that never comes back does not keep the program from ending."""

    def __init__(self, call: Callable[[], Result]) -> None:
        super().__init__(daemon=True, name="opening")
        self._call = call
        self.results: list[Result] = []
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.results.append(self._call())
        except BaseException as error:
            self.error = error


def waited(call: Callable[[], Result], what: str, limit_s: float) -> Result:
    """What `call` gives. Meanwhile signals are handled in the calling thread.

    Raises: what `call` raises; UsageError where it takes longer than `limit_s`: it is left behind then.
    """
    thread = _Call(call)
    thread.start()
    passed_s = 0.0
    while thread.is_alive():
        thread.join(POLL_S)
        passed_s += POLL_S
        if passed_s > limit_s and thread.is_alive():
            raise UsageError(f"{what} takes more than {limit_s:.0f} s; it was given up")
    if thread.error is not None:
        raise thread.error
    return thread.results[0]
