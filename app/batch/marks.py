"""Completion marks: done.json, written last, says that a film's results are whole; failed.json says why there are none.

Both are put there in one step. A folder without a mark is half-finished and is done again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar, cast

from bodycast.app.batch.films import Film
from bodycast.app.batch.remote import DONE_FILE as DONE_FILE
from bodycast.app.batch.remote import FAILED_FILE as FAILED_FILE
from bodycast.app.batch.remote import ResultPath, put, remove, size_of
from bodycast.app.config import RunConfig
from bodycast.app.errors import UsageError, cannot_write
from bodycast.app.files.output_folder import FILES, MOTION_FILE, OVERLAY_FILE
from bodycast.app.pipeline.run_report import jsonable

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class ResultFile:
    """What a result was when it was finished."""

    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Done:
    """The content of done.json. settings: `settings_hash`. film_bytes: size of the film. people: how many ids were
    given. seconds: wall time from opening the film to its last result. packages: name -> SHA-256. files: the results
    that depend on film, settings and packages alone."""

    film: str
    settings: str
    film_bytes: int
    frames: int
    people: int
    seconds: float
    packages: dict[str, str]
    files: dict[str, ResultFile] = field(default_factory=dict[str, ResultFile])
    warnings: tuple[str, ...] = ()
    schema_version: int = SCHEMA_VERSION

    @property
    def frames_per_second(self) -> float:
        """Frames by seconds."""
        return self.frames / self.seconds if self.seconds > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Failed:
    """The content of failed.json: one line that says why."""

    film: str
    settings: str
    error: str
    schema_version: int = SCHEMA_VERSION


def settings_hash(config: RunConfig, split_s: float | None = None) -> str:
    """What decides the results apart from the film: 16 hex digits of the configuration without source and output, and
    of where films are split."""
    results = replace(config.results, output=None, overwrite=False, window=False)
    plain = jsonable(replace(config, source="", results=results, debug=False))
    plain = plain if split_s is None else {**plain, "split_s": split_s}
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]


def write_done(folder: Path, done: Done, names: Sequence[str] = (MOTION_FILE, OVERLAY_FILE)) -> None:
    """Note the results' hashes, then put the mark there. names: of the results, where they are there.

    Raises: RunError where the disk does not take it.
    """
    try:
        files = {name: _result_file(folder / name) for name in names if (folder / name).is_file()}
    except OSError as error:
        raise cannot_write(folder / DONE_FILE, error) from error
    _write(folder / DONE_FILE, replace(done, files=files))


def write_failed(folder: ResultPath, failed: Failed) -> None:
    """Put the mark there. Raises: RunError where the disk does not take it."""
    _write(folder / FAILED_FILE, failed)


def read_done(folder: ResultPath) -> Done | None:
    """The mark, if there is one and the results that it names have their sizes."""

    def made(content: dict[str, Any]) -> Done:
        done = Done(**content)
        files = {name: ResultFile(**entry) for name, entry in content["files"].items()}
        return replace(done, files=files, warnings=tuple(done.warnings))

    done = _read(folder / DONE_FILE, made)
    if done is None:
        return None
    whole = all(size_of(folder / name) == entry.size_bytes for name, entry in done.files.items())
    return done if whole else None


def read_failed(folder: ResultPath) -> Failed | None:
    """The mark, if there is one."""
    return _read(folder / FAILED_FILE, lambda content: Failed(**content))


def remove_marks(folder: ResultPath) -> None:
    """Before a film is begun: what is there from now on is half-finished."""
    for name in (DONE_FILE, FAILED_FILE):
        remove(folder / name)


def films_to_do(
    films: Sequence[Film], output: ResultPath, settings: str, *, resume: bool, retry_failed: bool, overwrite: bool
) -> list[Film]:
    """Those without a mark, with `retry_failed` those that failed too, with `overwrite` all; touches nothing.

    A film that has another size than its mark says is done again. Raises: UsageError where results are there and none
    of the three is asked for, or where they were made with other settings.
    """
    if overwrite:
        return list(films)
    if not (resume or retry_failed):
        for film in films:
            if any((output / film.folder / name).exists() for name in (*FILES, DONE_FILE, FAILED_FILE)):
                raise UsageError(
                    f"--output {output}: holds results of an earlier batch ({film.folder}); "
                    "--resume goes on with it, --overwrite replaces them"
                )
        return list(films)
    return [film for film in films if not _is_settled(film, output, settings, retry_failed)]


def _is_settled(film: Film, output: ResultPath, settings: str, retry_failed: bool) -> bool:
    done = read_done(output / film.folder)
    if done is None:
        failed = read_failed(output / film.folder)
        return failed is not None and failed.settings == settings and not retry_failed
    if done.settings != settings:
        raise UsageError(
            f"--output {output}: {film.folder} was made with other settings; give the same ones, another folder, or "
            "--overwrite"
        )
    return done.film_bytes == film.size_bytes


Mark = TypeVar("Mark", Done, Failed)


def _read(path: ResultPath, made: Callable[[dict[str, Any]], Mark]) -> Mark | None:
    """A file that is no mark (of a later version, or edited) counts as none: the film is done again."""
    try:
        content = json.loads(path.read_bytes())
        return made(cast("dict[str, Any]", content)) if content["schema_version"] == SCHEMA_VERSION else None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _write(path: ResultPath, mark: Done | Failed) -> None:
    # Names that are no text (surrogates) are escaped by JSON.
    document = json.dumps(asdict(mark), indent=2) + "\n"
    try:
        put(path, document.encode())
    except OSError as error:
        raise cannot_write(path, error) from error


def _result_file(path: Path) -> ResultFile:
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return ResultFile(path.stat().st_size, digest)
