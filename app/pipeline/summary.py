"""How far a run is, and what it has to tell when it has ended."""

from __future__ import annotations

from dataclasses import dataclass

from bodycast.app.pipeline.workers import Failure


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the run is, for a progress bar. `frame_count` None: unknown."""

    frames_out: int
    frame_count: int | None
    fps: float
    people: int


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What a finished run has to tell. `frames_in` came from the source, `frames_out` were drawn and handed to the
    sinks. `dropped` counts by place: source, drawing, each sink. `hanging`: threads that did not end in time.
    `people`: ids that were given. `first_frame_wall_s`: when a live source gave its first frame, seconds since 1970."""

    exit_reason: str
    failure: Failure | None
    frames_in: int
    frames_out: int
    dropped: dict[str, int]
    seconds: float
    renderer: str
    hanging: tuple[str, ...]
    people: int = 0
    first_frame_wall_s: float | None = None
