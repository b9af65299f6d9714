"""A worker process: takes films from its supervisor, one at a time, until there are none or the supervisor is gone."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
import traceback
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

from bodycast.app.batch.film_run import recover_film
from bodycast.app.batch.films import Film
from bodycast.app.batch.kept_stages import KeptStages, StagesError
from bodycast.app.batch.messages import Advanced, Fatal, Finished, Message, Opened
from bodycast.app.config import RunConfig
from bodycast.app.errors import BodycastError, UsageError
from bodycast.app.pipeline.summary import Progress
from bodycast.plain_text import shown_name

TELL_S = 1.0
"""How often a worker says how far it is."""


def work(connection: Connection, config: RunConfig, output: Path, threads: int | None) -> None:
    """The process. config: of all films, without source and output folder. output: of the batch. threads: CPU threads
    of the networks."""
    begin_worker()
    kept = KeptStages(threads)
    told_open = False
    try:
        while True:
            film: Film = connection.recv()
            message = _do(connection, film, config, output, kept)
            if not told_open and kept.packages:
                told_open = True
                connection.send(Opened())
            connection.send(message)
            if isinstance(message, Fatal) or (isinstance(message, Finished) and message.retires):
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


def _do(connection: Connection, film: Film, config: RunConfig, output: Path, kept: KeptStages) -> Message:
    """One film; whatever goes wrong with it is told and not raised."""
    results = replace(config.results, output=output / film.folder, overwrite=True, window=False)
    try:
        recover_film(
            replace(config, source=str(film.path), results=results), film.size_bytes, kept, _Teller(connection)
        )
    except StagesError as error:
        return Fatal(str(error))
    except UsageError as error:  # the film could not be opened: nothing was run
        return Finished(reason(error, film))
    except BodycastError as error:
        return Finished(reason(error, film), retires=True)
    except Exception as error:
        if config.debug:
            traceback.print_exc()
        return Finished(f"{type(error).__name__}: {reason(error, film)}", retires=True)
    return Finished(retires=kept.worn)


def reason(error: Exception, film: Film) -> str:
    """On one line, without the film's name at its front: reasons are rows of tables."""
    words = str(error).removeprefix(f"{shown_name(str(film.path))}: ")
    return " ".join(words.split()) or "no reason given"


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
