"""Every entry answers `--help`, quickly and without loading what only a run needs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bodycast.app.command_line import flags_of
from bodycast.app.commands.main import COMMANDS
from bodycast.app.config import RunConfig

REPOSITORY = Path(__file__).resolve().parents[2]
LIGHT = ("torch", "cv2", "onnxruntime", "openvino", "ultralytics", "moderngl", "av")

EXPECTED_FLAGS = (
    *("--model", "--engine", "--device", "--body", "--detector", "--detect-every", "--max-people", "--smoother"),
    *("--lag", "--focal-px", "--fov-deg", "--renderer", "--output", "--overwrite", "--window", "--no-window"),
    *("--hud", "--no-hud", "--preset", "--print-config", "--debug"),
)

WATCHED = """
import runpy, sys
sys.argv = {argv!r}
try:
    runpy.run_module({module!r}, run_name="__main__", alter_sys=True)
except SystemExit as end:
    code = end.code or 0
loaded = [name for name in {light!r} if name in sys.modules]
print("LOADED", loaded)
sys.exit(code)
"""


def run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("run_webcam", ["--help"]),
        ("bodycast", ["--help"]),
        *[("bodycast", [name, "--help"]) for name in COMMANDS if name != "export"],
    ],
)
def test_help_of_the_live_program_is_light(module: str, words: list[str]) -> None:
    done = run(WATCHED.format(argv=[module, *words], module=module, light=LIGHT))
    assert done.returncode == 0, done.stderr[-2000:]
    assert "usage" in done.stdout.lower()
    assert "LOADED []" in done.stdout, done.stdout[-300:]
    assert "None" not in done.stdout, "no word of Python's in the help: say what holds where a flag is left out"


@pytest.mark.parametrize(
    "package", [path.parent.name for path in sorted(REPOSITORY.glob("*/__main__.py")) if path.parent.name != "bodycast"]
)
def test_help_of_the_other_programs(package: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bodycast.export" if package == "export" else package, "--help"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "usage" in done.stdout.lower()


def test_the_help_names_every_flag() -> None:
    done = run(WATCHED.format(argv=["run_webcam", "--help"], module="run_webcam", light=LIGHT))
    for flag in EXPECTED_FLAGS:
        assert f"{flag} " in done.stdout or f"{flag}," in done.stdout, flag
    for flag in flags_of(RunConfig):
        if flag != "--source":
            assert flag in done.stdout, f"{flag} is a field of the configuration that the help does not show"
