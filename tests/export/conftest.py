"""These tests need requirements/export.txt."""

from __future__ import annotations

import pytest

for _module in ("torch", "onnx", "onnxscript"):
    pytest.importorskip(_module, reason="needs requirements/export.txt")
