"""The detector's training: labels follow the pictures, the losses know right from wrong, a run learns and is kept."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from bodycast.export.checkpoint import load_checkpoint
from bodycast.hmr.geometry.letterbox import letterbox_of
from bodycast.hmr.networks.person_detector import STRIDE, Backbone, DetectorMaps, PersonDetector, boxes_of, cell_middles
from training.detector import scoring, sets
from training.detector import train as detector
from training.detector.scoring import score
from training.detector.sets import REGION, Photographs, Pictures, drawn, moved
from training.detector.targets import generalised_iou, losses, targets
from training.photos.split import held_out

HW = (192, 320)


def _set(count: int, seed: int) -> Pictures:
    """Grey pictures with one or two light boxes that are "people"."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(40, 80, (count, *HW, 3)).astype(np.uint8)
    boxes = np.full((count, 4, 5), -1, np.float32)
    for k in range(count):
        for row in range(rng.integers(0, 3)):
            w, h = rng.integers(30, 90), rng.integers(50, 130)
            x, y = rng.integers(0, HW[1] - w), rng.integers(0, HW[0] - h)
            pixels[k, y : y + h, x : x + w] = [230, 90, 60]
            boxes[k, row] = [x, y, x + w, y + h, 1]
    return Pictures(pixels, boxes)


def _perfect(boxes: list[np.ndarray], hw: tuple[int, int]) -> DetectorMaps:
    wanted = targets(boxes, hw)
    x, y = cell_middles(*hw)
    left, top, right, bottom = wanted.box.unbind(-1)
    sides = torch.stack([x - left, y - top, right - x, bottom - y], 1).clamp_min(1)
    return DetectorMaps(torch.where(wanted.peak > 0, 9.0, -9.0), sides)


