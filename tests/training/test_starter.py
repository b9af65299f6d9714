"""`python -m training` where nobody has made crops: it finds a pack, or makes one of what the repository has."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from training import starter
from training.synthetic import pose_pool
from training.synthetic.pack import open_pack
from training.synthetic.pose_pool import Kind


@pytest.fixture(autouse=True)
def few_gestures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pose_pool, "GESTURES_PER_SPLIT", {"train": 6, "test": 4})


def test_what_is_there_comes_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "pack.json").write_text("{}")
    assert starter.find_crops(tmp_path) == (None, tmp_path / "pack")
    assert "rendered from" in capsys.readouterr().err
    (tmp_path / "crops-train").mkdir()
    assert starter.find_crops(tmp_path) == ([tmp_path / "crops-train"], None)
    assert capsys.readouterr().err == ""


def test_a_pack_of_the_repository_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    work = tmp_path / "work"
    assert starter.find_crops(work) == (None, work / "pack-starter")
    said = capsys.readouterr().err
    assert "docs/training.md" in said and said.count("\n") == 1
    assert [path.name for path in work.iterdir()] == ["pack-starter"]
    pack = open_pack(work / "pack-starter", "train")
    assert pack.photographs == () and (pack.poses.kind == Kind.GESTURE).all() and len(pack.poses.pose) == 6
    rng = np.random.default_rng(0)
    for webcam in (True, False):
        pose = pack.poses.sample(rng, webcam)
        np.testing.assert_allclose(pose @ pose.swapaxes(-1, -2), np.eye(3)[None].repeat(24, 0), atol=1e-4)
    assert starter.find_crops(work) == (None, work / "pack-starter")
    assert "making" not in capsys.readouterr().err


def test_of_two_makers_one_wins(tmp_path: Path) -> None:
    out = starter.make_starter(tmp_path / "pack-starter")
    before = (out / "poses-train.npz").stat().st_mtime_ns
    assert starter.make_starter(out) == out
    assert (out / "poses-train.npz").stat().st_mtime_ns == before
    assert [path.name for path in tmp_path.iterdir()] == ["pack-starter"]
