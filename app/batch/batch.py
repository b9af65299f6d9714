"""A whole batch: which films, who does them, what is listed at the end."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from bodycast.app.batch.films import Film, find_films, parse_shard, shard_of
from bodycast.app.batch.marks import Failed, films_to_do, remove_marks, settings_hash, write_failed
from bodycast.app.batch.progress import BatchProgress
from bodycast.app.batch.summary import CSV_FILE, HTML_FILE, Row, rows_of, write_summary
from bodycast.app.batch.supervisor import Supervisor
from bodycast.app.batch.worker import work
from bodycast.app.config import RunConfig
from bodycast.app.errors import UsageError
from bodycast.app.files.folder_lock import FolderLock
from bodycast.engines.devices import usable_cores
from bodycast.engines.writable import why_unwritable


class BatchOptions(Protocol):
    """What of the command line concerns the batch (app/commands/batch.py)."""

    @property
    def films(self) -> tuple[str, ...]: ...
    @property
    def workers(self) -> int: ...
    @property
    def resume(self) -> bool: ...
    @property
    def retry_failed(self) -> bool: ...
    @property
    def shard(self) -> str | None: ...
    @property
    def overwrite(self) -> bool: ...
    def run_config(self) -> RunConfig: ...


def run_batch(options: BatchOptions, output: Path, worker: Callable[..., None] = work) -> int:
    """Do the films and write the summary; gives 0, or 1 where a film of this shard has failed, now or before.

    worker: what runs in the processes. Raises: UsageError before anything is done, or where the networks cannot be
    opened; RunError where the disk takes no more.
    """
    shard = parse_shard(options.shard or "1/1")
    config = options.run_config()
    films = find_films(options.films, output)
    ours = shard_of(films, shard)
    settings = settings_hash(config)
    _check_output(output)
    todo = films_to_do(
        ours,
        output,
        settings,
        resume=options.resume,
        retry_failed=options.retry_failed,
        overwrite=options.overwrite,
    )
    output.mkdir(parents=True, exist_ok=True)
    lock = FolderLock(output) if options.shard is None else None  # shards share the folder
    try:
        for film in todo:
            remove_marks(output / film.folder)
        _announce(len(films), len(ours), len(todo), options)
        _do(todo, config, output, settings, options.workers, worker)
    finally:
        rows = rows_of(films, output)
        write_summary(rows, output)
        if lock is not None:
            lock.release()
    mine = {film.folder for film in ours}
    return _conclude([row for row in rows if row.folder in mine], output)


def _do(
    todo: Sequence[Film],
    config: RunConfig,
    output: Path,
    settings: str,
    workers: int,
    worker: Callable[..., None],
) -> None:
    if not todo:
        return
    progress = BatchProgress(todo)

    def on_end(film: Film, error: str) -> None:
        if error:
            write_failed(output / film.folder, Failed(str(film.path), settings, error))
        progress.ended(film, error)

    # Not by how many films are left: results depend on the number of threads in their last digits.
    threads = None if workers == 1 else max(1, usable_cores() // workers)
    supervisor = Supervisor(work=worker, arguments=(config, output, threads), workers=workers, on_end=on_end,
                            on_advance=progress.advanced, on_tick=progress.tick)  # fmt: skip
    supervisor.run(todo)
    progress.close()


def _check_output(output: Path) -> None:
    if output.exists() and not output.is_dir():
        raise UsageError(f"--output {output}: is a file, expected a folder; give another name")
    if reason := why_unwritable(output):
        raise UsageError(f"--output {output}: {reason}")


def _announce(found: int, ours: int, todo: int, options: BatchOptions) -> None:
    parts = [f"{found} films"]
    if options.shard:
        parts.append(f"{ours} in shard {options.shard}")
    if todo < ours:
        parts.append(f"{ours - todo} done or failed before")
    print(f"batch     {', '.join(parts)}; {options.workers} at a time", file=sys.stderr)


def _conclude(rows: Sequence[Row], output: Path) -> int:
    """Say what there is on stdout; gives the exit code."""
    count = Counter(row.status for row in rows)
    frames = sum(row.frames or 0 for row in rows)
    open_too = f", {count['open']} open" if count["open"] else ""
    print(f"{count['done']} films done ({frames} frames), {count['failed']} failed{open_too}")
    for row in rows:
        if row.status == "failed":
            print(f"failed: {row.film}: {row.error}")
    print(output / CSV_FILE)
    print(output / HTML_FILE)
    return 0 if count["done"] == len(rows) else 1
