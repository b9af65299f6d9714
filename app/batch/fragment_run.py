"""One fragment of a film: as a film of its own, but what is known of it stays in parts, to be joined (join.py)."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from bodycast.app.batch.film_run import run_built
from bodycast.app.batch.films import Film, Fragment
from bodycast.app.batch.kept_stages import KeptStages
from bodycast.app.batch.marks import Done, write_done
from bodycast.app.config import RunConfig
from bodycast.app.errors import UsageError
from bodycast.app.files.motion_file import MotionMeta
from bodycast.app.files.motion_parts import FRAMES, HEAD, PARTS_FOLDER, ROWS, SMOOTHED_ROWS, PartsHead, PartsWriter
from bodycast.app.files.output_folder import OVERLAY_FILE
from bodycast.app.pipeline.build import BuiltRun, build_run
from bodycast.app.pipeline.summary import Progress
from bodycast.app.records import FrameResult
from bodycast.app.sinks.base import Sink
from bodycast.app.sinks.motion_rows import frame_record, motion_rows, smoothed_rows
from bodycast.app.sinks.video import VideoSink
from bodycast.app.sources import open_source
from bodycast.app.sources.base import Segment


def recover_fragment(
    config: RunConfig,
    film: Film,
    settings: str,
    kept: KeptStages,
    on_progress: Callable[[Progress], None] | None = None,
) -> Done:
    """Do it; `config` names film and output folder. settings: for the mark. Raises: as `recover_film`."""
    folder, fragment = config.results.output, film.fragment
    if folder is None or fragment is None:
        raise UsageError("a fragment of a batch needs an output folder and its frames")
    began_s = time.perf_counter()
    source = open_source(
        config.source, config.capture, Segment(fragment.first, fragment.last - fragment.first, fragment.first_pts)
    )
    whole = replace(config, max_frames=None)
    built = build_run(whole, opens=kept.open, source=source)
    sinks = [_PartsSink(folder, _head(built)), *_overlay(config, built, folder, fragment)]
    built = replace(built, stages=replace(built.stages, make_sinks=lambda: _made(folder, sinks)))
    summary, warnings = run_built(built, on_progress)
    done = Done(
        film=config.source,
        settings=settings,
        film_bytes=film.size_bytes,
        frames=fragment.end - fragment.begin,
        people=summary.people,
        seconds=round(time.perf_counter() - began_s, 3),
        packages=kept.packages,
        warnings=warnings,
    )
    parts = tuple(f"{PARTS_FOLDER}/{name}" for name in (HEAD, FRAMES, ROWS, SMOOTHED_ROWS))
    write_done(folder, done, (*parts, OVERLAY_FILE))
    return done


def _made(folder: Path, sinks: list[Sink]) -> list[Sink]:
    folder.mkdir(parents=True, exist_ok=True)
    return sinks


def _head(built: BuiltRun) -> PartsHead:
    parts = built.parts
    meta = MotionMeta(parts.package, parts.body, parts.smoother, parts.lag_s, parts.source)
    return PartsHead(meta, parts.source_fps, finish={})


def _overlay(config: RunConfig, built: BuiltRun, folder: Path, fragment: Fragment) -> list[Sink]:
    if config.results.renderer == "none":
        return []
    folder.mkdir(parents=True, exist_ok=True)
    video = VideoSink(folder / OVERLAY_FILE, built.parts.source_fps, built.parts.image_wh, overwrite=True)
    return [_OwnFrames(video, fragment)]


class _PartsSink:
    """All frames, those shared with the neighbours too."""

    name = "motion"

    def __init__(self, folder: Path, head: PartsHead) -> None:
        self._folder, self._head = folder, head
        self._parts: PartsWriter | None = None

    def write(self, result: FrameResult) -> None:
        """See `Sink`."""
        if self._parts is None:
            self._parts = PartsWriter(self._folder / PARTS_FOLDER, self._head)
        self._parts.append(frame_record(result), motion_rows(result), smoothed_rows(result))

    def close(self) -> None:
        """See `Sink`."""
        if self._parts is not None:
            self._parts.flush(sync=True)
            self._parts.close()


class _OwnFrames:
    """A sink that gets the fragment's own frames alone."""

    def __init__(self, sink: VideoSink, fragment: Fragment) -> None:
        self._sink, self._fragment = sink, fragment
        self.name = sink.name

    def write(self, result: FrameResult) -> None:
        """See `Sink`."""
        if self._fragment.begin <= result.frame.index < self._fragment.end:
            self._sink.write(result)

    def close(self) -> None:
        """See `Sink`."""
        self._sink.close()
