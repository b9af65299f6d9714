"""A worker process: takes films from its supervisor until there are none or the supervisor is gone.

One film at a time, or several in threads of their own, whose crops go through the networks together.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Sequence
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
from bodycast.engines.gathering import SharedEngines

TELL_S = 1.0
"""How often a worker says how far it is."""


def work(
    connections: Sequence[Connection],
    config: RunConfig,
    output: ResultPath,
    threads: int | None,
    engines: dict[str, str],
) -> None:
    """The process. connections: one for each film at a time. config: of all films, without source and output folder.
    output: of the batch. threads: CPU threads of the networks. engines: what `--engine auto` means, by
    `bodycast.engines.choices.key`."""
    begin_worker()
    share_heaps()
    choices.told.update(engines)
    shared = SharedEngines().open if len(connections) > 1 else None
    opening = threading.Lock()

    def in_turn(connection: Connection) -> None:
        def opened() -> None:
            choices.told.update(choices.made)  # the next film's networks are not measured beside this one's
            connection.send(Opened(dict(choices.made)))

        _do_films(connection, config, output, KeptStages(threads, opened, shared, opening))

    side_by_side(connections, in_turn)


def _do_films(connection: Connection, config: RunConfig, output: ResultPath, kept: KeptStages) -> None:
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


def side_by_side(connections: Sequence[Connection], in_turn: Callable[[Connection], None]) -> None:
    """Serve each connection in a thread of its own, one alone in this thread. An error ends the process, as it would
    with one film at a time: the supervisor sees it."""
    if len(connections) == 1:
        in_turn(connections[0])
        return

    def serve(connection: Connection) -> None:
        try:
            in_turn(connection)
        except BaseException:
            traceback.print_exc()
            os._exit(1)

    films = [threading.Thread(target=serve, args=(one,), name="films", daemon=True) for one in connections]
    for thread in films:
        thread.start()
    for thread in films:
        thread.join()


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
