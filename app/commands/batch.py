"""`bodycast batch FOLDER|GLOB|LIST.txt --output DIR`: many films with networks that stay open (docs/batch.md)."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from bodycast.app.command_line import LEFT_OUT, parse
from bodycast.app.config import (
    LensConfig,
    MotionConfig,
    NetworkConfig,
    PeopleConfig,
    PresetName,
    ResultsConfig,
    RunConfig,
    require_range,
)
from bodycast.app.errors import UsageError
from bodycast.app.presets import PRESETS, preset_defaults
from bodycast.app.sources.factory import SourceOptions


@dataclass(frozen=True)
class FilmResults:
    """What is written of each film, into a folder of its own."""

    overwrite: tyro.conf.FlagCreatePairsOff[bool] = False
    """Do all films anew and replace the results of an earlier batch."""

    renderer: Literal["auto", "moderngl", "cpu", "pyrender", "none"] = "auto"
    """What draws the meshes; none: only the motion is wanted."""

    draw: Literal["mesh", "skeleton", "both"] = "mesh"
    """What is drawn of people, as in `bodycast run`."""


@dataclass(frozen=True)
class FilmCapture:
    """How the films are read."""

    rotate: Annotated[Literal[0, 90, 180, 270] | None, LEFT_OUT] = None
    """Turn the pictures clockwise by so many degrees, instead of what the files say."""

    flip: tyro.conf.FlagCreatePairsOff[bool] = False
    """Mirror the pictures left-right, for films that are mirrored."""


@dataclass(frozen=True)
class BatchConfig:
    """3D people from many films; each film has a result folder of its own in --output.

    Exit code 1 where a film failed: the others are done, and summary.csv and summary.html list all of them.
    """

    films: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="FOLDER|GLOB|LIST.txt")] = ()
    """A folder (with those below it), a glob in quotes, a .txt file with one film a line, or films."""

    output: Annotated[Path | None, LEFT_OUT] = None
    """Folder for the results; made if it is not there."""

    workers: int = 1
    """Processes that each do one film at a time; they share the CPU's cores."""

    resume: tyro.conf.FlagCreatePairsOff[bool] = False
    """Go on with an earlier batch: films that are done or have failed are left as they are."""

    retry_failed: tyro.conf.FlagCreatePairsOff[bool] = False
    """Go on with an earlier batch, and do those again that have failed."""

    shard: Annotated[str | None, LEFT_OUT] = None
    """i/n: only every n-th film, from the i-th on, as on one of n machines that share --output."""

    preset: PresetName = "fast"
    """Speed against accuracy, as in `bodycast run`; flags go before it."""

    max_frames: Annotated[int | None, LEFT_OUT] = None
    """Stop after so many frames of each film."""

    debug: tyro.conf.FlagCreatePairsOff[bool] = False
    """Show the traceback of an error."""

    network: NetworkConfig = field(default_factory=NetworkConfig)
    people: PeopleConfig = field(default_factory=PeopleConfig)
    motion: MotionConfig = field(default_factory=MotionConfig)
    lens: LensConfig = field(default_factory=LensConfig)
    results: FilmResults = field(default_factory=FilmResults)
    capture: FilmCapture = field(default_factory=FilmCapture)

    def __post_init__(self) -> None:
        require_range("workers", self.workers, 1, 256)
        if self.results.overwrite and (self.resume or self.retry_failed):
            raise UsageError("--overwrite does all films anew, --resume and --retry-failed do not: give one of them")

    @property
    def overwrite(self) -> bool:
        """--overwrite."""
        return self.results.overwrite

    def run_config(self) -> RunConfig:
        """The configuration of every film, without its source and its folder. Raises: UsageError."""
        results = ResultsConfig(renderer=self.results.renderer, draw=self.results.draw, window=False)
        return RunConfig(
            source="",
            preset=self.preset,
            max_frames=self.max_frames,
            debug=self.debug,
            network=self.network,
            people=self.people,
            motion=self.motion,
            lens=self.lens,
            results=results,
            capture=SourceOptions(rotate=self.capture.rotate, flip=self.capture.flip),
        )


def parse_batch(args: Sequence[str], prog: str) -> BatchConfig:
    """The preset's defaults, then the flags. Raises: UsageError."""
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    finder.add_argument("--preset", nargs="?")
    name = finder.parse_known_args(list(args))[0].preset
    start = preset_defaults(name if name in PRESETS else "fast")
    defaults = replace(
        BatchConfig(), preset=start.preset, network=start.network, people=start.people, motion=start.motion
    )
    return parse(BatchConfig, args, prog, default=defaults)


def main(args: Sequence[str], prog: str) -> int:
    """`batch FILMS`; gives the exit code. Raises: BodycastError."""
    config = parse_batch(args, prog)
    from bodycast.app.batch.batch import run_batch
    from bodycast.app.commands.run import signals_stop_opening

    if config.output is None:
        raise UsageError("--output DIR is missing: where are the results to go?")
    with signals_stop_opening():
        return run_batch(config, config.output)
