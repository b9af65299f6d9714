"""What a run tells the terminal: what runs, how far it is, and at the end how fast it was and where the results are."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.table import Table

from bodycast.app.files.output_folder import FILES
from bodycast.app.files.run_report import PartsReport
from bodycast.app.pipeline.pipeline import Progress, RunSummary
from bodycast.app.pipeline.timing import StageSummary

STAGE_NOTES = {
    "wait": "for the source",
    "detect": "in the frame loop",
    "detector": "one detection",
    "frame": "all of the frame loop",
    "delay": "grab to drawn",
}


def announce(parts: PartsReport, warnings: Sequence[str], window: bool) -> None:
    """Say what is about to run and how to end it, on stderr."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
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
        console.print(f"{label:<9} {text}", markup=False)
    for warning in warnings:
        console.print(f"note      {warning}", markup=False)
    if window or parts.source_live:
        console.print(f"{'q in the window' if window else 'Ctrl-C'} ends the run")


@contextmanager
def progress_bar(visible: bool) -> Generator[Callable[[Progress], None] | None]:
    """A bar with frames per second and time left on stderr; without a bar's end where the length is unknown."""
    if not visible:
        yield None
        return
    columns = (
        SpinnerColumn(),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[fps]:.1f} fps"),
        TextColumn("{task.fields[people]} followed"),
        TimeRemainingColumn(),
    )
    with RichProgress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("frames", total=None, fps=0.0, people=0)

        def show(progress: Progress) -> None:
            bar.update(
                task,
                completed=progress.frames_out,
                total=progress.frame_count,
                fps=progress.fps,
                people=progress.people,
            )

        yield show


def print_results(
    summary: RunSummary, stage_ms: dict[str, StageSummary], warnings: Sequence[str], folder: Path | None
) -> None:
    """The table of times, frames in and out, warnings, and where the results are; on stdout."""
    console = Console(highlight=False, soft_wrap=True)
    table = Table(box=None, pad_edge=False)
    for heading in ("stage", "p50 ms", "p95 ms", "p99 ms", "runs", ""):
        table.add_column(heading, justify="left" if heading in ("stage", "") else "right")
    for stage, times in stage_ms.items():
        row = (f"{times.p50_ms:.2f}", f"{times.p95_ms:.2f}", f"{times.p99_ms:.2f}", str(times.count))
        table.add_row(stage, *row, STAGE_NOTES.get(stage, ""))
    console.print(table)
    rate = summary.frames_out / summary.seconds if summary.seconds > 0 else 0.0
    dropped = ", ".join(f"{count} by {place}" for place, count in summary.dropped.items() if count) or "none"
    console.print(
        f"{summary.frames_out} of {summary.frames_in} frames in {summary.seconds:.1f} s ({rate:.1f} fps), "
        f"dropped: {dropped}; {'ended by an error' if summary.failure else summary.exit_reason}",
        markup=False,
    )
    for warning in warnings:
        console.print(f"note: {warning}", markup=False)
    if summary.hanging:
        console.print(f"note: did not end in time: {', '.join(summary.hanging)}", markup=False)
    if folder is not None:
        for name in FILES:
            if (folder / name).exists():
                console.print(str(folder / name), markup=False)
