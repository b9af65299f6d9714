"""`--output` on any store that fsspec reaches (s3://, gs://, memory://, file://): results are made on this machine's
disk, then uploaded, and the completion mark last.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any

from bodycast.app.errors import RunError, UsageError, require
from bodycast.app.files.output_file import write_whole

REQUIREMENTS = "ray.txt"
DONE_FILE, FAILED_FILE = "done.json", "failed.json"


class RemotePath:
    """A place in a store: what of pathlib's Path the batch needs. May be sent to another process."""

    def __init__(self, url: str) -> None:
        """url: with its protocol. Raises: UsageError where fsspec or the store's package is missing."""
        fsspec: Any = require("fsspec", REQUIREMENTS)
        self._url = url.rstrip("/")
        try:
            filesystem, path = fsspec.core.url_to_fs(self._url)
        except (ImportError, ValueError, OSError) as error:
            raise UsageError(f"--output {url}: cannot be reached ({error})") from error
        self._filesystem: Any = filesystem
        self._path = str(path)

    def __reduce__(self) -> tuple[type[RemotePath], tuple[str]]:
        return RemotePath, (self._url,)

    def __truediv__(self, name: str) -> RemotePath:
        return RemotePath(f"{self._url}/{name}")

    def __str__(self) -> str:
        return self._url

    @property
    def protocol(self) -> str:
        """As "s3"."""
        return self._url.partition("://")[0]

    def exists(self) -> bool:
        """Whether something is there."""
        self._filesystem.invalidate_cache()  # listings are kept, and other machines write there too
        return bool(self._filesystem.exists(self._path))

    def size(self) -> int | None:
        """In bytes; None where there is no file."""
        try:
            return int(self._filesystem.size(self._path))
        except OSError:
            return None

    def read_bytes(self) -> bytes:
        """Raises OSError."""
        return bytes(self._filesystem.cat_file(self._path))

    def write_bytes(self, content: bytes) -> None:
        """Raises OSError."""
        parent = self._filesystem._parent(self._path)
        self._filesystem.makedirs(parent, exist_ok=True)
        self._filesystem.pipe_file(self._path, content)

    def unlink(self) -> None:
        """Remove the file if it is there. Raises OSError."""
        with contextlib.suppress(FileNotFoundError):
            self._filesystem.rm_file(self._path)

    def remove_tree(self) -> None:
        """Remove the folder if it is there. Raises OSError."""
        with contextlib.suppress(FileNotFoundError):
            self._filesystem.rm(self._path, recursive=True)

    def upload(self, folder: Path) -> None:
        """All files of `folder`, the marks after all others. Raises: RunError."""
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        files.sort(key=lambda path: path.name in (DONE_FILE, FAILED_FILE))
        try:
            for path in files:
                target = f"{self._path}/{path.relative_to(folder).as_posix()}"
                self._filesystem.makedirs(self._filesystem._parent(target), exist_ok=True)
                self._filesystem.put_file(str(path), target)
        except Exception as error:  # each store has errors of its own
            raise RunError(f"{self}: cannot be written ({error})") from error

    def download(self, folder: Path) -> None:
        """All files below, into `folder`. Raises: RunError."""
        try:
            for found in self._filesystem.find(self._path):
                name = str(found).removeprefix(self._path).lstrip("/")
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                self._filesystem.get_file(found, str(folder / name))
        except Exception as error:
            raise RunError(f"{self}: cannot be read ({error})") from error


ResultPath = Path | RemotePath
"""Where results are: a folder or a file of this machine, or a place in a store."""


def result_path(text: str) -> ResultPath:
    """`--output` as the user wrote it. Raises: UsageError."""
    return RemotePath(text) if "://" in text else Path(text)


def size_of(path: ResultPath) -> int | None:
    """Of a file; None where there is none."""
    if isinstance(path, RemotePath):
        return path.size()
    try:
        return path.stat().st_size
    except OSError:
        return None


def put(path: ResultPath, content: bytes) -> None:
    """Replace a file, in one step where the place allows it. Raises OSError."""
    if isinstance(path, RemotePath):
        path.write_bytes(content)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, lambda stream: stream.write(content))


def remove(path: ResultPath) -> None:
    """Remove a file if it is there. Raises OSError."""
    if isinstance(path, RemotePath):
        path.unlink()
    else:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def local_folder(place: ResultPath) -> Generator[Path, None, None]:
    """A folder of this machine for what is to be at `place`: itself, or one that is uploaded at the end, unless an
    error ends the block. Raises: RunError where the store does not take it."""
    if isinstance(place, Path):
        yield place
        return
    with tempfile.TemporaryDirectory(prefix="bodycast-") as name:
        yield Path(name)
        place.upload(Path(name))


@contextlib.contextmanager
def fetched(place: ResultPath) -> Generator[Path, None, None]:
    """A folder of this machine with what is at `place`. Raises: RunError where the store does not give it."""
    if isinstance(place, Path):
        yield place
        return
    with tempfile.TemporaryDirectory(prefix="bodycast-") as name:
        place.download(Path(name))
        yield Path(name)


def remove_tree(place: ResultPath) -> None:
    """Remove a folder if it is there; what cannot be removed stays."""
    if isinstance(place, Path):
        shutil.rmtree(place, ignore_errors=True)
        return
    with contextlib.suppress(OSError):
        place.remove_tree()


def check_output(output: ResultPath) -> None:
    """Raises: UsageError where nothing can be written there; touches nothing of this machine."""
    from bodycast.engines.writable import why_unwritable

    if isinstance(output, RemotePath):
        try:
            (output / ".bodycast").write_bytes(b"")
            (output / ".bodycast").unlink()
        except Exception as error:
            raise UsageError(f"--output {output}: cannot be written ({error})") from error
        return
    if output.exists() and not output.is_dir():
        raise UsageError(f"--output {output}: is a file, expected a folder; give another name")
    if reason := why_unwritable(output):
        raise UsageError(f"--output {output}: {reason}")
