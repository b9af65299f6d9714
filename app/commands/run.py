"""The command line of a run: parse, build, run, report. `bodycast` adds the tools (app/commands/main.py).

Exit codes: 0 done (also when the user closes the window), 1 the run failed, 2 the command line is at fault,
130, 143 and 129 stopped by Ctrl-C, by SIGTERM and by a closed terminal; results are finished files in all cases.
"""

from __future__ import annotations

import argparse
import errno
import io
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from types import FrameType
from typing import TYPE_CHECKING

from bodycast.app.command_line import parse
from bodycast.app.config import RunConfig
from bodycast.app.errors import BodycastError, RunError, UsageError
from bodycast.app.memory import Trims, share_heaps
from bodycast.app.presets import PRESETS, preset_defaults
from bodycast.app.start import is_out_of_memory, memory_hint, memory_limit, too_little_memory, why_not_there
from bodycast.plain_text import message_line, shown_name

if TYPE_CHECKING:
    from bodycast.app.pipeline.pipeline import Pipeline, Progress, RunSummary
    from bodycast.app.pipeline.run_report import ReportFile

UNUSABLE_NAMES = (errno.ENAMETOOLONG, errno.ELOOP)
"""What the system says of a name that no file can have, wherever it is first looked at."""

STOP_SIGNALS = {signal.SIGINT: "stopped by Ctrl-C", signal.SIGTERM: "stopped by SIGTERM"}
if sys.platform == "win32":
    STOP_SIGNALS[signal.SIGBREAK] = "stopped by Ctrl-Break"
else:
    STOP_SIGNALS[signal.SIGHUP] = "the terminal was closed (SIGHUP)"


def main(args: Sequence[str] | None = None, prog: str = "run_webcam.py") -> int:
    """Run with these arguments (default: the program's); gives the exit code."""
    arguments = list(sys.argv[1:] if args is None else args)
    asked = any(word.startswith("--window") for word in arguments)
    return guarded(lambda: run(parse_run(arguments, prog), window_asked=asked), prog, debug="--debug" in arguments)


