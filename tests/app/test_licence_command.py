"""The licence list names every installed package with its own terms."""

from __future__ import annotations

from pathlib import Path

import pytest

from bodycast.app.commands.main import main

pytest.importorskip("onnx", reason="tiny packages are written with onnx")


def test_installed_packages_are_listed_with_their_terms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.tiny_packages import hmr_package

    monkeypatch.setenv("BODYCAST_HOME", str(tmp_path))
    (tmp_path / "models").mkdir()
    hmr_package(tmp_path / "models" / "mine", name="mine", licence="CC-BY-4.0", training_data="my own pictures")
    assert main(["licences"]) == 0
    out = capsys.readouterr().out
    line = next(line for line in out.splitlines() if " mine " in line)
    assert "CC-BY-4.0" in line
    assert "my own pictures" in line
    assert "bodycast-adult" in out
