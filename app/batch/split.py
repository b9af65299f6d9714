"""Long films in fragments: where they are split.

About every `split_s`; at a shot cut, if one is within SEARCH_S after that: there everybody is forgotten anyway, and
nothing has to be joined. Elsewhere neighbours share OVERLAP_S on both sides of the border, in which people are found
again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from bodycast.app.batch.films import FRAGMENTS, Film, Fragment
from bodycast.app.sources import open_source
from bodycast.app.sources.base import Segment
from bodycast.app.sources.factory import SourceOptions
from bodycast.app.sources.video_file import picture_times
from bodycast.app.tracking.scene_cut import SceneCutDetector

OVERLAP_S = 2.5
"""On each side: longer than frames wait for people who become known late (backfill)."""
SEARCH_S = 30.0
LONGER = 1.5
"""A film is split if it is longer than so many fragments."""


def fragments_of(film: Film, capture: SourceOptions, max_frames: int | None) -> tuple[Film, ...]:
    """The fragments of a film, each a film of its own in a folder of its own; none where it stays whole.

    Raises: UsageError where the film cannot be read.
    """
    if film.split_s is None or film.fragment is not None or not film.path.is_file():
        return ()
    source = open_source(str(film.path), capture)
    source.close()
    times = picture_times(film.path)
    fps = source.info.fps
    if not times or not fps or source.info.stills or source.info.live:
        return ()
    count = min(len(times), max_frames or len(times))
    borders = _borders(film.path, capture, times, count, round(film.split_s * fps), fps)
    shared = round(OVERLAP_S * fps)
    ends = [0, *(frame for frame, _ in borders), count]
    cuts = [True, *(is_cut for _, is_cut in borders), True]
    fragments: list[Film] = []
    for number, (begin, end) in enumerate(pairwise(ends)):
        first = begin if cuts[number] else max(0, begin - shared)
        last = end if cuts[number + 1] else min(count, end + shared)
        fragment = Fragment(number, first, begin, end, last, times[first])
        fragments.append(replace(film, folder=fragment_folder(film, number), fragment=fragment))
    return tuple(fragments) if len(fragments) > 1 else ()


def fragment_folder(film: Film, number: int) -> str:
    """Below the film's own."""
    return f"{film.folder}/{FRAGMENTS}/{number:04d}"


def _borders(
    path: Path, capture: SourceOptions, times: Sequence[int], count: int, step: int, fps: float
) -> list[tuple[int, bool]]:
    """Frames at which fragments begin, and whether a shot begins there."""
    found: list[tuple[int, bool]] = []
    last = 0
    while step > 0 and count - last > LONGER * step:
        planned = last + step
        window = min(round(SEARCH_S * fps), step // 2, count - planned - 1)
        cut = _first_cut(path, capture, times, planned, window)
        found.append((planned, False) if cut is None else (cut, True))
        last = found[-1][0]
    return found


def _first_cut(path: Path, capture: SourceOptions, times: Sequence[int], first: int, count: int) -> int | None:
    """The first frame of a shot among `count` frames after frame `first`."""
    cuts = SceneCutDetector()
    source = open_source(str(path), capture, Segment(first, count + 1, times[first]))
    try:
        return next((frame.index for frame in source if cuts.is_cut(frame.image)), None)
    finally:
        source.close()
