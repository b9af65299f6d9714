"""Opening that never ends: it has a limit, and signals act."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from bodycast.app.errors import UsageError
from bodycast.app.pipeline.waiting import waited


def test_a_result_and_an_error_come_through() -> None:
    assert waited(lambda: 3, "three", 5) == 3
    with pytest.raises(ZeroDivisionError):
        waited(lambda: 1 // 0, "nothing", 5)


def test_what_never_ends_is_given_up() -> None:
    forever = threading.Event()
    with pytest.raises(UsageError, match="the plan takes more than 0 s; it was given up"):
        waited(forever.wait, "the plan", 0.3)
    forever.set()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to send")
@pytest.mark.parametrize(("number", "said"), [(signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM")])
def test_signals_act_while_a_source_that_says_nothing_is_opened(
    number: signal.Signals, said: str, repository: Path
) -> None:
    """A server that takes the connection and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/film.mp4"
        command = [sys.executable, "-m", "bodycast", "run", url, "--no-window", "--output", "never-made"]
        run = subprocess.Popen(command, cwd=repository, stderr=subprocess.PIPE, text=True)
        connection, _ = server.accept()
        time.sleep(0.2)
        run.send_signal(number)
        began = time.monotonic()
        _, errors = run.communicate(timeout=20)
        assert time.monotonic() - began < 2
        connection.close()
    assert run.returncode == 128 + number
    assert said in errors
    assert len(errors.strip().splitlines()) == 1
    assert not (repository / "never-made").exists()


OPENS_SLOWLY = """
import sys, time
from bodycast.app.pipeline import build

def opens(*args, **kwargs):
    print("opening", flush=True)
    time.sleep(60)

build.open_stages = opens
from bodycast.app.commands.main import main
sys.exit(main(["run", "demo", "--no-window", "--output", sys.argv[1]]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to send")
def test_sigterm_while_engines_open_is_one_line(repository: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", OPENS_SLOWLY, str(tmp_path / "out")]
    run = subprocess.Popen(command, cwd=repository, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert run.stdout is not None and run.stdout.readline() == "opening\n"
    run.send_signal(signal.SIGTERM)
    began = time.monotonic()
    _, errors = run.communicate(timeout=20)
    assert time.monotonic() - began < 5
    assert run.returncode == 143
    assert errors.splitlines() == ["bodycast run: stopped by SIGTERM"]
    assert not (tmp_path / "out").exists()


LEAVES_A_THREAD = """
import atexit, sys, threading, types

def main():
    atexit.register(print, "Python was taken down")
    threading.Thread(target=threading.Event().wait, daemon=True).start() if {left} else None
    print("said before", end="")
    return 143

sys.modules["program"] = types.SimpleNamespace(main=main)
from bodycast.app.start import start
sys.exit(start("program", "program"))
"""


@pytest.mark.parametrize("left", [True, False])
def test_a_thread_left_in_a_library_does_not_meet_an_interpreter_that_is_gone(left: bool, repository: Path) -> None:
    """FFmpeg asks Python whether to go on waiting; a process that takes Python down meanwhile ended by SIGSEGV."""
    code = LEAVES_A_THREAD.format(left=left)
    done = subprocess.run([sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, timeout=30)
    assert done.returncode == 143
    assert done.stdout == ("said before" if left else "said beforePython was taken down\n")
