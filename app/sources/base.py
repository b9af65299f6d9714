"""What a source of frames promises."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from bodycast.app.records import Frame
from bodycast.plain_text import shown_name


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of a film: `count` frames from frame `first` on, whose time stamp is `pts` in the track's ticks."""

    first: int
    count: int
    pts: int


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """`name` for people; `live`: newest frame wins, else every frame counts; `fps` nominal, None if unknown;
    `frame_count` None if unknown; `image_wh` of the first frame;
    `stills`: each picture is a scene of its own; `lens_from`: where its frames' intrinsics are from, empty: they have
    none; `recorded_utc`: when the film says that its first frame was recorded, empty: it does not."""

    name: str
    live: bool
    fps: float | None
    frame_count: int | None
    image_wh: tuple[int, int]
    stills: bool = False
    lens_from: str = ""
    recorded_utc: str = ""

    def __post_init__(self) -> None:
        # Names of files and of streams go into every result.
        object.__setattr__(self, "name", shown_name(self.name))


class Source(Protocol):
    """Frames in order. A live source keeps only the newest frame and counts what it drops; any other source
    never drops, it waits for its reader. Errors of the grab thread are raised by the iterator."""

    @property
    def info(self) -> SourceInfo:
        """Known once the source is open."""
        ...

    @property
    def dropped(self) -> int:
        """Frames grabbed and never delivered."""
        ...

    def __iter__(self) -> Iterator[Frame]:
        """Frames until the end, or until `close`."""
        ...

    def close(self) -> None:
        """Stop the grab thread (bounded) and release the device. May be called twice and from any thread."""
        ...
