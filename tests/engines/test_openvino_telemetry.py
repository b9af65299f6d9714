"""Nothing leaves the machine: OpenVINO's telemetry is never loaded."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

PROGRAM = """
import sys
from bodycast.engines.openvino_engine import import_openvino
openvino = import_openvino()
openvino.Core()
loaded = [name for name, module in sys.modules.items() if name.startswith("openvino_telemetry") and module is not None]
print("LOADED", loaded)
"""


def test_openvino_is_imported_without_its_telemetry() -> None:
    if find_spec("openvino_telemetry") is None:
        pytest.skip("openvino_telemetry is not installed")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-1000:]
    assert "LOADED []" in done.stdout
