"""Accuracy against cost, drawn."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest

from evaluation.cost_figure import TABLE, main, read_table


def test_the_figure_is_drawn_of_what_the_documents_say(tmp_path: Path, repository: Path) -> None:
    out = tmp_path / "cost.png"
    assert main(["--out", str(out)]) == 0
    picture = cv2.imread(str(out))
    assert picture.shape[1] > 1000
    assert (picture < 250).mean() > 0.01
    models = (repository / "docs" / "models.md").read_text()
    for row in read_table(TABLE):
        assert f"| {row.cpu_ms:g} |" in models


@pytest.mark.parametrize("content", ["[]", "{}", '[{"name": "a"}]', "no json"])
def test_another_file_is_one_line(tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "t.json"
    table.write_text(content)
    assert main(["--out", str(tmp_path / "o.png"), "--table", str(table)]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert json.loads(TABLE.read_text())
