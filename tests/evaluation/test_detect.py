"""`evaluation detect`: counts on a detector whose answers are known."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from bodycast.app.records import Detections, Frame
from evaluation import detect


class Fixed:
    """Answers the same boxes about every picture."""

    name = "fixed"

    def __init__(self, boxes: list[list[float]]) -> None:
        self.boxes = np.array(boxes, np.float32).reshape(-1, 4)
        self.closed = False

    def describe(self) -> str:
        return self.name

    def detect(self, frame: Frame) -> Detections:
        return Detections(self.boxes, np.ones(len(self.boxes), np.float32))

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """Two pictures with two people and one."""
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(tmp_path / name), np.zeros((100, 200, 3), np.uint8))
    people = [(1, [0, 0, 40, 100]), (1, [100, 0, 50, 100]), (2, [0, 0, 50, 100])]
    (tmp_path / "labels.json").write_text(
        json.dumps(
            {
                "images": [{"id": k, "file_name": n} for k, n in ((1, "a.png"), (2, "b.png"))],
                "annotations": [
                    {"id": k, "image_id": image, "category_id": 1, "bbox": box} for k, (image, box) in enumerate(people)
                ],
            }
        )
    )
    return tmp_path


def test_people_are_counted(labels: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """One box on the left person of both pictures (twice over: one person is found once), one on nobody."""
    fixed = Fixed([[0, 0, 45, 100], [2, 0, 47, 100], [160, 0, 200, 100]])
    monkeypatch.setattr(detect, "open_detector", lambda spec: fixed)
    out = labels / "out.json"
    arguments = ["fixed", "--images", str(labels), "--coco", str(labels / "labels.json"), "--json", str(out)]
    assert detect.main(arguments) == 0
    row = json.loads(out.read_text())[0]
    assert (row["pictures"], row["people"]) == (2, 3)
    assert row["found_percent"] == pytest.approx(200 / 3)
    assert row["nobody"] == pytest.approx(100)
    assert fixed.closed and "fixed" in capsys.readouterr().out
    assert detect.main([*arguments, "--iou", "0.95"]) == 0
    assert json.loads(out.read_text())[0]["found_percent"] == 0


def test_a_film(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The demo clip's own boxes find everybody."""
    demo = Path(__file__).resolve().parents[2] / "assets" / "demo"
    if not (demo / "demo.mp4").is_file():
        pytest.skip("the demo clip is not in this copy")
    monkeypatch.setattr(detect, "open_detector", lambda spec: Fixed([]))
    out = tmp_path / "out.json"
    arguments = ["--film", str(demo / "demo.mp4"), "--boxes", str(demo / "demo.npz"), "--every", "100"]
    assert detect.main(["none", *arguments, "--json", str(out)]) == 0
    row = json.loads(out.read_text())[0]
    assert row["pictures"] == 3 and row["people"] >= 3 and row["found_percent"] == 0 == row["nobody"]


def test_boxes_drawn_by_hand(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only the frames that have some are looked at; the boxes are those of a picture of twice the size."""
    demo = Path(__file__).resolve().parents[2] / "assets" / "demo" / "demo.mp4"
    if not demo.is_file():
        pytest.skip("the demo clip is not in this copy")
    monkeypatch.setattr(detect, "open_detector", lambda spec: Fixed([[0, 0, 100, 100]]))
    boxes, out = tmp_path / "boxes.json", tmp_path / "out.json"
    film = cv2.VideoCapture(str(demo))
    w, h = int(film.get(cv2.CAP_PROP_FRAME_WIDTH)), int(film.get(cv2.CAP_PROP_FRAME_HEIGHT))
    film.release()
    boxes.write_text(
        json.dumps({"wh": [2 * w, 2 * h], "frames": {"0": [[0, 0, 200, 180], [600, 0, 700, 180]], "7": []}})
    )
    arguments = ["fixed", "--film", str(demo), "--boxes", str(boxes), "--json", str(out)]
    assert detect.main(arguments) == 0
    row = json.loads(out.read_text())[0]
    assert (row["pictures"], row["people"], row["found_percent"], row["nobody"]) == (2, 2, 50, 50)
    boxes.write_text("[]")
    assert detect.main(arguments) == 2
    assert "no boxes by frame" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["--film", "x.mp4"], ["--images", ".", "--film", "x.mp4"]])
def test_wrong_sources(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert detect.main(arguments) == 2
    assert "give --images and --coco, or --film and --boxes" in capsys.readouterr().err


@pytest.mark.parametrize(("film", "boxes", "people", "least"), [
    ("demo.mp4", "assets/demo/demo.npz", 26, 90),
    ("outdoors.mp4", "evaluation/outdoors.json", 40, 65),
])  # fmt: skip
def test_the_embedded_detector_finds_the_demos_people(
    film: str, boxes: str, people: int, least: float, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    repository = Path(__file__).resolve().parents[2]
    demo, out = repository / "assets" / "demo" / film, tmp_path / "out.json"
    if not (repository / "assets/models/person-detector").is_dir() or not demo.is_file():
        pytest.skip("the embedded detector or the demo clip is not in this copy")
    monkeypatch.setenv("BODYCAST_HOME", str(tmp_path))  # a detector of the user's own would go first
    arguments = ["--film", str(demo), "--boxes", str(repository / boxes), "--every", "15"]
    assert detect.main(["auto", *arguments, "--json", str(out)]) == 0
    row = json.loads(out.read_text())[0]
    assert row["people"] >= people and row["found_percent"] > least and row["nobody"] < 10
