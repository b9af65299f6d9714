"""Worker processes for tests of the supervisor: what becomes of a film is in its name, no network is opened."""

from __future__ import annotations

import os
import signal
import time
from multiprocessing.connection import Connection
from pathlib import Path

from bodycast.app.batch.films import Film
from bodycast.app.batch.marks import Done, remove_marks, settings_hash, write_done
from bodycast.app.batch.messages import Advanced, Fatal, Finished, Message, Opened
from bodycast.app.batch.remote import RemotePath, ResultPath, local_folder
from bodycast.app.batch.worker import begin_worker
from bodycast.app.config import RunConfig


def work(
    connection: Connection, config: RunConfig, output: ResultPath, threads: int | None, engines: dict[str, str]
) -> None:
    """As `bodycast.app.batch.worker.work`."""
    begin_worker()
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
    if stem == "exits":
        os._exit(3)
    if stem == "slow":
        (output / "slow").write_text(str(os.getpid()))
        time.sleep(60)
    (folder / "motion.npz").write_bytes(b"motion of " + os.fsencode(film.path) + f" on {threads} threads".encode())
    write_done(folder, Done(str(film.path), settings_hash(config), film.size_bytes, 20, 2, 4.0, {"tiny": "ab" * 32}))
    return Finished(retires=stem == "retires")
