"""These tests need requirements/export.txt."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

for _module in ("torch", "onnx", "onnxscript"):
    pytest.importorskip(_module, reason="needs requirements/export.txt")


@pytest.fixture(scope="session", autouse=True)
def short_timings() -> Iterator[None]:
    """Two calls a figure: what is timed here is of no interest."""
    from bodycast.export import parity

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parity, "TIME_BUDGET_S", 0.0)
        yield
