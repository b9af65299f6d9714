"""What a sender promises."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from bodycast.app.sinks.base import Sink


@runtime_checkable
class Sender(Sink, Protocol):
    """A sink that sends to another program. It gets the newest frame alone, in a thread of its own, and never ends or
    holds up the run: what goes wrong is a line in `warnings`."""

    @property
    def needs_picture(self) -> bool:
        """Whether it sends what is drawn."""
        ...

    @property
    def warnings(self) -> Sequence[str]:
        """What went wrong, each thing once."""
        ...

    @property
    def latency_s(self) -> float | None:
        """From the grab of the frame that was sent last to when the system took it, for a live source; None: nothing
        was sent, as nobody is there to take it."""
        ...

    def describe(self) -> str:
        """What goes where, for the terminal."""
        ...

    def idle(self) -> None:
        """No frame came for a while."""
        ...

    def recentre(self) -> None:
        """The user pressed the key: whoever is followed stands in the middle and looks ahead. From any thread."""
        ...
