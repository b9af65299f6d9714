"""The Deformable-DETR baseline: on a small backbone for the properties, on ResNet-50 for the shapes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from bodycast.hmr.networks.decoders.deformable_detr_baseline import DeformableDetrHmr, cell_centres
from tests.networks.network_checks import check_batch_independent, check_every_parameter_learns, shake
from tests.networks.onnx_helpers import build_with_tensorrt_rtx, export_and_compare

OUTPUTS = ["pose6d", "rotmat", "betas", "camera", "token", "score"]


class TinyBackbone(nn.Module):
    """Three maps of strides 8, 16 and 32."""

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList((nn.Conv2d(3, 4, 8, 8), nn.Conv2d(4, 6, 2, 2), nn.Conv2d(6, 8, 2, 2)))

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = []
        for convolution in self.convolutions:
            x = convolution(x)
            maps.append(x)
        return maps


def tiny() -> nn.Module:
    torch.manual_seed(0)
    net = DeformableDetrHmr(
        width=16,
        heads=2,
        points=2,
        layers=1,
        ff_width=24,
        score=True,
        backbone=TinyBackbone(),
        backbone_channels=(4, 6, 8),
    )
    return shake(net)


def test_batch_and_gradients() -> None:
    images = torch.randn(4, 3, 64, 64)
    check_batch_independent(tiny(), [images], tolerance=2e-5)
    check_every_parameter_learns(tiny(), [images])


def test_reference_points_are_cell_centres() -> None:
    centres = cell_centres([(2, 4)], torch.zeros(1))
    torch.testing.assert_close(centres[0], torch.tensor([0.125, 0.25]))
    torch.testing.assert_close(centres[-1], torch.tensor([0.875, 0.75]))


def test_resnet50_takes_a_crop() -> None:
    pytest.importorskip("timm")
    net = DeformableDetrHmr(width=32, heads=2, points=1, layers=1, ff_width=32).eval()
    with torch.no_grad():
        out = net(torch.randn(1, 3, 128, 96))
    assert tuple(out.rotmat.shape) == (1, 24, 3, 3)
    assert len(net.input_proj) == 4


@pytest.mark.trt
def test_exports(tmp_path: Path) -> None:
    path = export_and_compare(tiny(), [torch.randn(3, 3, 64, 64)], OUTPUTS, tmp_path)
    build_with_tensorrt_rtx(path)
