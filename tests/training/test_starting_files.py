"""`--init` takes published encoders' files, by whatever names they are stored under."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.networks.registry_cases import tiny
from training.initialise import weights_from
from training.starting_files import resized_places

State = dict[str, torch.Tensor]


def drawn(net: nn.Module) -> State:
    torch.manual_seed(1)
    return {k: torch.randn_like(v) if v.is_floating_point() else v for k, v in net.state_dict().items()}


def saved(path: Path, state: State, container: str | None = "model") -> Path:
    torch.save({container: state} if container else state, path)
    return path


def check(net: nn.Module, path: Path, ours: State, but: str = r"^norms\.") -> None:
    """All of the encoder `ours`, but keys that match, is in the weights that a training starts with."""
    weights, words = weights_from(net, path)
    assert weights.keys() == net.state_dict().keys()
    taken = [key for key in ours if not re.match(but, key)]
    assert f"backbone {len(taken)} of" in words and "smpl_head 0 of" in words, words
    for key in taken:
        torch.testing.assert_close(weights[f"backbone.{key}"], ours[key])


def test_the_swin_of_microsoft_and_of_timm(tmp_path: Path) -> None:
    net = tiny("swin-b-s3")
    ours = drawn(net.backbone)
    timm = {k: v for k, v in ours.items() if not k.startswith("norms.")} | {"head.weight": torch.zeros(3, 64)}
    check(net, saved(tmp_path / "timm.pth", timm, None), ours)
    # Microsoft's patch merging is stored with the stage before it.
    number = re.compile(r"layers\.(\d)\.downsample")
    official = {number.sub(lambda m: f"layers.{int(m[1]) - 1}.downsample", k): v for k, v in timm.items()}
    assert official.keys() != timm.keys()
    check(net, saved(tmp_path / "official.pth", official), ours)


def test_group_mix_former_and_vmamba(tmp_path: Path) -> None:
    net = tiny("gmf-t-s2")
    ours = drawn(net.backbone)
    check(net, saved(tmp_path / "gmf.pth", {k: v for k, v in ours.items() if "norms." not in k}), ours)
    net = tiny("vmamba-t-s2")
    ours = drawn(net.backbone)
    parts = {"conv1": "0", "norm1": "2", "conv2": "5", "norm2": "7", "conv": "1", "norm": "3"}
    official: State = {}
    for key, value in ours.items():
        key = re.sub(r"^patch_embed\.(\w+)", lambda m: f"patch_embed.{parts[m[1]]}", key)
        key = re.sub(r"^stages\.(\d+)\.(\d+)\.", r"layers.\1.blocks.\2.", key)
        key = re.sub(r"^downsamples\.(\d+)\.(\w+)\.", lambda m: f"layers.{m[1]}.downsample.{parts[m[2]]}.", key)
        if not key.startswith("norms."):
            official[key] = value
    check(net, saved(tmp_path / "vmamba.pth", official), ours)


@pytest.mark.parametrize(("model", "prefix"), [("hmr2-s", ""), ("hmr2-s-fast", "vit.")])
def test_vitpose_and_a_vit_alone_of_another_grid(model: str, prefix: str, tmp_path: Path) -> None:
    pose = drawn(tiny("pose-vit-s"))
    net = tiny(model)
    weights, _ = weights_from(net, saved(tmp_path / "vitpose.pth", pose, "state_dict"))
    key = "blocks.1.mlp.fc1.weight"
    torch.testing.assert_close(weights[f"backbone.{prefix}{key}"], pose[f"backbone.{key}"])
    alone = {k.removeprefix("backbone."): v for k, v in pose.items() if k.startswith("backbone.")}
    alone["pos_embed"] = torch.randn(1, 1 + 7 * 7, alone["pos_embed"].shape[2])  # of a square picture, as MAE's
    weights, words = weights_from(net, saved(tmp_path / "mae.pth", alone))
    count = len(net.backbone.state_dict())
    assert f"backbone {count} of {count}" in words
    torch.testing.assert_close(weights[f"backbone.{prefix}pos_embed"][:, 0], alone["pos_embed"][:, 0])


def test_places_are_resized_and_kept_where_they_fit() -> None:
    table = torch.cat([torch.full((1, 1, 2), 9.0), torch.full((1, 16, 2), 3.0)], dim=1)
    assert resized_places(table, (4, 4)) is table
    found = resized_places(table, (4, 3))
    torch.testing.assert_close(found[:, 0], table[:, 0])
    torch.testing.assert_close(found[:, 1:], torch.full((1, 12, 2), 3.0))


def test_a_foreign_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nothing in it fits"):
        weights_from(tiny("swin-t-s2"), saved(tmp_path / "else.pt", {"something": torch.zeros(1)}, None))
