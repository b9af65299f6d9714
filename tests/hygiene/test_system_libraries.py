"""scripts/system_libraries.sh says what it is about to call before it calls it, and calls nothing where it may not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "system_libraries.sh"

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it does nothing elsewhere")


def call(folder: Path, user: int, libraries: str = "libGL.so.1", **environment: str) -> tuple[int, str]:
    """Exit code and output where programs of ours stand for apt-get, id and ldconfig."""
    programs = {
        "apt-get": 'echo "CALLED apt-get $*" >&2',
        "id": f"echo {user}",
        "ldconfig": "\n".join(f'echo "\t{name} (libc6) => /lib/{name}"' for name in libraries.split()),
    }
    for name, body in programs.items():
        (folder / name).write_text(f"#!/bin/bash\n{body}\n", encoding="utf-8")
        (folder / name).chmod(0o755)
    done = subprocess.run(
        ["bash", str(SCRIPT)],
        env={**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", **environment},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout


def test_the_command_is_said_before_it_is_called(tmp_path: Path) -> None:
    code, said = call(tmp_path, user=0)
    lines = said.splitlines()
    assert code == 0
    assert "libglib2.0-0" in lines[0] and "calling now: apt-get update && apt-get install" in lines[1]
    assert lines[2].startswith("CALLED apt-get update") and lines[3].startswith("CALLED apt-get install")


@pytest.mark.parametrize(("user", "environment"), [(1000, {}), (0, {"BODYCAST_NO_APT": "1"})])
def test_who_may_not_install_gets_the_command(tmp_path: Path, user: int, environment: dict[str, str]) -> None:
    code, said = call(tmp_path, user, **environment)
    assert code == 1 and "CALLED" not in said
    assert "sudo apt-get install" in said and len(said.splitlines()) == 1


def test_opengl_is_wished_for_and_not_needed(tmp_path: Path) -> None:
    code, said = call(tmp_path, 1000, "libGL.so.1 libgthread-2.0.so.0")
    assert code == 0 and "the overlay is drawn on the CPU" in said


def test_nothing_is_said_where_nothing_is_missing(tmp_path: Path) -> None:
    everything = "libGL.so.1 libgthread-2.0.so.0 libEGL.so.1 libEGL_mesa.so.0"
    assert call(tmp_path, 0, everything) == (0, "")
