"""Takes: parts of a run that the user starts and stops with a key, each with files of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from bodycast.app.errors import BodycastError, cannot_write
from bodycast.app.records import FrameResult
from bodycast.app.sinks.base import Sink

OpensSinks = Callable[[Path], Sequence[Sink]]
"""The sinks of one take, which write into this folder."""


class TakeSink:
    """Gives frames to a take's sinks while one is recorded. A take that cannot be written ends, the run goes on."""

    def __init__(self, folder: Path, open_sinks: OpensSinks) -> None:
        """folder: where `take-001` and so on are made, at the first frame of each."""
        self.warnings: list[str] = []
        self._folder = folder
        self._open_sinks = open_sinks
        self._wanted = False
        self._sinks: Sequence[Sink] = ()
        self._take = ""
        self._first_index = 0

    @property
    def name(self) -> str:
        """For messages."""
        return "takes"

    @property
    def recording(self) -> str:
        """The name of the take that is recorded; empty: none."""
        return (self._take or "take") if self._wanted else ""

    def toggle(self) -> None:
        """Start a take with the next frame, or end the one that is recorded. From any thread."""
        self._wanted = not self._wanted

    def write(self, result: FrameResult) -> None:
        """Take one frame, if a take is recorded."""
        try:
            if self._wanted and not self._sinks:
                self._begin(result)
            elif not self._wanted and self._sinks:
                self._end()
            if self._sinks:
                frame = replace(result.frame, index=result.frame.index - self._first_index)
                for sink in self._sinks:
                    sink.write(replace(result, frame=frame))
        except BodycastError as error:
            self._give_up(error)

    def close(self) -> None:
        """Finish the take that is recorded. May be called twice."""
        try:
            self._end()
        except BodycastError as error:
            self._give_up(error)

    def _begin(self, result: FrameResult) -> None:
        number = 1
        while (self._folder / f"take-{number:03}").exists():
            number += 1
        folder = self._folder / f"take-{number:03}"
        try:
            folder.mkdir(parents=True)
        except OSError as error:
            raise cannot_write(folder, error) from error
        self._sinks, self._take, self._first_index = self._open_sinks(folder), folder.name, result.frame.index

    def _end(self) -> None:
        sinks, self._sinks, self._take = self._sinks, (), ""
        for sink in sinks:
            sink.close()

    def _give_up(self, error: BodycastError) -> None:
        self._wanted = False
        self.warnings.append(f"the take ends: {error}")
        sinks, self._sinks, self._take = self._sinks, (), ""
        for sink in sinks:
            try:
                sink.close()
            except BodycastError:  # the same fault again
                continue
