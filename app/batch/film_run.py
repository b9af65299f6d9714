"""One film of a batch: a run without a window, whose stages are given, and its completion mark."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

from bodycast.app.batch.kept_stages import KeptStages
from bodycast.app.batch.marks import Done, remove_marks, settings_hash, write_done
from bodycast.app.config import RunConfig
from bodycast.app.errors import RunError, UsageError
from bodycast.app.pipeline.build import BuiltRun, build_run
from bodycast.app.pipeline.pipeline import Pipeline, RunSummary
from bodycast.app.pipeline.summary import Progress
from bodycast.app.viewer.pages import write_pages


def recover_film(
    config: RunConfig,
    film_bytes: int,
    kept: KeptStages,
    on_progress: Callable[[Progress], None] | None = None,
    settings: str | None = None,
) -> Done:
    """Do one film; `config` names it and its output folder, whose earlier results are replaced. film_bytes: its size.
    settings: for the mark; None: those of `config`.

    Raises: BodycastError, what the run raises; then no completion mark is there.
    """
    folder = config.results.output
    if folder is None:
        raise UsageError("a film of a batch needs an output folder")
    began_s = time.perf_counter()
    remove_marks(folder)
    built = build_run(config, opens=kept.open)
    summary, warnings = run_built(built, on_progress)
    warnings = (*warnings, *write_pages(folder, built.body))
    seconds = round(time.perf_counter() - began_s, 3)
    done = Done(
        film=config.source,
        settings=settings or settings_hash(config),
        film_bytes=film_bytes,
        frames=summary.frames_out,
        people=summary.people,
        seconds=seconds,
        packages=kept.packages,
        warnings=warnings,
    )
    write_done(folder, done)
    return done


def run_built(built: BuiltRun, on_progress: Callable[[Progress], None] | None) -> tuple[RunSummary, tuple[str, ...]]:
    """Run it and finish run.json; gives the summary and the warnings."""
    pipeline = Pipeline(built.stages, built.options)
    try:
        summary = pipeline.run(on_progress)
    except Exception as error:
        with suppress(RunError):  # the first error is the one that says why
            built.report.abort(str(error), getattr(error, "exit_code", 1))
        raise
    failure = summary.failure
    warnings = tuple(built.stages.warnings())
    try:
        built.report.finish(summary, pipeline.times.summary(), warnings, 1 if failure else 0, built.world())
    except RunError:
        if failure is None:
            raise
    if failure is not None:
        raise failure.error
    if summary.hanging:
        raise RunError(f"did not end in time: {', '.join(summary.hanging)}")
    if not summary.frames_out:
        raise RunError("no picture could be read")
    return summary, warnings
