"""The command that writes sets of crops: bad input ends before anything is written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from training.synthetic import generate


def test_a_missing_pack_leaves_nothing_behind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert generate.main([str(tmp_path / "set"), "--pack", str(tmp_path / "no"), "--count", "32"]) == 1
    assert "holds no pack" in capsys.readouterr().err
    assert not (tmp_path / "set").exists()


def test_a_set_that_is_there_is_not_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "meta.json").write_text(json.dumps({"finished": 32}))
    assert generate.main([str(tmp_path), "--pack", str(tmp_path / "no"), "--count", "32"]) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert json.loads((tmp_path / "meta.json").read_text()) == {"finished": 32}


def test_without_a_pack_the_usage_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        generate.main([str(tmp_path / "set")])
    assert "--pack" in capsys.readouterr().err
