"""What a run tells the terminal: what runs, how far it is, and at the end how fast it was and where the results are."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from bodycast.app.files.output_folder import FILES
from bodycast.app.governor.report import GovernorReport
from bodycast.app.pipeline.pipeline import SENT, Progress, RunSummary
from bodycast.app.pipeline.run_report import PartsReport
from bodycast.app.pipeline.timing import StageSummary
from bodycast.app.world.report import WorldReport
from bodycast.plain_text import message_line, plain

STAGE_NOTES = {
    "wait": "for the source",
    "detect": "in the frame loop",
    "detector": "one detection",
    "frame": "all of the frame loop",
    "latency": "grab to drawn",
}
SENT_NOTE = "grab to sent"


LINE_S = 10.0

NOBODY = (
    "nobody was found: people smaller than a tenth of the picture, upside down, or seen for less than two looks of the "
    "detector are missed; networks with untrained weights show nobody (docs/troubleshooting.md)"
)


def announce(parts: PartsReport, warnings: Sequence[str], window: bool, sends: Sequence[str] = ()) -> None:
    """Say what is about to run and how to end it, on stderr."""
    width, height = parts.image_wh
    rate = "" if parts.source_fps is None else f", {parts.source_fps:g} fps"
    frames = "" if parts.source_frame_count is None else f", {parts.source_frame_count} frames"
    lines = {
        "source": f"{parts.source}, {width}x{height}{rate}{frames}",
        "model": parts.engine,
        "body": parts.body,
        "detector": parts.detector,
        "smoother": parts.smoother if not parts.lag_s else f"{parts.smoother}, {parts.lag_s:g} s behind",
    }
    for label, text in lines.items():
        print(f"{label:<9} {message_line(text)}", file=sys.stderr)
    for line in sends:
        print(f"sends     {line}", file=sys.stderr)
    for warning in warnings:
        print(f"note      {plain(warning)}", file=sys.stderr)
    if window or parts.source_live:
        print(f"{'q in the window' if window else 'Ctrl-C'} ends the run", file=sys.stderr)


class ProgressLines:
    """Says on stderr how far the run is, every `LINE_S` seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._next_s = clock() + LINE_S

    def __call__(self, progress: Progress) -> None:
        """Called far more often than it speaks."""
        if self._clock() < self._next_s:
            return
        self._next_s = self._clock() + LINE_S
        of = "" if progress.frame_count is None else f" of {progress.frame_count}"
        left = ""
        if progress.frame_count is not None and progress.fps > 0:
            left = f", {max(0, progress.frame_count - progress.frames_out) / progress.fps:.0f} s left"
        counted = f"{progress.frames_out}{of} frames, {progress.fps:.1f} fps, {progress.people} followed{left}"
        print(f"progress  {counted}", file=sys.stderr, flush=True)


@contextmanager
def progress_bar(visible: bool) -> Generator[Callable[[Progress], None] | None]:
    """A bar with frames per second and time left on stderr, frames alone where their number is unknown; where stderr is
    no terminal, a line every LINE_S."""
    if not visible:
        yield None
        return
    if not sys.stderr.isatty():
        yield ProgressLines()
        return
    with tqdm(unit=" frames", leave=False, disable=None, dynamic_ncols=True) as bar:

        def show(progress: Progress) -> None:
            bar.total = progress.frame_count
            bar.set_postfix_str(f"{progress.fps:.1f} fps, {progress.people} followed", refresh=False)
            bar.update(progress.frames_out - bar.n)

        yield show


def print_results(
    summary: RunSummary,
    stage_ms: dict[str, StageSummary],
    warnings: Sequence[str],
    folder: Path | None,
    world: WorldReport | None = None,
    governor: GovernorReport | None = None,
) -> None:
    """The table of times, frames in and out, what was traded, lens, floor and heights, warnings, and where the results
    are; on stdout."""
    notes = [STAGE_NOTES.get(stage, SENT_NOTE if stage.endswith(SENT) else "") for stage in stage_ms]
    width = max([9, *map(len, stage_ms)])
    print(f"{'stage':<{width}} {'p50 ms':>8} {'p95 ms':>8} {'p99 ms':>8} {'runs':>7}")
    for (stage, times), note in zip(stage_ms.items(), notes, strict=True):
        row = f"{stage:<{width}} {times.p50_ms:8.2f} {times.p95_ms:8.2f} {times.p99_ms:8.2f} {times.count:7}"
        print(f"{row}  {note}".rstrip())
    rate = summary.frames_out / summary.seconds if summary.seconds > 0 else 0.0
    dropped = ", ".join(f"{count} by {place}" for place, count in summary.dropped.items() if count) or "none"
    print(
        f"{summary.frames_out} of {summary.frames_in} frames in {summary.seconds:.1f} s ({rate:.1f} fps), "
        f"dropped: {dropped}; {'ended by an error' if summary.failure else summary.exit_reason}"
    )
    for line in () if governor is None else governor.lines():
        print(plain(line))
    for line in () if world is None else world.lines():
        print(line)
    if not summary.people and summary.frames_out and not summary.failure:
        print(f"note: {NOBODY}")
    for warning in warnings:
        print(f"note: {plain(warning)}")
    if summary.hanging:
        print(f"note: did not end in time: {', '.join(summary.hanging)}")
    if folder is not None:
        for name in FILES:
            if (folder / name).exists():
                print(folder / name)
