"""`bodycast batch FOLDER|GLOB|LIST.txt --output DIR`: many films with networks that stay open (docs/batch.md)."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
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

TOGETHER_ON_GPU = 4
"""A call of four crops takes a GPU little longer than one of one crop. Not measured on a GPU."""


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

    output: Annotated[str | None, LEFT_OUT] = None
    """Folder for the results, made if it is not there; or a place in a store that fsspec reaches, as s3://bucket/films."""

    workers: int = 1
    """Processes that each do one film at a time; they share the CPU's cores."""

    films_together: Annotated[int | None, LEFT_OUT] = None
    """Films that each worker does side by side: their crops go through the networks together. 4 on a GPU, else 1."""

    gpus: Annotated[str | None, LEFT_OUT] = None
    """Numbers of the GPUs, as 0,1: each worker has one of them. With --ray: films are given one each by Ray."""

    ray: Annotated[str | None, LEFT_OUT] = None
    """Do the films as tasks of Ray: its address, or auto: the cluster of this machine, else a Ray of its own."""

    split_minutes: Annotated[float | None, LEFT_OUT] = None
    """Split longer films into fragments of about so many minutes, at a shot cut where one is near, and join results."""

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
        if self.films_together is not None:
            require_range("films-together", self.films_together, 1, 16)
            if self.ray is not None and self.films_together > 1:
                raise UsageError("--films-together is for workers of this machine, --ray gives films one by one")
        if self.split_minutes is not None:
            require_range("split-minutes", self.split_minutes, 0.1, 1e4)
        if any(not (number.isascii() and number.isdigit()) for number in self.gpu_numbers):
            raise UsageError(f"--gpus {self.gpus}: expected numbers of GPUs, as 0,1")
        if self.gpu_numbers and self.network.device == "cpu":
            raise UsageError("--gpus and --device cpu contradict each other: give one of them")
        if self.results.overwrite and (self.resume or self.retry_failed):
            raise UsageError("--overwrite does all films anew, --resume and --retry-failed do not: give one of them")

    @property
    def overwrite(self) -> bool:
        """--overwrite."""
        return self.results.overwrite

    @property
    def gpu_numbers(self) -> tuple[str, ...]:
        """--gpus, one by one."""
        return () if self.gpus is None else tuple(part.strip() for part in self.gpus.split(","))

    @property
    def together(self) -> int:
        """--films-together, or what it is where it is left out."""
        if self.films_together is not None:
            return self.films_together
        return TOGETHER_ON_GPU if self.ray is None and self._on_gpu() else 1

    def _on_gpu(self) -> bool:
        from bodycast.engines.devices import cuda_devices

        device = self.network.device
        return bool(self.gpu_numbers) or device.startswith("cuda") or (device == "auto" and cuda_devices()[0] > 0)

    def run_config(self) -> RunConfig:
        """The configuration of every film, without its source and its folder. Raises: UsageError."""
        results = ResultsConfig(renderer=self.results.renderer, draw=self.results.draw, window=False)
        return RunConfig(
            source="",
            preset=self.preset,
            max_frames=self.max_frames,
            debug=self.debug,
            # What was asked for is not replaced by the CPU in silence.
            network=replace(self.network, device="cuda") if self.gpu_numbers else self.network,
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
    from bodycast.app.batch.remote import result_path
    from bodycast.app.commands.run import signals_stop_opening

    if config.output is None:
        raise UsageError("--output DIR is missing: where are the results to go?")
    with signals_stop_opening():
        return run_batch(config, result_path(config.output))
