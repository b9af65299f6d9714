"""A worker process: takes films from its supervisor, one at a time, until there are none or the supervisor is gone."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from contextlib import suppress
from multiprocessing.connection import Connection

from bodycast.app.batch.films import Film
from bodycast.app.batch.kept_stages import KeptStages
from bodycast.app.batch.messages import Advanced, Fatal, Opened
from bodycast.app.batch.one_film import do_film
from bodycast.app.batch.remote import ResultPath
from bodycast.app.config import RunConfig
from bodycast.app.memory import share_heaps
from bodycast.app.pipeline.summary import Progress
from bodycast.engines import choices

TELL_S = 1.0
"""How often a worker says how far it is."""


def work(
    connection: Connection, config: RunConfig, output: ResultPath, threads: int | None, engines: dict[str, str]
) -> None:
    """The process. config: of all films, without source and output folder. output: of the batch. threads: CPU threads
    of the networks. engines: what `--engine auto` means, by `bodycast.engines.choices.key`."""
    begin_worker()
    share_heaps()
    choices.told.update(engines)
    kept = KeptStages(threads, on_open=lambda: connection.send(Opened(dict(choices.made))))
    try:
        while True:
            film: Film = connection.recv()
            message = do_film(film, config, output, kept, _Teller(connection))
            connection.send(message)
            if isinstance(message, Fatal) or message.retires:
                return
    except (EOFError, OSError):  # there are no more films
        return
    finally:
        kept.close()


def begin_worker() -> None:
    """Ctrl-C reaches the whole terminal: the supervisor decides what it means. Where the supervisor is killed, end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)  # at once: the film in flight has no completion mark and is done again


class _Teller:
    """Tells the supervisor how far a film is, every `TELL_S`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._next_s = time.monotonic() + TELL_S

    def __call__(self, progress: Progress) -> None:
        now_s = time.monotonic()
        if now_s >= self._next_s:
            self._next_s = now_s + TELL_S
            with suppress(OSError):  # where the supervisor is gone, the other thread ends this process
                self._connection.send(Advanced(progress.frames_out, progress.frame_count))
