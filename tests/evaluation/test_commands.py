"""`python -m evaluation`: help without torch, commands that exist, exit codes."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from evaluation.__main__ import COMMANDS, main


@pytest.mark.parametrize(
    "arguments", [["--help"], *([name, "--help"] for name in ("goldens", "predict", "boxes", "score"))], ids=" ".join
)
def test_help_needs_no_torch(repository: Path, arguments: list[str]) -> None:
    code = (
        "import sys; from evaluation.__main__ import main\n"
        "try:\n    code = main(sys.argv[1:])\n"
        "except SystemExit as stop:\n    code = stop.code\n"
        "assert 'torch' not in sys.modules; sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=repository, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "usage: python -m evaluation" in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_there(command: str) -> None:
    assert find_spec(COMMANDS[command][0]) is not None


def test_an_unknown_command_names_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["golden"]) == 2
    assert "there are goldens" in capsys.readouterr().err
    assert main([]) == 2
