"""A library that ends the process, as Qt does where the display goes away."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bodycast.app.files.motion_file import read_motion
from tests.live.test_whole_program import REPOSITORY, command, detector, figure, film_frames, folder_of, package

__all__ = ["detector", "figure", "package"]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="X servers, and C's exit as Linux has it")
EXITS = """
import ctypes, sys
from bodycast.app.pipeline.library_exit import before_a_library_exits

with before_a_library_exits(lambda: print("first", file=sys.stderr)):
    pass
with before_a_library_exits(lambda: print("finished", file=sys.stderr)):
    if sys.argv[1] == "library":
        ctypes.CDLL(None).exit(0)
"""


@pytest.mark.parametrize(("who", "code", "said"), [("library", 1, "finished\n"), ("python", 0, "")])
def test_last_words_are_said_where_a_library_exits(who: str, code: int, said: str) -> None:
    done = subprocess.run([sys.executable, "-c", EXITS, who], cwd=REPOSITORY, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (code, said)


@pytest.mark.slow
def test_a_display_that_dies_leaves_finished_files(
    tmp_path: Path, package: Path, detector: Path, figure: object
) -> None:
    if shutil.which("Xvfb") is None:
        pytest.skip("Xvfb is not on this machine")
    source, out = folder_of(tmp_path / "pictures", figure, 3000), tmp_path / "out"  # type: ignore[arg-type]
    display = f":{os.getpid() % 5000 + 100}"
    server = subprocess.Popen(["Xvfb", display], stderr=subprocess.DEVNULL)
    try:
        time.sleep(1.5)
        words = command(source, "--model", package, "--output", out, "--renderer", "cpu", "--detector", detector)
        words[words.index("--no-window")] = "--window"
        run = subprocess.Popen(
            words, cwd=REPOSITORY, env=os.environ | {"DISPLAY": display}, stderr=subprocess.PIPE, text=True
        )
        while not (out / "motion.parts" / "frames").exists():
            assert run.poll() is None
            time.sleep(0.05)
        time.sleep(1.5)
    finally:
        server.kill()
        server.wait()
    _, errors = run.communicate(timeout=60)
    assert run.returncode == 1
    assert sum("the display went away" in line for line in errors.splitlines()) == 1
    assert "Traceback" not in errors
    report = json.loads((out / "run.json").read_text())
    assert report["exit_code"] == 1 and "display" in report["exit_reason"]
    assert read_motion(out / "motion.npz").meta.frame_count > 0 and film_frames(out / "overlay.mp4") > 0
    assert not (out / "motion.parts").exists()
