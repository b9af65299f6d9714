"""Which films a batch is made of, what their result folders are called, and which of them a shard does."""

from __future__ import annotations

import glob
import hashlib
import os
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bodycast.app.errors import UsageError
from bodycast.app.sources.image_folder import VIDEO_SUFFIXES
from bodycast.plain_text import shown_name

NAME_BYTES = 80
"""Of a film's own name at most so much goes into the name of its folder: file systems take 255 bytes."""


FRAGMENTS = "fragments"
"""Folder below a film's own, while it is not joined."""


@dataclass(frozen=True, slots=True)
class Fragment:
    """A stretch of a film: frames [`first`, `last`) are read, of which [`begin`, `end`) are its own; the others are its
    neighbours' too. Frames count from 0. first_pts: time stamp of frame `first`, in the film's own ticks."""

    number: int
    first: int
    begin: int
    end: int
    last: int
    first_pts: int


@dataclass(frozen=True, slots=True)
class Film:
    """A film, and the name of its folder in `--output`. split_s: it is split where it is longer, None: it is not.
    fragment: only this stretch is to be done. joins: its fragments are done, and are to be joined."""

    path: Path
    folder: str
    split_s: float | None = None
    fragment: Fragment | None = None
    joins: tuple[Fragment, ...] = ()

    @property
    def size_bytes(self) -> int:
        """Size of the file; 0 where there is none."""
        try:
            return self.path.stat().st_size
        except (OSError, ValueError):
            return 0


def find_films(given: Sequence[str], output: Path | None) -> list[Film]:
    """The films that folders, globs, lists (.txt) and files name, each once, in the order of their paths.

    Films in `output` are left out: they are results; None: those are on no disk of this machine. What a list or the
    command line names one by one need not be there: it becomes a film that fails. Raises: UsageError where nothing is
    named or found.
    """
    if not given:
        raise UsageError("no films: give a folder, a glob, or a list of films in a .txt file")
    results = None if output is None else os.path.abspath(output)
    paths = {os.path.abspath(path) for word in given for path in _paths_of(word)}
    outside = sorted(path for path in paths if results is None or not _is_inside(path, results))
    if not outside:
        raise UsageError(f"no films in {', '.join(map(shown_name, given))}; looked for {' '.join(VIDEO_SUFFIXES)}")
    return [Film(Path(path), folder_name(path)) for path in outside]


def folder_name(path: str) -> str:
    """A folder's name for the film at an absolute path: the film's own, and ten digits of the path's hash.

    The same film has the same folder whatever else is in the batch; films of one name in different folders, or whose
    names differ in case or Unicode form alone, have different ones.
    """
    digits = hashlib.sha256(os.fsencode(os.path.normcase(path))).hexdigest()[:10]
    stem = unicodedata.normalize("NFC", Path(path).stem)
    plain = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in stem)
    short = plain.encode()[:NAME_BYTES].decode(errors="ignore").lstrip(".")
    return f"{short}-{digits}"


def parse_shard(text: str) -> tuple[int, int]:
    """ "2/4" as (2, 4): the second of four. Raises: UsageError."""
    number, _, count = text.partition("/")
    if not (number.isascii() and number.isdigit() and count.isascii() and count.isdigit()):
        raise UsageError(f"--shard {text}: expected i/n, as 2/4 for the second of four")
    shard = int(number), int(count)
    if not 1 <= shard[0] <= shard[1]:
        raise UsageError(f"--shard {text}: i counts from 1 to n")
    return shard


def shard_of(films: Sequence[Film], shard: tuple[int, int]) -> list[Film]:
    """Every n-th film, from the i-th on: all shards together do each film once."""
    return list(films[shard[0] - 1 :: shard[1]])


def _paths_of(word: str) -> Iterable[str]:
    path = Path(word)
    if path.is_dir():
        return _films_below(word)
    if path.suffix.lower() == ".txt":
        return _listed(path)
    if not path.exists() and glob.has_magic(word):
        return [found for found in glob.iglob(word, recursive=True) if _is_film(found) and os.path.isfile(found)]
    return [word]


def _films_below(folder: str) -> Iterator[str]:
    """Links to folders are not followed: they may lead back. Hidden files and folders are no films."""
    for where, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (os.path.join(where, name) for name in files if _is_film(name) and not name.startswith("."))


def _is_film(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES


def _is_inside(path: str, folder: str) -> bool:
    return path.startswith(folder.rstrip(os.sep) + os.sep)


def _listed(path: Path) -> list[str]:
    """One film a line, relative to the list's folder; empty lines and those that begin with # say nothing."""
    try:
        lines = path.read_text(encoding="utf-8-sig", errors="surrogateescape").splitlines()
    except OSError as error:
        raise UsageError(f"{shown_name(str(path))}: cannot be read ({error.strerror})") from error
    words = [line.strip() for line in lines]
    return [os.path.join(path.parent, word) for word in words if word and not word.startswith("#")]
