"""`evaluation detect-photographs`: rows, groups and photographs of nobody, on a detector whose answers are known."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from bodycast.app.records import Detections, Frame
from evaluation import detect_photographs
from training.photos.split import held_out


class Fixed:
    """Three boxes in every light picture, none in dark ones."""

    name = "fixed"

    def detect(self, frame: Frame) -> Detections:
        boxes = [[0, 0, 70, 100], [148, 10, 190, 90], [240, 0, 280, 100]] if frame.image.max() > 50 else []
        return Detections(np.array(boxes, np.float32).reshape(-1, 4), np.ones(len(boxes), np.float32))

    def describe(self) -> str:
        return self.name

    def close(self) -> None:
        pass


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One held-out photograph, squeezed to half its width, one other; five of nobody, the first of them held out."""
    monkeypatch.setattr(detect_photographs, "open_detector", lambda spec: Fixed())
    names = [f"{number}.png" for number in range(100)]
    chosen = [next(n for n in names if held_out(n)), next(n for n in names if not held_out(n))]
    (tmp_path / "images").mkdir()
    (tmp_path / "nobody").mkdir()
    for name in chosen:
        cv2.imwrite(str(tmp_path / "images" / name), np.full((100, 200, 3), 200, np.uint8))
    for number in range(5):
        light = 200 if number == 0 else 0
        cv2.imwrite(str(tmp_path / "nobody" / f"{number}.png"), np.full((100, 200, 3), light, np.uint8))
    boxes = [([0, 0, 35, 100], "given"), ([70, 0, 40, 100], "group"), ([120, 0, 20, 100], "added"),
             ([150, 0, 40, 100], "doubted"), ([190, 0, 5, 10], "given")]  # fmt: skip
    content = {
        "images": [{"id": k, "file_name": n, "stretch_x": 2.0} for k, n in enumerate(chosen)],
        "annotations": [{"image_id": 0, "bbox": box, "origin": origin} for box, origin in boxes],
    }
    (tmp_path / "labels.json").write_text(json.dumps(content))
    return tmp_path


def test_rows(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = folder / "out.json"
    arguments = ["fixed", "--people", str(folder), "--labels", str(folder / "labels.json"), "--json", str(out)]
    assert detect_photographs.main([*arguments, "--nobody", str(folder / "nobody")]) == 0
    (report,) = json.loads(out.read_text())
    assert report["photographs"] == 1 and report["people"] == {"given": 3, "single": 2, "confirmed": 1, "completed": 2}
    assert report["found_percent"]["single"] == 50 and report["found_percent"]["completed"] == 100
    assert report["on_nobody"] == 0, "what lies inside a group is not on nobody"
    assert report["nobody"] == 1 and report["nobody_percent"] == 100
    assert "100.0 % of 2 people found" in capsys.readouterr().out


def test_wrong_files(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "labels.json").write_text("{}")
    arguments = ["fixed", "--people", str(folder), "--labels", str(folder / "labels.json")]
    assert detect_photographs.main(arguments) == 2
    assert "no label file" in capsys.readouterr().err
