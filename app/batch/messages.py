"""What a worker of a batch says to its supervisor."""

from __future__ import annotations

from dataclasses import dataclass, field

from bodycast.app.batch.films import Film


@dataclass(frozen=True, slots=True)
class Opened:
    """The networks are open. engines: which ones `--engine auto` has chosen (bodycast.engines.choices), for the other
    workers and for `--resume`."""

    engines: dict[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Advanced:
    """Frames of the film in flight that are done, of how many (None: unknown)."""

    frames: int
    of: int | None


@dataclass(frozen=True, slots=True)
class Finished:
    """The film in flight has ended. error: why it failed, one line; "" where it is done, and its mark is there.
    retires: the worker ends now, and another one goes on. then: nothing is done yet but these, its fragments, are
    to be."""

    error: str = ""
    retires: bool = False
    then: tuple[Film, ...] = ()


@dataclass(frozen=True, slots=True)
class Fatal:
    """No film can be done, for this reason."""

    error: str


Message = Opened | Advanced | Finished | Fatal
