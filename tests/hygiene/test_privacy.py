"""Nothing leaves the machine: libraries that report their use are kept from it."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]

ULTRALYTICS = """
from bodycast.app.detectors.quiet_ultralytics import import_ultralytics
import_ultralytics()
from ultralytics.utils.events import events
print("ENABLED", events.enabled)
"""


def test_ultralytics_sends_no_events() -> None:
    if find_spec("ultralytics") is None:
        pytest.skip("ultralytics is not installed")
    done = subprocess.run(
        [sys.executable, "-c", ULTRALYTICS], cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False
    )
    assert "ENABLED False" in done.stdout, done.stderr[-1000:]


def test_ultralytics_and_openvino_are_imported_in_the_quiet_way_only() -> None:
    """Elsewhere than in the two files that silence them, neither is imported by name at run time."""
    allowed = {"app/detectors/quiet_ultralytics.py", "engines/openvino_engine.py"}
    for folder in ("app", "engines"):
        for path in sorted((REPOSITORY / folder).rglob("*.py")):
            name = path.relative_to(REPOSITORY).as_posix()
            text = path.read_text(encoding="utf-8")
            for spelling in ('require("ultralytics"', "import ultralytics", "from ultralytics", "import openvino\n"):
                assert name in allowed or spelling not in text, f"{name} has {spelling!r}"