def test_boxes_come_back_from_their_targets() -> None:
    boxes = [np.array([[10, 20, 70, 150, 1], [200, 0, 320, 192, 1]], np.float32), np.zeros((0, 5), np.float32)]
    maps = _perfect(boxes, (HW[0] // STRIDE, HW[1] // STRIDE))
    found, scores = boxes_of(maps)
    sure = scores[0] > 0.5
    assert int(sure.sum()) == 2 and not (scores[1] > 0.5).any()
    np.testing.assert_allclose(sorted(found[0][sure].tolist()), boxes[0][:, :4].tolist(), atol=1e-3)
    centre, box = losses(maps, targets(boxes, (24, 40)))
    assert centre < 0.05 and box < 1e-3


def test_nothing_is_asked_where_somebody_is_hidden() -> None:
    hw = (24, 40)
    hidden = [np.array([[100, 40, 180, 160, 0]], np.float32)]
    maps = DetectorMaps(torch.full((1, *hw), -9.0), torch.full((1, 4, *hw), 20.0))
    line, column = 100 // STRIDE, 140 // STRIDE
    maps.centre[0, line, column] = 9.0
    assert losses(maps, targets(hidden, hw))[0] < 0.05
    nobody = [np.zeros((0, 5), np.float32)]
    assert losses(maps, targets(nobody, hw))[0] > 5


def test_generalised_iou() -> None:
    one = torch.tensor([[0.0, 0, 10, 10]])
    assert generalised_iou(one, one).item() == pytest.approx(1)
    assert generalised_iou(one, one + torch.tensor([5.0, 0, 5, 0])).item() == pytest.approx(1 / 3)
    assert generalised_iou(one, one + torch.tensor([20.0, 0, 20, 0])).item() == pytest.approx(-1 / 3)


def test_nothing_is_asked_inside_a_group_but_of_those_who_have_boxes() -> None:
    boxes = [np.array([[0, 0, 320, 160, REGION], [100, 40, 180, 152, 1]], np.float32)]
    wanted = targets(boxes, (24, 40))
    assert wanted.ask[0, :20].sum() == wanted.peak.sum() == 1 and bool((wanted.ask[0, 20:] == 1).all())


def test_boxes_follow_the_disturbed_picture() -> None:
    pictures, rng = _set(20, 1), np.random.default_rng(0)
    kinds = set()
    for _ in range(60):
        pixels, boxes = drawn(rng, [pictures, pictures], np.array([0.5, 0.5]), HW)
        assert pixels.shape == (*HW, 3) and pixels.dtype == np.uint8
        kinds.add(len(boxes))
        light = (pixels[..., 0] > 190) & (pixels[..., 2] < 100)
        inside = np.zeros(light.shape, bool)
        for row in boxes:
            x0, y0, x1, y1 = np.round(row[:4]).astype(int)
            inside[y0:y1, x0:x1] = True
        # A turned rectangle has corners outside the box of the ellipse in it.
        grown = cv2.dilate(inside.astype(np.uint8), np.ones((5, 5))) > 0
        assert light[~grown].sum() < 0.04 * light.size
        if inside.any():
            assert light[inside].mean() > 0.5
    assert len(kinds) > 2


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_boxes_of_quarter_turns_are_exact(quarters: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Someone upside down keeps a tight box, whatever the stretch."""
    pixels = np.full((100, 100, 3), 40, np.uint8)
    pixels[20:60, 50:70] = [230, 90, 60]
    boxes = np.array([[50, 20, 70, 60, 1]], np.float32)
    angle = quarters * np.pi / 2
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    monkeypatch.setattr(sets, "_view", lambda *_: (turn, np.diag([1.4, 1.0]), 1.0))
    monkeypatch.setattr(sets, "LOW_RESOLUTION_SHARE", 0.0)
    out, rows = moved(np.random.default_rng(0), pixels, boxes, 1.4, (256, 448))
    y, x = np.nonzero(out[..., 0] > 190)
    np.testing.assert_allclose(rows[0, :4], [x.min(), y.min(), x.max() + 1, y.max() + 1], atol=1.5)


def _photographs(tmp_path: Path) -> Path:
    """Forty squeezed pictures with a box each of one origin, by the number modulo 4."""
    (tmp_path / "images").mkdir()
    images, annotations = [], []
    for number in range(40):
        picture = np.full((100, 100, 3), 50, np.uint8)
        picture[:, :, 0] = 200  # blue, as OpenCV orders them
        cv2.imwrite(str(tmp_path / "images" / f"{number}.png"), picture)
        images.append({"id": number, "file_name": f"{number}.png", "stretch_x": 1.4})
        origin = ("given", "doubted", "group", "added")[number % 4]
        annotations.append({"image_id": number, "bbox": [10, 20, 30, 40], "origin": origin})
    (tmp_path / "labels.json").write_text(json.dumps({"images": images, "annotations": annotations}))
    return tmp_path


def test_photographs_are_parted_and_unsqueezed(tmp_path: Path) -> None:
    folder = _photographs(tmp_path)
    train, test = (Photographs.of_people(folder, folder / "labels.json", test=t) for t in (False, True))
    assert len(train) + len(test) == 40 and all(held_out(name) for name in test.names)
    assert not any(held_out(name) for name in train.names)
    asked = dict(zip(train.names, (boxes[0, 4] for boxes in train.boxes), strict=True))
    assert {asked[name] for name in asked if int(name[:-4]) % 4 == 2} == {REGION}
    made = test.letterboxed((64, 96))
    place = letterbox_of((140, 100), (64, 96))
    wanted = np.array([10 * 1.4, 20, 40 * 1.4, 60]) * place.scale + [place.left, place.top, place.left, place.top]
    np.testing.assert_allclose(made.boxes[0, 0, :4], wanted, atol=0.5)
    assert made.pixels[0, 32, 48].tolist() == [50, 50, 200], "RGB"
    learned, kept = detector.parted(train, 5)
    assert not set(learned.names) & set(kept.names) and len(learned) + len(kept) == len(train)
    with pytest.raises(ValueError, match="no labels"):
        Photographs.of_people(folder, folder / "none.json", test=False)


def test_photographs_of_nobody(tmp_path: Path) -> None:
    for number in range(10):
        cv2.imwrite(str(tmp_path / f"{number}.jpg"), np.full((80, 80, 3), 9, np.uint8))
    assert Photographs.of_nobody(tmp_path, test=True).names == ["0.jpg", "5.jpg"]
    assert len(Photographs.of_nobody(tmp_path, test=False)) == 8
    with pytest.raises(ValueError, match=r"no \.jpg"):
        Photographs.of_nobody(tmp_path / "none", test=True)


def _on_disk(folder: Path, seed: int, count: int = 48) -> Path:
    made = _set(count, seed)
    folder.mkdir()
    np.save(folder / "pixels.npy", made.pixels)
    np.save(folder / "boxes.npy", made.boxes)
    (folder / "meta.json").write_text("{}")
    return folder


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small pictures and a network that learns in seconds."""

    def made(backbone: str, start: Path | None, hw: tuple[int, int]) -> PersonDetector:
        torch.manual_seed(0)
        return PersonDetector(HW, "residual", (8, 8, 16, 16, 16), (0, 0, 1, 1, 1), 16, 16)

    monkeypatch.setattr(detector, "detector", made)


def test_a_run_learns_goes_on_and_its_checkpoint_is_a_network(tmp_path: Path, tiny: None) -> None:
    train, test, out = _on_disk(tmp_path / "train", 1), _on_disk(tmp_path / "test", 2), tmp_path / "out"
    arguments = ["--train", str(train), "--test", str(test), "--out", str(out), "--backbone", "residual"]
    arguments += [
        "--warm-up",
        "3",
        "--batch",
        "8",
        "--report-every",
        "0",
        "--check",
        "4",
        "--lr",
        "2e-3",
        "--small",
        "0",
    ]
    before = score(PersonDetector(HW, "residual").eval(), Pictures.open(test), 16)
    assert before["found_percent@0.5"] == 0
    assert detector.main([*arguments, "--steps", "20"]) == 0
    assert detector.main([*arguments, "--steps", "30", "--resume"]) == 0
    log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [entry["steps"] for entry in log] == list(range(1, 31)) and log[-1]["centre"] < 0.7 * log[0]["centre"]
    state = torch.load(out / "person-detector.pt", weights_only=True)
    assert state["model"] == "person-detector" and set(state["metrics"]) == {k for k in log[-1] if "@" in k}


def test_nothing_to_resume(tmp_path: Path, tiny: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert detector.main(["--train", str(tmp_path), "--out", str(tmp_path), "--resume"]) == 1
    assert "there is no run to resume" in capsys.readouterr().err


def test_scores_are_calibrated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the boxes with a logit of 0 lie on somebody, nearly all with a logit of 4."""
    net, rng = PersonDetector(HW, "residual").eval(), np.random.default_rng(0)
    truth = np.array([[10, 10, 60, 90, 1], *[[-1] * 5] * 3], np.float32)

    def some(*_: object) -> object:
        for logit, chance in ((0.0, 0.5), (4.0, 0.97)):
            for _ in range(200):
                box = truth[0, :4] if rng.random() < chance else truth[0, :4] + 200
                yield box[None], torch.sigmoid(torch.tensor([logit])).numpy(), truth

    monkeypatch.setattr(scoring, "answers", some)
    scoring.calibrate(net, [_set(2, 1)], 2)
    slope, shift = net.calibration.tolist()
    assert slope == pytest.approx(0.87, abs=0.25) and shift == pytest.approx(0, abs=0.3)


def test_scores_are_held_back_until_few_pictures_of_nobody_have_a_box(monkeypatch: pytest.MonkeyPatch) -> None:
    net = PersonDetector(HW, "residual").eval()
    highest = torch.linspace(-3, 3, 50)

    def some(net: PersonDetector, *_: object) -> object:
        for logit in highest:
            chance = torch.sigmoid(logit * net.calibration[0] + net.calibration[1]).reshape(1)
            yield np.zeros((1, 4), np.float32), chance.numpy(), np.zeros((0, 5), np.float32)

    monkeypatch.setattr(scoring, "answers", some)
    scoring.hold_back(net, _set(50, 1), 4.0)
    with_box = sum(float(scores.max()) >= scoring.PROGRAM_LIMIT for _, scores, _ in some(net))
    assert with_box == 2 and net.calibration[0] == 1
    before = net.calibration.clone()
    scoring.hold_back(net, _set(50, 1), 4.0)
    assert torch.equal(net.calibration, before) or abs(net.calibration[1] - before[1]) < 0.01


@pytest.mark.parametrize("backbone", ["csp", "mobilenet-v2", "residual"])
def test_a_checkpoint_is_rebuilt(tmp_path: Path, backbone: Backbone) -> None:
    arguments = {"image_hw": [64, 96], "backbone": backbone, "neck": 32}
    net = PersonDetector((64, 96), backbone, neck=32).eval()
    torch.save({"model": "person-detector", "arguments": arguments, "state_dict": net.state_dict()}, tmp_path / "d.pt")
    again = load_checkpoint(tmp_path / "d.pt").net
    images = torch.randn(1, 3, 64, 96)
    torch.testing.assert_close(again(images).centre, net(images).centre)
    assert net(images[..., :32, :64]).centre.shape == (1, 4, 8), "training begins with smaller pictures"


def test_no_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--train", str(tmp_path), "--test", str(tmp_path), "--out", str(tmp_path / "o")]
    assert detector.main(arguments) == 1
    assert "holds no finished set" in capsys.readouterr().err


def test_wrong_sizes() -> None:
    with pytest.raises(ValueError, match="multiples of 32"):
        PersonDetector((100, 320))
    with pytest.raises(ValueError, match="5 strides"):
        PersonDetector(backbone="residual", widths=(8, 8))
    with pytest.raises(ValueError, match="backbone"):
        PersonDetector(backbone="vgg")  # type: ignore[arg-type]
