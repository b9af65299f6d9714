"""An official checkpoint's file to a package by one command, at small width: the published letter "s" is made tiny."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from bodycast.app.commands import main as program
from bodycast.app.estimation.estimator import Estimator
from bodycast.app.model_packages import find_package
from bodycast.app.records import Frame, Tracks
from bodycast.engines.package import load_package
from bodycast.export.layer_choice import _cheapest, choose_layers
from bodycast.hmr.checkpoints import guess_model, layouts_of
from bodycast.hmr.geometry.camera import Intrinsics
from bodycast.hmr.networks import registry
from bodycast.hmr.networks.decoders.smpl_transformer import DECODER_PRESETS
from bodycast.hmr.networks.encoders.vit import SIZES
from tests.checkpoints.test_loading import hmr2_file
from tests.networks.network_checks import shake
from tests.networks.registry_cases import DECODER, VIT, tiny

ONES = np.ones(2)
FULL_WIDTH = """
import resource, sys, time
import torch
from bodycast.app.commands.main import main
from bodycast.export import parity
from bodycast.hmr.networks import registry

torch.manual_seed(0)
net = registry.build("hmr2-h")
torch.save({"state_dict": net.state_dict() | {"smpl.v_template": torch.zeros(10, 3)}}, sys.argv[1])
del net
parity.TIME_BUDGET_S, start = 0.0, time.time()
merging = ["--eclm", "28", "--tokens", "fasthmr", "--precision", "fp16", "--accept-error"]
code = main(["import", sys.argv[1], *merging, "--out", sys.argv[2]])
print(f"{time.time() - start:.0f} s, {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.1f} GB")
sys.exit(code)
"""


@pytest.fixture(autouse=True)
def tiny_sizes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(SIZES, "s", VIT)
    monkeypatch.setitem(DECODER_PRESETS, "d3-a4x16-m128", DECODER)
    monkeypatch.setenv("BODYCAST_HOME", str(tmp_path / "home"))


@pytest.fixture
def official(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    net = registry.build("hmr2-s")
    return hmr2_file(tmp_path / "epoch=35-step=1000000.ckpt", shake(net, 0.05))


def run(*arguments: object) -> int:
    return program.main(["import", *map(str, arguments)])


def test_one_command_from_the_file_to_the_line_that_runs_it(
    official: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    merged = ["--eclm", 3, "--tokens", "fasthmr", "--precision", "fp16", "--exact-merging", "--accept-error"]
    assert run(official, *merged) == 0, capsys.readouterr().err
    said = capsys.readouterr().out
    assert "epoch=35-step=1000000.ckpt: hmr2-s\n" in said
    assert "merged: 4 -> 3 layers, 192 -> 90 tokens;" in said and "times as fast as unmerged" in said
    assert "parity: worst row onnxruntime" in said and " mm from torch, fp32" in said
    assert said.rstrip().splitlines()[-1] == "bodycast run 0 --model hmr2-s-fast --body smpl.npz"
    package = find_package("hmr2-s-fast", "hmr")
    info = package.info
    assert (info.architecture, info.precision, info.body) == ("hmr2-s", "fp16", "smpl-neutral")
    assert info.orientation_frame == "camera" and info.arguments == {"blocks": 3, "schedule": [40, 40, 22]}
    recipe = json.loads((package.folder / "merge_recipe.json").read_text())
    assert recipe["blocks"] == 4 and len(recipe["windows"]) == 1
    assert info.masks == "silhouette" and [spec.name for spec in info.inputs] == ["crops", "masks"]
    assert run(official, *merged) == 2 and "pass --overwrite" in capsys.readouterr().err
    estimator = Estimator(package.folder, "onnxruntime", "cpu")
    frame = Frame(np.zeros((480, 640, 3), np.uint8), 0, 0.0)
    tracks = Tracks(np.arange(2, dtype=np.int32), np.array([[40, 60, 180, 400], [400, 20, 600, 470]], np.float32), ONES)
    bodies = estimator.estimate(estimator.crop(frame, tracks), Intrinsics.default((640, 480)), (640, 480))
    estimator.close()
    assert bodies.pose.shape == (2, 24, 3, 3) and estimator.body_name == "smpl-neutral"


def test_masks_are_recorded_or_left_out(official: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for masks, inputs in (("none", ["crops"]), ("segmenter", ["crops", "masks"])):
        out = tmp_path / masks
        assert run(official, "--tokens", "fasthmr", "--masks", masks, "--out", out) == 0, capsys.readouterr().err
        info = load_package(out).info
        assert info.masks == masks and [spec.name for spec in info.inputs] == inputs
    assert run(official, "--masks", "silhouette") == 2
    assert "--masks silhouette guides the merging of tokens: give --tokens too" in capsys.readouterr().err


def test_nothing_merged_and_a_folder_of_ones_own(
    official: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "mine"
    assert run(official, "--out", out, "--as", "hmr2-s") == 0, capsys.readouterr().err
    said = capsys.readouterr().out
    assert "merged:" not in said and said.rstrip().endswith(f"bodycast run 0 --model {out} --body smpl.npz")
    info = load_package(out).info
    assert info.name == "mine" and info.precision == "fp32" and "4D-Humans (Lightning)" in info.training_data


def test_foreign_and_broken_files_are_one_line(
    official: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text.ckpt").write_text("not a checkpoint")
    (tmp_path / "cut.ckpt").write_bytes(official.read_bytes()[:2000])
    torch.save({"state_dict": {"conv1.weight": torch.zeros(2)}}, tmp_path / "resnet.pth")
    torch.save({"model": {"layers.0.blocks.0.attn.qkv.weight": torch.zeros(3, 1)}}, tmp_path / "swin.pth")
    torch.save(nn.Linear(2, 2), tmp_path / "module.pt")
    half = dict(torch.load(official, weights_only=True)["state_dict"])
    del half["smpl_head.init_cam"]
    torch.save({"state_dict": half}, tmp_path / "half.ckpt")
    (tmp_path / "recipe.json").write_text("{}")
    cases: list[tuple[list[object], str]] = [
        ([tmp_path / "no.ckpt"], "no checkpoint"),
        ([tmp_path / "text.ckpt"], "damaged or no checkpoint of torch"),
        ([tmp_path / "cut.ckpt"], "damaged or no checkpoint of torch"),
        ([tmp_path / "module.pt"], "more than tensors and plain values"),
        ([tmp_path / "resnet.pth"], "no published layout that is known here (its keys start conv1.weight)"),
        ([tmp_path / "swin.pth"], "an encoder alone (Swin): say which network it is for, --as swin-t-s2"),
        ([tmp_path / "half.ckpt"], "1 missing: smpl_head.init_cam"),
        ([official, "--as", "hmr2-q"], "no network 'hmr2-q'"),
        ([official, "--as", "swin-t-s2"], "does not fit this Swin as 'swin'"),
        ([official, "--as", "motion-vae"], "no published files for motion-vae are known here"),
        ([official, "--as", "hmr2-s-fast"], "--as hmr2-s --eclm N --tokens fasthmr"),
        ([official, "--layout", "hmr9"], "no checkpoint layout 'hmr9'"),
        ([official, "--eclm", 1], "of 4 blocks 2 to 4 can be kept"),
        ([official, "--tokens", "many"], "a schedule is"),
        ([official, "--tokens", "150"], "can merge 0 to 96"),
        ([official, "--eclm", 3, "--recipe", tmp_path / "recipe.json"], "give one"),
        ([official, "--recipe", tmp_path / "recipe.json"], "no layer-merging recipe"),
        ([official, "--precision", "fp61"], "fp61"),
    ]
    for arguments, expected in cases:
        assert run(*arguments, "--out", tmp_path / "out") == 2, arguments
        error = capsys.readouterr().err
        assert expected in error and error.count("\n") == 1, (arguments, error)
    assert not (tmp_path / "out").exists()


def test_a_broken_safetensors_file_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("safetensors")
    (tmp_path / "a.safetensors").write_bytes(b"\0" * 40)
    assert run(tmp_path / "a.safetensors") == 2
    error = capsys.readouterr().err
    assert "no safetensors file" in error and error.count("\n") == 1


def _flat(width: int, blocks: int, **more: tuple[int, ...]) -> dict[str, torch.Tensor]:
    state = {"backbone.pos_embed": torch.empty(1, 193, width, device="meta")}
    state |= {f"backbone.blocks.{i}.norm1.weight": torch.empty(width, device="meta") for i in range(blocks)}
    return state | {key.replace("__", "."): torch.empty(shape, device="meta") for key, shape in more.items()}


QUERY = "smpl_head__transformer__to_token_embedding__weight"
PLACES = "smpl_head__transformer__pos_embedding"


@pytest.mark.parametrize(
    ("state", "name"),
    [
        (_flat(1280, 32, **{QUERY: (1024, 1), PLACES: (1, 1, 1024)}), "hmr2-h"),
        (_flat(1024, 24, **{QUERY: (1024, 1)}), "hmr2-l"),
        (_flat(1280, 32, **{QUERY: (1024, 160)}), "camerahmr-h"),
        (_flat(1280, 32, **{QUERY: (1280, 1), PLACES: (1, 26, 1280)}), "dense26"),
        (_flat(768, 12, keypoint_head__deconv_layers__0__weight=(2, 2), keypoint_head__x=(2,)), "pose-vit-b"),
        (_flat(1280, 32, keypoint_head__final_layer__weight=(2, 2)), "pose-vit-h-simple"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_whole_networks_are_known_by_their_keys(state: dict[str, torch.Tensor], name: str) -> None:
    assert guess_model(state) == name and name in registry.names() and layouts_of(name)


def test_what_cannot_be_guessed_is_said() -> None:
    with pytest.raises(ValueError, match="a flat ViT alone"):
        guess_model(_flat(1280, 32))
    with pytest.raises(ValueError, match="a ViT of width 99 and 7 blocks, which is none of"):
        guess_model(_flat(99, 7))
    for key, family in (("layers.0.blocks.0.op.x", "VMamba"), ("patch_embed_layers.0.x", "GroupMixFormer")):
        with pytest.raises(ValueError, match=family):
            guess_model({key: torch.zeros(1)})
    assert layouts_of("deformable-detr-r50") == () and layouts_of("deformable-x4") == (
        "hmr2-encoder",
        "vitpose-encoder",
    )


@pytest.mark.parametrize("name", ["hmr2-s", "camerahmr-h"])
def test_a_planted_redundant_layer_is_the_one_that_merges(name: str) -> None:
    net = shake(tiny(name), 0.1)
    idle = net.encoder.blocks[1]
    for layer in (idle.attn.proj, idle.mlp.fc2):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    before = list(net.encoder.blocks)
    trials: list[tuple[int, float]] = []
    recipe = choose_layers(net, 3, lambda low, mm: trials.append((low, mm)))
    # A pair becomes its upper block, so that the idle block 1 goes with 2 at no cost.
    assert recipe.windows == ((1, 2),) and recipe.blocks_left == 3
    assert [low for low, _ in trials] == [0, 1, 2] and trials[1][1] < 1e-3 < trials[0][1]
    assert list(net.encoder.blocks) == before and choose_layers(net, 4).windows == ()
    with pytest.raises(ValueError, match="2 to 4 can be kept"):
        choose_layers(net, 5)
    with pytest.raises(ValueError, match="needs a flat ViT, this is Swin"):
        choose_layers(tiny("swin-t-s2"), 3)


def test_the_cheapest_pairs_are_disjoint() -> None:
    costs = [(5.0, 0), (1.0, 1), (1.5, 2), (9.0, 3)]
    assert _cheapest(costs, 1, 5) == ((1, 2),)
    assert _cheapest(costs, 2, 5) == ((0, 1), (2, 3))
    assert _cheapest(costs, 0, 5) == ()


@pytest.mark.slow
def test_the_chain_at_full_width(tmp_path: Path) -> None:
    """HMR2.0's own size in a process of its own, so that memory can be measured (and the sizes are the real ones)."""
    arguments = [sys.executable, "-c", FULL_WIDTH, str(tmp_path / "official.ckpt"), str(tmp_path / "p")]
    done = subprocess.run(arguments, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "merged: 32 -> 28 layers, 192 -> 90 tokens" in done.stdout
    assert float(done.stdout.split()[-2]) < 24
    assert load_package(tmp_path / "p").info.arguments["blocks"] == 28
