"""How a worker thread hands items to the thread that wants them: two named policies behind one class.

A file waits (nothing is ever lost), a live device drops the oldest (what comes out is always the newest).
"""

from __future__ import annotations

import threading
from collections import deque
from enum import Enum
from typing import Generic, TypeVar

T = TypeVar("T")


class WhenFull(Enum):
    """What `put` does when the reader is behind."""

    WAIT = "wait"
    DROP_OLDEST = "drop oldest"


class Handoff(Generic[T]):
    """A bounded queue between two threads that can be ended, failed or closed from either side.

    Nobody stays blocked once it is closed, which is what the standard `queue.Queue` cannot promise. An error given
    to `end` is raised in the reader, after the items that came before it.
    """

    def __init__(self, capacity: int, when_full: WhenFull) -> None:
        if capacity < 1:
            raise ValueError(f"Handoff: expected a capacity of 1 or more, got {capacity}")
        self._capacity = capacity
        self._when_full = when_full
        self._items: deque[T] = deque()
        self._changed = threading.Condition()
        self._ended = False
        self._closed = False
        self._error: BaseException | None = None
        self._dropped = 0

    @property
    def dropped(self) -> int:
        """Items that were put and never taken because newer ones replaced them."""
        return self._dropped

    def put(self, item: T) -> bool:
        """Hand over one item; False once closed, which tells the worker to stop."""
        with self._changed:
            if self._when_full is WhenFull.WAIT:
                self._changed.wait_for(lambda: self._closed or len(self._items) < self._capacity)
            if self._closed:
                return False
            while len(self._items) >= self._capacity:
                self._items.popleft()
                self._dropped += 1
            self._items.append(item)
            self._changed.notify_all()
            return True

    def end(self, error: BaseException | None = None) -> None:
        """The worker is done: the reader gets what is left, then `error` if there is one, else the end."""
        with self._changed:
            self._ended = True
            self._error = error
            self._changed.notify_all()

    def take(self, timeout_s: float | None = None) -> T | None:
        """The next item, or None at the end and once closed. Raises the worker's error, TimeoutError when nothing
        came for `timeout_s`."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._items or self._ended or self._closed, timeout_s):
                raise TimeoutError
            if self._closed:
                return None
            if self._items:
                item = self._items.popleft()
                self._changed.notify_all()
                return item
            error, self._error = self._error, None
            if error is not None:
                raise error
            return None

    def close(self) -> None:
        """Stop both sides at once and let go of the items. May be called twice and from any thread."""
        with self._changed:
            self._closed = True
            if self._when_full is WhenFull.DROP_OLDEST:
                self._dropped += len(self._items)
            self._items.clear()
            self._changed.notify_all()
