"""The detector's training: labels follow the pictures, the losses know right from wrong, a run learns and is kept."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from export.checkpoint import load_checkpoint
from hmr.networks.person_detector import STRIDE, DetectorMaps, PersonDetector, boxes_of, cell_middles
from training.detector import train as detector
from training.detector.train import Pictures, disturbed, generalised_iou, losses, score, targets

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


def test_boxes_follow_the_disturbed_picture() -> None:
    pictures, rng = _set(20, 1), np.random.default_rng(0)
    kinds = set()
    for _ in range(60):
        pixels, boxes = disturbed(rng, [pictures, pictures])
        kinds.add(len(boxes))
        light = (pixels[..., 0] > 190) & (pixels[..., 2] < 100)
        inside = np.zeros(light.shape, bool)
        for row in boxes:
            x0, y0, x1, y1 = np.round(row[:4]).astype(int)
            inside[y0:y1, x0:x1] = True
        grown = cv2.dilate(inside.astype(np.uint8), np.ones((5, 5))) > 0
        assert light[~grown].sum() < 0.02 * light.size  # what is cut off to less than 5 % has no box
        if inside.any():
            assert light[inside].mean() > 0.8
    assert len(kinds) > 2


def test_a_run_learns_and_its_checkpoint_is_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seed in (("train", 1), ("test", 2)):
        made, folder = _set(48, seed), tmp_path / name
        folder.mkdir()
        np.save(folder / "pixels.npy", made.pixels)
        np.save(folder / "boxes.npy", made.boxes)
        (folder / "meta.json").write_text("{}")
    monkeypatch.setattr(detector, "PersonDetector", lambda: PersonDetector(HW, (8, 8, 16, 16, 16), (0, 0, 1, 1, 1), 16))
    out = tmp_path / "out"
    arguments = ["--train", str(tmp_path / "train"), "--test", str(tmp_path / "test"), "--out", str(out)]
    torch.manual_seed(0)
    before = score(PersonDetector(HW).eval(), Pictures.open(tmp_path / "test"), 16)
    assert before["found_percent@0.5"] == 0
    assert (
        detector.main(
            [*arguments, "--steps", "30", "--warm-up", "3", "--batch", "8", "--report-every", "0", "--check", "4"]
        )
        == 0
    )
    log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert len(log) == 30 and log[-1]["centre"] < 0.7 * log[0]["centre"]
    state = torch.load(out / "person-detector.pt", weights_only=True)
    assert state["model"] == "person-detector" and set(state["metrics"]) == {k for k in log[-1] if "@" in k}


def test_scores_are_calibrated_and_photographs_are_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the boxes with a logit of 0 lie on somebody, nearly all with a logit of 4."""
    net, rng = PersonDetector(HW).eval(), np.random.default_rng(0)
    truth = np.array([[10, 10, 60, 90, 1], *[[-1] * 5] * 3], np.float32)

    def some(*_: object) -> object:
        for logit, chance in ((0.0, 0.5), (4.0, 0.97)):
            for _ in range(200):
                box = truth[0, :4] if rng.random() < chance else truth[0, :4] + 200
                yield box[None], torch.sigmoid(torch.tensor([logit])).numpy(), truth

    monkeypatch.setattr(detector, "answers", some)
    detector.calibrate(net, [_set(2, 1)], 2)
    slope, shift = net.calibration.tolist()
    assert slope == pytest.approx(0.87, abs=0.25) and shift == pytest.approx(0, abs=0.3)
    nobody = Pictures.of_nobody(_pack_of_photographs(tmp_path, monkeypatch), "train")
    assert nobody.pixels.shape == (4, *HW, 3) and (nobody.boxes == -1).all()
    assert nobody.pixels[0, 0, 0].tolist() == [114, 114, 114], "whole: grey beside it"
    assert nobody.pixels[1, 0, 0].tolist() == [255, 128, 0], "filling the picture, RGB as it was"
    drawn = [disturbed(np.random.default_rng(k), [_set(3, 1)], nobody)[1] for k in range(60)]
    assert sum(len(boxes) == 0 for boxes in drawn) > 5


def _pack_of_photographs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    class Pack:
        photographs = (np.full((256, 340, 3), [255, 128, 0], np.uint8),) * 2

    monkeypatch.setattr(detector, "open_pack", lambda folder, split: Pack)
    return tmp_path


def test_a_checkpoint_is_rebuilt(tmp_path: Path) -> None:
    net = PersonDetector((64, 96)).eval()
    torch.save(
        {"model": "person-detector", "arguments": {"image_hw": [64, 96]}, "state_dict": net.state_dict()},
        tmp_path / "d.pt",
    )
    again = load_checkpoint(tmp_path / "d.pt").net
    images = torch.randn(1, 3, 64, 96)
    torch.testing.assert_close(again(images).centre, net(images).centre)


def test_no_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--train", str(tmp_path), "--test", str(tmp_path), "--out", str(tmp_path / "o")]
    assert detector.main(arguments) == 1
    assert "holds no finished set" in capsys.readouterr().err


def test_wrong_sizes() -> None:
    with pytest.raises(ValueError, match="multiples of 32"):
        PersonDetector((100, 320))
    with pytest.raises(ValueError, match="5 strides"):
        PersonDetector(widths=(8, 8))
