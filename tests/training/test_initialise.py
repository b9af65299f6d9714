"""Starting weights taken from checkpoints."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from bodycast.hmr.networks.hmr_net import HmrNet
from tests.training.toy import DECODER, JOINT_QUERIES, SWIN
from training.initialise import OFFSETS, convolution_like, helper_from, weights_from
from training.losses import HelperHeads
from training.network import build_network

IMAGE_HW = (64, 48)


def network(stages: int) -> HmrNet:
    size = SWIN | {"depths": [1] * stages, "heads": [1, 2, 4][:stages]}
    net = build_network(f"swin-t-s{stages}", IMAGE_HW, {"size": size, "drop_path": 0.0, "decoder": DECODER})
    assert isinstance(net, HmrNet)
    return net.eval()


@pytest.fixture
def stored(tmp_path: Path) -> tuple[HmrNet, HelperHeads, Path]:
    torch.manual_seed(3)
    shallow, helper = network(2), HelperHeads(32)
    for norm in shallow.backbone.norms[-1].parameters():
        torch.nn.init.normal_(norm, 0.5, 0.3)
    for readout in (shallow.smpl_head.decpose, shallow.smpl_head.deccam):
        torch.nn.init.normal_(readout.weight, 0, 0.1)
    path = tmp_path / "shallow.pt"
    torch.save({"state_dict": shallow.state_dict(), "helper": helper.state_dict()}, path)
    return shallow, helper, path


def test_a_network_goes_on_one_stage_deeper(stored: tuple[HmrNet, HelperHeads, Path]) -> None:
    shallow, _, path = stored
    deep = network(3)
    weights, words = weights_from(deep, path)
    deep.load_state_dict(weights)
    assert words.endswith("a stage deeper than what is stored")
    images = torch.rand(2, 3, *IMAGE_HW)
    with torch.no_grad():
        before, after = shallow.backbone(images)[-1], deep.backbone(images)[-1]
        means = after[:, ::2]
        # What the decoder reads as the stored map is that map, with half the rows and columns, up to its norm's scale.
        pooled = F.avg_pool2d(before, 2)
        assert torch.corrcoef(torch.stack([means.flatten(), pooled.flatten()]))[0, 1] > 0.97
        expected, found = shallow.smpl_head(means), deep.smpl_head(after)
    for name in ("pose6d", "betas", "camera"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), rtol=1e-4, atol=1e-4)


def test_helper_heads_read_the_deeper_map_as_they_read_the_stored_one(
    stored: tuple[HmrNet, HelperHeads, Path],
) -> None:
    _, helper, path = stored
    wide = HelperHeads(64)
    assert helper_from(wide, path)
    deeper = torch.randn(2, 64, 4, 3)
    with torch.no_grad():
        for found, expected in zip(wide(deeper), helper(deeper[:, ::2]), strict=True):
            torch.testing.assert_close(found, expected)


def test_a_checkpoint_without_its_last_norm_does_not_grow(
    stored: tuple[HmrNet, HelperHeads, Path], tmp_path: Path
) -> None:
    shallow, _, _ = stored
    path = tmp_path / "other.pt"
    kept = {key: value for key, value in shallow.state_dict().items() if ".norms." not in key}
    torch.save({"state_dict": kept}, path)
    _, words = weights_from(network(3), path)
    assert "deeper" not in words


def joint_network(stages: int) -> HmrNet:
    size = SWIN | {"depths": [1] * stages, "heads": [1, 2, 4][:stages]}
    net = build_network(f"swin-t-s{stages}", IMAGE_HW, {"size": size, "drop_path": 0.0, "decoder": JOINT_QUERIES})
    assert isinstance(net, HmrNet)
    return net.eval()


def test_helping_heat_maps_become_the_decoders_own(stored: tuple[HmrNet, HelperHeads, Path]) -> None:
    shallow, helper, path = stored
    net = joint_network(2)
    net.load_state_dict(weights_from(net, path)[0])
    images = torch.rand(2, 3, *IMAGE_HW)
    with torch.no_grad():
        expected, _ = helper(shallow.backbone(images)[-1])
        _, seen = net.smpl_head.read(net.context(images))
    torch.testing.assert_close(seen.heatmaps, expected)
    assert helper_from(HelperHeads(32, heatmaps=False), path)


def test_a_network_with_joint_queries_grows_and_answers_the_same(tmp_path: Path) -> None:
    torch.manual_seed(5)
    shallow, deep = joint_network(2), joint_network(3)
    torch.nn.init.normal_(shallow.smpl_head.readout_pose.weight, 0, 0.1)
    path = tmp_path / "shallow.pt"
    torch.save({"state_dict": shallow.state_dict()}, path)
    deep.load_state_dict(weights_from(deep, path)[0])
    images = torch.rand(2, 3, *IMAGE_HW)
    with torch.no_grad():
        torch.testing.assert_close(deep(images).pose6d, shallow(images).pose6d)


def test_a_vit_begins_by_looking_near_its_own_place() -> None:
    torch.manual_seed(7)
    size = {"dim": 96, "depth": 4, "heads": 3, "drop_path": 0.0}
    net = build_network("hmr2-s", (128, 96), {"size": size, "decoder": DECODER})
    assert isinstance(net, HmrNet)
    convolution_like(net.backbone)
    vit = net.backbone
    rows, columns = vit.grid_hw
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    place = torch.stack([y.flatten(), x.flatten()], dim=1).float()
    tokens = vit.embed(torch.randn(2, 3, 128, 96))
    for used, block in enumerate(vit.blocks):
        q, k, _ = block.attn.qkv(block.norm1(tokens)).unflatten(-1, (3, 3, 32)).permute(2, 0, 3, 1, 4)
        share = ((q * block.attn.scale) @ k.transpose(-1, -2)).softmax(-1)
        inner = (y.flatten() > 1) & (y.flatten() < rows - 2) & (x.flatten() > 1) & (x.flatten() < columns - 2)
        for head in range(3):
            seen = share[:, head] @ place - place
            wanted = torch.tensor(OFFSETS[(3 * used + head) % len(OFFSETS)], dtype=torch.float32)
            # The mean place that a token looks at: its neighbour's, drawn a little to the middle by what is far away.
            off = (seen[:, inner].mean((0, 1)) - wanted).abs()
            assert off.max() < 0.6, (used, head, seen[:, inner].mean((0, 1)))
            assert share[:, head, inner].amax(-1).mean() > 3 / (rows * columns)
        tokens = block(tokens)
