"""The joint bilateral upsampler and FeatUp's downsampler, portrait maps above all."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bodycast.hmr.networks.upsampling.jbu import AttentionDownsampler, JbuStack, JointBilateralUpsampler, MapUpsampler
from tests.networks.network_checks import check_batch_independent, check_every_parameter_learns, shake
from tests.networks.onnx_helpers import build_with_tensorrt_rtx, export_and_compare


def tiny(factor: int = 4) -> JbuStack:
    torch.manual_seed(0)
    return shake(JbuStack(5, factor), std=0.05)


@pytest.mark.parametrize("factor", [4, 8, 16])
def test_portrait_maps_of_a_256x192_crop(factor: int) -> None:
    with torch.no_grad():
        out = tiny(factor)(torch.randn(1, 5, 16, 12), torch.randn(1, 3, 256, 192))
    assert tuple(out.shape) == (1, 5, 16 * factor, 12 * factor)
    assert torch.isfinite(out).all()


def test_parameters_per_stage() -> None:
    assert sum(p.numel() for p in JointBilateralUpsampler().parameters()) == 6_233


def test_kernels_are_normalised_and_follow_edges() -> None:
    torch.manual_seed(0)
    stage = JointBilateralUpsampler().eval()
    stage.range_proj = torch.nn.Identity()
    guidance = torch.full((1, 3, 16, 12), -1.0)
    guidance[..., 6:] = 1.0
    with torch.no_grad():
        kernel = stage.kernel(guidance)
    torch.testing.assert_close(kernel.sum(1), torch.ones(1, 16, 12))
    beside_edge = kernel[0, :, 8, 5].unflatten(0, (7, 7))
    assert beside_edge[3, 2] > beside_edge[3, 4]  # the neighbour across the edge counts less


def test_constant_features_stay_constant_without_the_correction() -> None:
    stage = JointBilateralUpsampler().eval()
    with torch.no_grad():
        stage.fixup_proj[3].weight.zero_(), stage.fixup_proj[3].bias.zero_()
        out = stage(torch.full((1, 2, 4, 3), 7.0), torch.randn(1, 3, 8, 6))
    torch.testing.assert_close(out, torch.full((1, 2, 8, 6), 7.0), rtol=0, atol=1e-5)


def test_batch_and_gradients() -> None:
    inputs = [torch.randn(3, 5, 4, 4), torch.randn(3, 3, 32, 32)]
    check_batch_independent(tiny(), inputs)
    check_every_parameter_learns(tiny(), inputs)


def test_one_upsampler_per_tap() -> None:
    upsampler = MapUpsampler([5, 7], factor=2).eval()
    with torch.no_grad():
        out = upsampler([torch.randn(1, 5, 8, 6), torch.randn(1, 7, 8, 6)], torch.randn(1, 3, 64, 48))
    assert [tuple(m.shape) for m in out] == [(1, 5, 16, 12), (1, 7, 16, 12)]


def test_other_factors_are_refused() -> None:
    with pytest.raises(ValueError, match="2, 4, 8 or 16"):
        JbuStack(5, 3)


@pytest.mark.parametrize("hw", [(256, 192), (224, 224), (192, 256)])
def test_downsampler_takes_any_aspect(hw: tuple[int, int]) -> None:
    grid = (hw[0] // 16, hw[1] // 16)
    down = AttentionDownsampler(3, grid).eval()
    with torch.no_grad():
        out = down(torch.full((1, 3, *hw), 2.0))
    torch.testing.assert_close(out, torch.full((1, 3, *grid), 2.0), rtol=0, atol=1e-4)


def test_downsampler_learns_and_averages_its_own_patch() -> None:
    down = AttentionDownsampler(2, (4, 3), patch=8, blur=False).eval()
    ramp = torch.arange(24.0).expand(1, 2, 32, 24)
    with torch.no_grad():
        down.attention.weight.zero_(), down.attention.bias.zero_()
        torch.testing.assert_close(down(ramp)[0, 0, 0], torch.tensor([3.5, 11.5, 19.5]))
    torch.manual_seed(0)
    # The bias of the linear map is constant over a patch only where w is: noise tells all of them apart.
    check_every_parameter_learns(shake(AttentionDownsampler(2, (4, 3), patch=8)), [torch.randn(1, 2, 32, 24)])
    with pytest.raises(ValueError, match="do not fit"):
        AttentionDownsampler(2, (4, 3))(torch.randn(1, 2, 16, 16))


@pytest.mark.trt
def test_exports(tmp_path: Path) -> None:
    inputs = [torch.randn(3, 5, 4, 4), torch.randn(3, 3, 16, 16)]
    path = export_and_compare(tiny(2), inputs, ["features"], tmp_path)
    build_with_tensorrt_rtx(path)
