"""The score's readout fitted anew: what it learns, what stays, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from bodycast.engines.package import load_package
from bodycast.engines.registry import open_engine
from tests.training.toy import DECODER, JOINT_QUERIES, SWIN, toy_crops
from training import fit_score
from training.network import build_network

HW = (128, 96)


def checkpoint(path: Path, decoder: dict) -> Path:
    torch.manual_seed(0)
    arguments = {"size": SWIN, "drop_path": 0.0, "decoder": decoder, "pool": 2}
    net = build_network("swin-t-s2", HW, arguments)
    state = {"model": "swin-t-s2", "arguments": {**arguments, "image_hw": list(HW)}, "state_dict": net.state_dict()}
    torch.save({**state, "training": "toy"}, path)
    return path


def crop_set(folder: Path, count: int) -> Path:
    """Dots for people; bad crops are grey."""
    arrays = toy_crops(count)
    arrays["pixels"][np.asarray(arrays["score"]) < 0.5] = 90
    folder.mkdir()
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    (folder / "meta.json").write_text(json.dumps({"finished": count}))
    return folder


class Photographs:
    """A pack with photographs alone."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.photographs = [rng.integers(0, 255, (120, 160, 3), dtype=np.uint8) for _ in range(3)]


def test_it_separates_people_from_what_is_none_and_changes_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fit_score, "open_pack", lambda path, split: Photographs(len(split)))
    monkeypatch.setattr(fit_score, "LEAST_SCORE", 0.0)  # noise shows nobody: take the best boxes all the same
    source, out = checkpoint(tmp_path / "a.pt", JOINT_QUERIES), tmp_path / "b.pt"
    sets = [str(crop_set(tmp_path / name, 48)) for name in ("train", "test")]
    argv = [str(source), "--train", sets[0], "--test", sets[1], "--photographs", str(tmp_path), "--out", str(out)]
    assert fit_score.main([*argv, "--shown-score", "0", "--threads", "1"]) == 0
    words = capsys.readouterr().out
    assert "people, 40:" in words and "bad crops, 8:" in words and "boxes on nobody, " in words
    after = {line.split(",")[0]: float(line.split("->")[1].split("%")[0]) for line in words.splitlines()}
    assert after["people"] > 95 and after["bad crops"] < 5
    old, new = (torch.load(path, weights_only=True) for path in (source, out))
    changed = {key for key, value in old["state_dict"].items() if not torch.equal(value, new["state_dict"][key])}
    assert changed == {"smpl_head.readout_score.weight", "smpl_head.readout_score.bias"}
    assert new["training"].startswith("toy; score fitted to 48 crops and ")


def test_the_fit_finds_a_line_between_groups_and_weighs_rows() -> None:
    torch.manual_seed(1)
    tokens = torch.cat([torch.randn(200, 5) + 2, torch.randn(200, 5) - 2]) * 3 + 7
    label = torch.cat([torch.ones(200), torch.zeros(200)])
    slope, shift = fit_score.fit(tokens, label, torch.ones(400))
    assert (((tokens @ slope[0] + shift) > 0).float() == label).float().mean() > 0.99
    mixed = torch.randn(400, 5)
    weight = torch.cat([torch.ones(200), torch.full((200,), 0.25)])
    slope, shift = fit_score.fit(mixed, label, weight)
    assert float(torch.sigmoid(mixed @ slope[0] + shift).mean()) == pytest.approx(0.8, abs=0.03)


def test_boxes_are_cut_out_of_the_photographs_that_they_were_found_in() -> None:
    photograph = np.zeros((240, 320, 3), np.uint8)
    photograph[40:220, 120:200] = (200, 40, 40)
    with open_engine(load_package(fit_score.DETECTOR), "onnxruntime", "cpu", threads=1) as detector:
        crops, scores = fit_score.boxes_on_nobody([photograph], detector, mirrored=True)
        none, _ = fit_score.boxes_on_nobody([], detector, mirrored=False)
    assert crops.shape[1:] == (256, 192, 3) and len(crops) == len(scores) and len(none) == 0
    assert (np.diff(scores[: fit_score.BOXES_A_PHOTOGRAPH]) <= 0).all() or len(scores) < 2


def test_networks_without_such_a_readout_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = checkpoint(tmp_path / "a.pt", DECODER)
    argv = [str(source), "--train", "x", "--test", "x", "--photographs", "x", "--out", str(tmp_path / "b.pt")]
    assert fit_score.main(argv) == 2
    assert "no score that is read from its token" in capsys.readouterr().err
    assert fit_score.main([str(tmp_path / "none.pt"), *argv[1:]]) == 2
