"""What every encoder promises, on tiny members of each family."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from bodycast.hmr.networks.encoders.group_mix_former import GroupMixFormer
from bodycast.hmr.networks.encoders.swin import Swin
from bodycast.hmr.networks.encoders.vit import ViT
from bodycast.hmr.networks.encoders.vmamba import VMamba
from tests.networks.onnx_helpers import build_with_tensorrt_rtx, export_and_compare

# 8x6 tokens at stride 16, as small as grids get that are no multiple of the Swin window.
SIZE_HW = (128, 96)
MAX_BATCH = 5

Builder = Callable[..., nn.Module]


def tiny_swin(stages: int = 4, image_hw: tuple[int, int] = SIZE_HW) -> nn.Module:
    return Swin(8, (1, 2, 1, 1), (1, 2, 2, 4), stages, image_hw)


def tiny_group_mix_former(stages: int = 4, image_hw: tuple[int, int] = SIZE_HW) -> nn.Module:
    return GroupMixFormer((10, 20, 20, 40), (1, 1, 1, 1), (2, 2, 2, 2), stages, image_hw)


def tiny_vmamba(stages: int = 4, image_hw: tuple[int, int] = SIZE_HW) -> nn.Module:
    return VMamba((8, 16, 24, 32), (1, 1, 1, 1), 2.0, stages, image_hw)


def tiny_vit(image_hw: tuple[int, int] = SIZE_HW) -> nn.Module:
    return ViT(16, 3, 2, image_hw=image_hw)


HIERARCHICAL: list[Builder] = [tiny_swin, tiny_group_mix_former, tiny_vmamba]
ALL: list[Builder] = [*HIERARCHICAL, tiny_vit]


def name(builder: Builder) -> str:
    return builder.__name__.removeprefix("tiny_")


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def images(batch: int, size_hw: tuple[int, int] = SIZE_HW) -> Tensor:
    return torch.randn(batch, 3, *size_hw)


@pytest.mark.parametrize("builder", ALL, ids=name)
@pytest.mark.parametrize("size_hw", [SIZE_HW, (192, 144)], ids=["128x96", "192x144"])
def test_feature_info_describes_the_maps(builder: Builder, size_hw: tuple[int, int]) -> None:
    net = builder(image_hw=size_hw).eval()
    with torch.no_grad():
        maps = net(images(2, size_hw))
    assert len(maps) == len(net.feature_info)
    for feature_map, (channels, stride) in zip(maps, net.feature_info, strict=True):
        rows, columns = (-(-side // stride) for side in size_hw)
        assert feature_map.shape == (2, channels, rows, columns)
        assert torch.isfinite(feature_map).all()
        assert feature_map.std() > 0.0


@pytest.mark.parametrize("builder", ALL, ids=name)
def test_every_parameter_has_a_gradient(builder: Builder) -> None:
    net = builder().train()
    # Random weights of the sum: the plain sum of a LayerNorm's output does not depend on its input.
    sum((m * torch.randn_like(m)).sum() for m in net(images(2))).backward()
    dead = [key for key, p in net.named_parameters() if p.grad is None or not p.grad.abs().max() > 0.0]
    assert dead == []


@pytest.mark.parametrize("builder", ALL, ids=name)
def test_an_image_is_encoded_alike_alone_and_in_a_batch(builder: Builder) -> None:
    net = builder().eval()
    batch = images(MAX_BATCH)
    with torch.no_grad():
        together = net(batch)
        for i in (0, MAX_BATCH - 1):
            for alone, joint in zip(net(batch[i : i + 1]), together, strict=True):
                torch.testing.assert_close(alone[0], joint[i], rtol=0, atol=1e-5)


@pytest.mark.parametrize("builder", HIERARCHICAL, ids=name)
@pytest.mark.parametrize("stages", [1, 2, 3])
def test_a_cut_encoder_is_the_front_of_the_whole(builder: Builder, stages: int) -> None:
    whole = builder(4).eval()
    cut = builder(stages).eval()
    front = {key: value for key, value in whole.state_dict().items() if key in cut.state_dict()}
    missing = cut.load_state_dict(front, strict=False).missing_keys
    assert all(key.startswith(f"norms.{stages - 1}.") for key in missing), "only the norm on the cut is its own"
    assert cut.feature_info == whole.feature_info[:stages]
    assert sum(p.numel() for p in cut.parameters()) < sum(p.numel() for p in whole.parameters())
    with torch.no_grad():
        x = images(1)
        for ours, theirs in zip(cut.forward_raw(x), whole.forward_raw(x)[:stages], strict=True):
            torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("builder", HIERARCHICAL, ids=name)
@pytest.mark.parametrize("stages", [0, 5])
def test_a_cut_that_is_not_there_is_refused(builder: Builder, stages: int) -> None:
    with pytest.raises(ValueError, match=f"cannot cut after stage {stages}"):
        builder(stages)


@pytest.mark.parametrize("builder", ALL, ids=name)
def test_images_of_another_size_are_refused(builder: Builder) -> None:
    net = builder()
    with pytest.raises(ValueError, match=r"must be \(B, 3, 128, 96\), got \(1, 3, 96, 128\)"):
        net(images(1).transpose(2, 3))


@pytest.fixture(scope="module", params=[*HIERARCHICAL, tiny_vit], ids=name)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder (cut after three stages, as shipped) as ONNX, already compared with torch."""
    torch.manual_seed(0)
    net = request.param() if request.param is tiny_vit else request.param(3)
    names = [f"map{i}" for i in range(len(net.feature_info))]
    folder = tmp_path_factory.mktemp(name(request.param))
    return export_and_compare(net, [images(3)], names, folder)


def test_onnx_runtime_equals_torch(exported: Path) -> None:
    assert exported.stat().st_size > 0


@pytest.mark.trt
def test_tensorrt_builds_an_engine(exported: Path) -> None:
    assert len(build_with_tensorrt_rtx(exported)) > 0
