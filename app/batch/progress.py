"""How far a batch is, on stderr: films done and failed, and the time that is left by the films' sizes."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import TextIO

from bodycast.app.batch.films import Film
from bodycast.app.batch.messages import Advanced
from bodycast.plain_text import shown_name

LINE_S = 10.0


class BatchProgress:
    """Speaks every LINE_S, on a terminal on one line every second, and of every film that fails."""

    def __init__(
        self, films: Sequence[Film], stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """films: those to be done now, without those that were done before."""
        self._stream = stream or sys.stderr
        self._clock = clock
        self._began_s = clock()
        # A film without a size counts too.
        self._weights = {film.folder: max(1, film.size_bytes) for film in films}
        self._shares: dict[str, float] = {}
        self._ended = self._failed = 0
        self._on_terminal = self._stream.isatty()
        self._step_s = 1.0 if self._on_terminal else LINE_S
        self._next_s = self._began_s + self._step_s

    def ended(self, film: Film, error: str) -> None:
        """A film is done, or has failed."""
        self._ended += 1
        self._shares[film.folder] = 1.0
        if error:
            self._failed += 1
            self._say(f"failed    {shown_name(str(film.path))}: {error}", stays=True)
        self.tick()

    def advanced(self, film: Film, message: Advanced) -> None:
        """A film in flight is so far."""
        if message.of and film.folder in self._weights:  # fragments tell when they have ended
            self._shares[film.folder] = min(1.0, message.frames / message.of)

    def part_ended(self, film: Film, share: float) -> None:
        """Of a film that is split, so much is done."""
        self._shares[film.folder] = share
        self.tick()

    def tick(self) -> None:
        """Called far more often than it speaks."""
        if self._clock() >= self._next_s:
            self._next_s = self._clock() + self._step_s
            self._say(f"progress  {self.text()}", stays=not self._on_terminal)

    def close(self) -> None:
        """The last line."""
        self._say(f"progress  {self.text()}", stays=True)

    def text(self) -> str:
        """Films ended of all, failed ones, and the time left once something is known of it."""
        counted = f"{self._ended} of {len(self._weights)} films"
        failed = f", {self._failed} failed" if self._failed else ""
        left_s = self.left_s()
        return counted + failed + ("" if left_s is None else f", {_duration(left_s)} left")

    def left_s(self) -> float | None:
        """Seconds, if the rest goes as fast by bytes as what is done; None before anything is done."""
        done = sum(share * self._weights[folder] for folder, share in self._shares.items())
        if done <= 0:
            return None
        return (self._clock() - self._began_s) * (sum(self._weights.values()) - done) / done

    def _say(self, line: str, stays: bool) -> None:
        back = "\r\x1b[K" if self._on_terminal else ""
        self._stream.write(back + line + ("\n" if stays else ""))
        self._stream.flush()


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