def guarded(command: Callable[[], int], prog: str, debug: bool) -> int:
    """Run a command; every error becomes one line and an exit code, with the traceback where `debug` asks for it."""
    _take_any_text()
    try:
        return command()
    except BodycastError as error:
        if debug:
            traceback.print_exc()
        if any(is_out_of_memory(cause) for cause in _causes(error)):
            # Whatever a file was blamed for.
            print(f"{prog}: {too_little_memory(memory_limit())} ({error})", file=sys.stderr)
            return 1
        print(f"{prog}: {error}{memory_hint()}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"{prog}: {STOP_SIGNALS[signal.SIGINT]}", file=sys.stderr)
        return 128 + signal.SIGINT
    except StopOpeningError as stop:
        print(f"{prog}: {STOP_SIGNALS[stop.signal]}", file=sys.stderr)
        return 128 + stop.signal
    except BrokenPipeError:  # the reader of our output went away, as `| head` does
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  (the interpreter flushes stdout once more at its end)
        return 128 + 13
    except Exception as error:
        if debug:
            traceback.print_exc()
        if isinstance(error, OSError) and error.errno in UNUSABLE_NAMES:
            print(
                f"{prog}: {shown_name(error.filename)}: {(error.strerror or 'cannot be').lower()}; give another",
                file=sys.stderr,
            )
            return UsageError.exit_code
        print(f"{prog}: {_defect(error)}", file=sys.stderr)
        return 1


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error, and what it came from."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__


def _take_any_text() -> None:
    """A terminal in cp1252 or ASCII shows what it lacks as escapes; a name in another script ends no run."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def parse_run(arguments: Sequence[str], prog: str) -> RunConfig:
    """The configuration: the preset's defaults, then the flags. Raises: UsageError."""
    # The preset alone, first: other flags may only make sense together with what it sets.
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    finder.add_argument("--preset", nargs="?")
    name = finder.parse_known_args(list(arguments))[0].preset
    preset = name if name in PRESETS else RunConfig().preset
    return parse(RunConfig, arguments, prog, default=preset_defaults(preset))


def run(config: RunConfig, window_asked: bool = True) -> int:
    """One whole run; gives the exit code. window_asked: the user wants a window, there is one or not.

    Raises: BodycastError, UsageError before anything was written.
    """
    from bodycast.app.pipeline.run_report import jsonable

    if config.print_config:
        print(json.dumps(jsonable(config), indent=2))
        return 0
    from bodycast.app.commands.progress import announce, print_results, progress_bar
    from bodycast.app.pipeline.build import build_run
    from bodycast.app.pipeline.library_exit import before_a_library_exits
    from bodycast.app.pipeline.pipeline import Pipeline
    from bodycast.app.pipeline.take_results import finish_takes
    from bodycast.app.viewer.pages import write_pages

    share_heaps()
    with signals_stop_opening():
        if not window_asked:
            config = _without_dead_window(config)
        built = build_run(config, check_display=window_asked)
    announce(built.parts, built.stages.warnings(), config.results.window, built.sends)
    pipeline = Pipeline(built.stages, built.options)
    try:
        with (
            stop_signals(pipeline) as caught,
            progress_bar(visible=not config.results.window) as on_progress,
            before_a_library_exits(lambda: _without_display(pipeline, built.report)),
        ):
            summary = pipeline.run(_and(on_progress, Trims()))
    except KeyboardInterrupt:
        built.report.abort("stopped by a second signal", 128 + signal.SIGINT)
        raise
    except Exception as error:
        with suppress(RunError):  # the first error is the one that says why
            built.report.abort(str(error), getattr(error, "exit_code", 1))
        raise
    exit_code = 1 if summary.failure else 128 + caught[0] if caught else 0
    stage_ms, warnings, world = pipeline.times.summary(), built.stages.warnings(), built.world()
    try:
        governor = None if built.governor is None else built.governor()
        built.report.finish(summary, stage_ms, tuple(warnings), exit_code, world, governor)
    except RunError as error:
        elsewhere = built.report.write_elsewhere()
        _raise_failure(summary, elsewhere)
        raise RunError(f"{error}{elsewhere}") from error
    if built.report.folder is not None:
        warnings = (*warnings, *write_pages(built.report.folder, built.body))
    warnings = (*warnings, *finish_takes(built.takes(), built.report, built.body))
    known = world if summary.people else None
    print_results(summary, stage_ms, warnings, built.report.folder, known, governor)
    _raise_failure(summary)
    return exit_code


def _and(on_progress: Callable[[Progress], None] | None, also: Callable[[], None]) -> Callable[[Progress], None]:
    """Both, each time."""

    def both(progress: Progress) -> None:
        also()
        if on_progress is not None:
            on_progress(progress)

    return both


def _without_display(pipeline: Pipeline, report: ReportFile) -> None:
    """The window's library ends the process: finish the files, and say why."""
    error = RunError("the display went away, or another library ended the program; what came before is kept")
    pipeline.lose_window(error, limit_s=10.0)
    with suppress(RunError):
        report.abort(f"error in window: {error}", 1)
    print(f"bodycast run: {error}", file=sys.stderr)


def _without_dead_window(config: RunConfig) -> RunConfig:
    """Where nobody asked for a window and none can be opened (an old DISPLAY in a screen session), none is shown."""
    from bodycast.app.sinks.window import display_problem

    problem = display_problem() if config.results.window else None
    if problem is None:
        return config
    print(f"note      no window: {problem.what}", file=sys.stderr)
    return replace(config, results=replace(config.results, window=False))


def _raise_failure(summary: RunSummary, more: str = "") -> None:
    """Raise the run's first error, if there was one, with `more` to say; whatever it was, it is the run's fault and
    exits with 1."""
    if summary.failure is None:
        return
    error = summary.failure.error
    if isinstance(error, BodycastError):
        raise RunError(f"{error}{more}") from error
    raise error


class StopOpeningError(BaseException):
    """A signal came before there was anything to finish. Nothing may take it for an error of its own."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(STOP_SIGNALS[number])
        self.signal = number


@contextmanager
def signals_stop_opening() -> Generator[None]:
    """While source and networks open, a signal ends the program at once."""

    def on_signal(number: int, frame: FrameType | None) -> None:
        del frame
        raise StopOpeningError(signal.Signals(number))

    before = {number: signal.signal(number, on_signal) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def stop_signals(pipeline: Pipeline) -> Generator[list[int]]:
    """Ctrl-C, SIGTERM and a closed terminal end the run in good order; the second one at once. Gives the signals that
    came."""
    caught: list[int] = []

    def on_signal(number: int, frame: FrameType | None) -> None:
        del frame
        if caught:
            raise KeyboardInterrupt
        caught.append(number)
        pipeline.request_stop(STOP_SIGNALS[signal.Signals(number)])

    before = {number: signal.signal(number, on_signal) for number in STOP_SIGNALS}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _defect(error: Exception) -> str:
    """What to say of an error that nobody foresaw."""
    if is_out_of_memory(error) or isinstance(error, ImportError):
        return why_not_there(error)
    # Only streams that the shell has opened have no name.
    if isinstance(error, OSError) and error.filename is None and error.errno in (errno.ENOSPC, errno.EIO):
        return f"what it prints cannot be written ({error.strerror})"
    return f"{type(error).__name__}: {message_line(error)} (a defect of this program; --debug shows where)"
