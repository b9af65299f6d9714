"""A whole batch: which films, who does them, what is listed at the end."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from bodycast.app.batch.batch_engines import BatchEngines
from bodycast.app.batch.ends import Ends
from bodycast.app.batch.films import FRAGMENTS, Film, find_films, parse_shard, shard_of
from bodycast.app.batch.marks import films_to_do, remove_marks, settings_hash
from bodycast.app.batch.progress import BatchProgress
from bodycast.app.batch.remote import RemotePath, ResultPath, check_output, remove_tree
from bodycast.app.batch.summary import CSV_FILE, HTML_FILE, Row, rows_of, write_summary
from bodycast.app.batch.supervisor import Supervisor
from bodycast.app.batch.worker import work
from bodycast.app.config import RunConfig
from bodycast.app.errors import UsageError
from bodycast.app.files.folder_lock import FolderLock
from bodycast.engines.devices import usable_cores


class BatchOptions(Protocol):
    """What of the command line concerns the batch (app/commands/batch.py)."""

    @property
    def films(self) -> tuple[str, ...]: ...
    @property
    def workers(self) -> int: ...
    @property
    def together(self) -> int: ...
    @property
    def resume(self) -> bool: ...
    @property
    def retry_failed(self) -> bool: ...
    @property
    def shard(self) -> str | None: ...
    @property
    def ray(self) -> str | None: ...
    @property
    def gpu_numbers(self) -> tuple[str, ...]: ...
    @property
    def split_minutes(self) -> float | None: ...
    @property
    def overwrite(self) -> bool: ...
    def run_config(self) -> RunConfig: ...


def run_batch(options: BatchOptions, output: ResultPath, worker: Callable[..., None] = work) -> int:
    """Do the films and write the summary; gives 0, or 1 where a film of this shard has failed, now or before.

    worker: what runs in the processes. Raises: UsageError before anything is done, or where the networks cannot be
    opened; RunError where the disk takes no more.
    """
    shard = parse_shard(options.shard or "1/1")
    config = options.run_config()
    split_s = None if options.split_minutes is None else 60 * options.split_minutes
    found = find_films(options.films, output if isinstance(output, Path) else None)
    films = [replace(film, split_s=split_s) for film in found]
    ours = shard_of(films, shard)
    settings = settings_hash(config, split_s)
    _check_place(output)
    todo = films_to_do(
        ours,
        output,
        settings,
        resume=options.resume,
        retry_failed=options.retry_failed,
        overwrite=options.overwrite,
    )
    lock = None
    if isinstance(output, Path):
        output.mkdir(parents=True, exist_ok=True)
        lock = FolderLock(output) if options.shard is None else None  # shards share the folder
    try:
        for film in todo:
            remove_marks(output / film.folder)
            if options.overwrite and split_s is not None:  # else fragments that are done would be taken
                remove_tree(output / film.folder / FRAGMENTS)
        _announce(len(films), len(ours), len(todo), options)
        _do(todo, config, output, settings, options, worker)
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
    output: ResultPath,
    settings: str,
    options: BatchOptions,
    worker: Callable[..., None],
) -> None:
    if not todo:
        return
    progress = BatchProgress(todo)
    ends = Ends(output, settings, progress)
    # Not by how many films are left: results depend on the number of threads in their last digits.
    threads = max(1, usable_cores() // options.workers)
    keeps = options.shard is not None or options.resume or options.retry_failed
    engines = BatchEngines(output, settings, keep=keeps)
    if options.ray is not None:
        from bodycast.app.batch.ray_pool import RayOptions, RayPool

        ray_options = RayOptions(options.ray, options.workers, threads, len(options.gpu_numbers))
        RayPool(ray_options, config, output, ends, progress.tick, engines).run(todo)
    else:
        arguments = (config, output, None if options.workers == 1 else threads)
        supervisor = Supervisor(work=worker, arguments=arguments, workers=options.workers, on_end=ends,
                                on_advance=progress.advanced, on_tick=progress.tick,
                                gpus=options.gpu_numbers, engines=engines, together=options.together)  # fmt: skip
        supervisor.run(todo)
    progress.close()


def _check_place(output: ResultPath) -> None:
    """Raises: UsageError where nothing can be written, or the workers would not share it."""
    if isinstance(output, RemotePath) and output.protocol == "memory":
        raise UsageError(f"--output {output}: memory:// ends with the process; give a folder or a store")
    check_output(output)


def _announce(found: int, ours: int, todo: int, options: BatchOptions) -> None:
    parts = [f"{found} films"]
    if options.shard:
        parts.append(f"{ours} in shard {options.shard}")
    if todo < ours:
        parts.append(f"{ours - todo} done or failed before")
    print(f"batch     {', '.join(parts)}; {options.workers * options.together} at a time", file=sys.stderr)


def _conclude(rows: Sequence[Row], output: ResultPath) -> int:
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
