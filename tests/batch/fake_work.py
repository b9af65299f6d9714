"""Worker processes for tests of the supervisor: what becomes of a film is in its name, no network is opened."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path

from bodycast.app.batch.films import Film
from bodycast.app.batch.marks import Done, remove_marks, settings_hash, write_done
from bodycast.app.batch.messages import Advanced, Fatal, Finished, Message, Opened
from bodycast.app.batch.remote import RemotePath, ResultPath, local_folder
from bodycast.app.batch.worker import begin_worker, side_by_side
from bodycast.app.config import RunConfig


def work(
    connections: Sequence[Connection],
    config: RunConfig,
    output: ResultPath,
    threads: int | None,
    engines: dict[str, str],
) -> None:
    """As `bodycast.app.batch.worker.work`."""
    begin_worker()
    side_by_side(connections, lambda connection: in_turn(connection, config, output, threads, engines))


def in_turn(
    connection: Connection, config: RunConfig, output: ResultPath, threads: int | None, engines: dict[str, str]
) -> None:
    place = output
    output = Path(str(output).removeprefix("file://"))
    (output / f"worker-{os.getpid()}").write_text(os.environ.get("CUDA_VISIBLE_DEVICES", ""))
    (output / f"engines-{os.getpid()}").write_text(engines.get("graph cpu", "none"))
    connection.send(Opened(engines or {"graph cpu": f"engine of {os.getpid()}"}))
    try:
        while True:
            film: Film = connection.recv()
            if isinstance(place, RemotePath):
                with local_folder(place / film.folder) as folder:
                    message = do(film, config, folder.parent, threads, folder)
            else:
                message = do(film, config, output, threads, output / film.folder)
            connection.send(Advanced(1, 2))
            connection.send(message)
            if isinstance(message, Finished) and message.retires:
                return
    except (EOFError, OSError):
        return


def do(film: Film, config: RunConfig, output: Path, threads: int | None, folder: Path) -> Message:
    """What the film's name says."""
    stem = film.path.stem
    folder.mkdir(parents=True, exist_ok=True)
    remove_marks(folder)
    (folder / "motion.npz").write_bytes(b"half")
    if stem == "fatal":
        return Fatal("no such model")
    if stem == "broken":
        return Finished("the film is broken")
    if stem == "deadly" or (stem == "once" and not (output / "died").exists()):
        (output / "died").write_text("")
        os.kill(os.getpid(), signal.SIGKILL)
    if stem.startswith("pair"):
        (output / stem).write_text("")
        wait_for_files(output, "pair*", 2)
    if stem == "traitor":
        wait_for_files(output, "patient", 1)
        (output / "died").write_text("")
        os.kill(os.getpid(), signal.SIGKILL)
    if stem == "patient":
        (output / "patient").write_text("")
        wait_for_files(output, "died", 1)
        time.sleep(0.5)
    if stem == "exits":
        os._exit(3)
    if stem == "slow":
        (output / "slow").write_text(str(os.getpid()))
        time.sleep(60)
    (folder / "motion.npz").write_bytes(b"motion of " + os.fsencode(film.path) + f" on {threads} threads".encode())
    write_done(folder, Done(str(film.path), settings_hash(config), film.size_bytes, 20, 2, 4.0, {"tiny": "ab" * 32}))
    return Finished(retires=stem == "retires")


def wait_for_files(folder: Path, pattern: str, count: int, limit_s: float = 30.0) -> None:
    end_s = time.monotonic() + limit_s
    while len(list(folder.glob(pattern))) < count:
        if time.monotonic() > end_s:
            raise TimeoutError(pattern)
        time.sleep(0.01)
