"""`export merge-layers`: planted redundant layers are found, with and without labels; export reads the recipe."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from bodycast.export import __main__ as export
from bodycast.export.layer_similarity import linear_cka
from bodycast.export.source import open_source, read_recipe
from bodycast.hmr.body.torch_body import TorchBody
from bodycast.hmr.networks import registry
from bodycast.hmr.networks.hmr_net import ExportedHmr
from tests.networks.network_checks import shake

SIZE = {"dim": 16, "depth": 6, "heads": 2, "drop_path": 0.0}
DECODER = {"width": 16, "depth": 1, "heads": 2, "head_width": 4, "mlp_width": 12}
PLANTED = (1, 4)
HW = (64, 48)


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Six blocks, of which two hand their input on."""
    from bodycast.hmr.networks.encoders.vit import SIZES, ViTSize

    monkeypatch.setitem(SIZES, "s", ViTSize(**SIZE))
    torch.manual_seed(0)
    arguments = {"decoder": DECODER, "image_hw": HW}
    net = shake(registry.build("hmr2-s", **arguments), 0.3)
    with torch.no_grad():
        for index in PLANTED:
            for layer in (net.backbone.blocks[index].attn.proj, net.backbone.blocks[index].mlp.fc2):
                layer.weight.zero_()
                layer.bias.zero_()
    path = tmp_path / "toy.pt"
    torch.save({"model": "hmr2-s", "arguments": arguments, "state_dict": net.state_dict()}, path)
    return path


def crops(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (count, *HW, 3), np.uint8)


def crop_set(folder: Path, checkpoint: Path, known: float) -> Path:
    """Ten crops whose labels are what the network says."""
    pixels = crops(10)
    net = open_source(str(checkpoint)).net
    with torch.no_grad():
        pose, betas, *_ = ExportedHmr(net).eval()(torch.from_numpy(pixels))
        joints = TorchBody.load().posed_joints(pose, betas, torch.zeros(10, 3)).numpy()
    folder.mkdir()
    values = {
        "pixels": pixels, "joints": joints.astype("f4"), "score": np.ones(10, "f4"),
        "known_joints": np.full((10, 24), known, "f4"), "centre_px": np.full((10, 2), 50.0, "f4"),
        "size_px": np.full(10, 80.0, "f4"), "focal_px": np.full(10, 500.0, "f4"),
        "image_wh": np.full((10, 2), 100.0, "f4"),
    }  # fmt: skip
    for name, array in values.items():
        np.save(folder / f"{name}.npy", array)
    return folder


def run(*words: object) -> int:
    return export.main(["merge-layers", *map(str, words)])


def planted() -> list[list[int]]:
    """Merging a pair drops its lower block."""
    return [[index, index + 1] for index in PLANTED]


@pytest.mark.parametrize("known", [1.0, 0.0])
@pytest.mark.parametrize("how", [["--keep", 4], ["--tolerance", 0.001]])
def test_the_planted_layers_are_found(
    checkpoint: Path, tmp_path: Path, known: float, how: list[object], capsys
) -> None:
    frames, out = crop_set(tmp_path / "set", checkpoint, known), tmp_path / "recipe.json"
    assert run(checkpoint, "--frames", frames, "--out", out, *how) == 0, capsys.readouterr().err
    said = capsys.readouterr().out
    assert ("by their labels (bodycast-adult)" in said) == bool(known)
    assert ("by the difference from the unmerged network" in said) == (not known)
    recipe = read_recipe(out)
    assert [list(window) for window in recipe.windows] == planted()
    assert recipe.error_mm is not None and recipe.error_mm < 0.01 and recipe.blocks_left == 4
    report = out.with_suffix(".md").read_text()
    trials = [line for line in report.splitlines() if line.startswith("| ") and "-" in line.split("|")[1]]
    assert len(trials) == 5 and "6 -> 4 layers, merged 1 to 2, 4 to 5" in report
    assert "recipe-cka.png" in report and cv2.imread(str(tmp_path / "recipe-cka.png")) is not None
    merged = open_source(str(checkpoint), recipe=recipe)
    assert merged.arguments["blocks"] == 4
    assert run(checkpoint, "--frames", frames, "--out", out) == 2 and "pass --overwrite" in capsys.readouterr().err


def test_a_folder_of_pictures_and_the_package_of_its_recipe(checkpoint: Path, tmp_path: Path, capsys) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index, picture in enumerate(crops(3)):
        cv2.imwrite(str(folder / f"{index}.png"), cv2.resize(picture, (70, 50)))
    out = tmp_path / "recipe.json"
    assert run(checkpoint, "--frames", folder, "--keep", 4, "--out", out) == 0, capsys.readouterr().err
    assert json.loads(out.read_text())["windows"] == planted()
    package = tmp_path / "package"
    words = ["package", checkpoint, "--merge-recipe", out, "--out", package]
    assert export.main([str(word) for word in words]) == 0, capsys.readouterr().err
    assert json.loads((package / "merge_recipe.json").read_text())["windows"] == planted()


def test_what_cannot_be_searched_is_one_line(checkpoint: Path, tmp_path: Path, capsys) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    out = tmp_path / "recipe.json"
    for words, said in (
        ((tmp_path / "no.pt", "--frames", empty), "no checkpoint"),
        ((checkpoint, "--frames", tmp_path / "no"), "no folder"),
        ((checkpoint, "--frames", empty), "neither pictures"),
        ((checkpoint, "--frames", crop_set(tmp_path / "set", checkpoint, 1.0), "--keep", 1), "3 to 6 can be kept"),
        ((checkpoint, "--frames", tmp_path / "set", "--tolerance", -1), "--tolerance: expected more than 0"),
        ((checkpoint, "--frames", tmp_path / "set", "--limit", 0), "--limit: expected 1 or more"),
    ):
        assert run(*words, "--out", out) == 2
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1
    assert not out.exists()


def test_cka_knows_what_is_alike() -> None:
    torch.manual_seed(0)
    x = torch.randn(200, 8)
    turned = x @ torch.linalg.qr(torch.randn(8, 8))[0] * 3 + 5
    found = linear_cka([x, turned, torch.randn(200, 8)])
    np.testing.assert_allclose(np.diag(found), 1)
    assert found[0, 1] == pytest.approx(1, abs=1e-6) and found[0, 2] < 0.2
    with pytest.raises(ValueError, match="the same for every token"):
        linear_cka([torch.ones(5, 2)])


@pytest.mark.slow
def test_at_full_width(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """ViT-H with random weights, four layers of which do nothing: four minutes of a core, 6 GB."""
    planted = (5, 12, 20, 27)
    torch.manual_seed(0)
    net = registry.build("hmr2-h")
    with torch.no_grad():
        for index in planted:
            for layer in (net.backbone.blocks[index].attn.proj, net.backbone.blocks[index].mlp.fc2):
                layer.weight.zero_()
                layer.bias.zero_()
    checkpoint, frames, out = tmp_path / "hmr2-h.ckpt", tmp_path / "frames", tmp_path / "merge.json"
    torch.save({"state_dict": net.state_dict()}, checkpoint)
    del net
    frames.mkdir()
    for row in range(2):
        picture = np.random.default_rng(row).integers(0, 255, (256, 256, 3), np.uint8)
        cv2.imwrite(str(frames / f"{row}.png"), picture)
    words = ["merge-layers", checkpoint, "--frames", frames, "--keep", 28, "--out", out]
    assert export.main([str(word) for word in words]) == 0, capsys.readouterr().err
    assert read_recipe(out).windows == tuple((low, low + 1) for low in planted)
