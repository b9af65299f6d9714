"""Heat-map heads: one size of heat map from every cut, export."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bodycast.hmr.networks.heads.pose_heatmap import ClassicHeatmapHead, SimpleHeatmapHead
from tests.networks.network_checks import check_batch_independent, check_every_parameter_learns, shake
from tests.networks.onnx_helpers import build_with_tensorrt_rtx, export_and_compare

HEADS = {
    "classic": lambda stride: shake(ClassicHeatmapHead(6, stride, 4, filters=8)),
    "simple": lambda stride: shake(SimpleHeatmapHead(6, stride, 4)),
}


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("stride", [4, 8, 16, 32])
def test_every_cut_gives_64x48(kind: str, stride: int) -> None:
    head = HEADS[kind](stride)
    with torch.no_grad():
        out = head(torch.randn(1, 6, 256 // stride, 192 // stride))
    assert tuple(out.shape) == (1, 4, 64, 48)


@pytest.mark.parametrize("kind", HEADS)
def test_batch_and_gradients(kind: str) -> None:
    check_batch_independent(HEADS[kind](16), [torch.randn(5, 6, 4, 3)])
    check_every_parameter_learns(HEADS[kind](16), [torch.randn(5, 6, 4, 3)])


def test_other_strides_are_refused() -> None:
    with pytest.raises(ValueError, match="power of two"):
        ClassicHeatmapHead(6, 12)


@pytest.mark.trt
@pytest.mark.parametrize("kind", HEADS)
def test_exports(kind: str, tmp_path: Path) -> None:
    path = export_and_compare(HEADS[kind](16), [torch.randn(3, 6, 4, 3)], ["heatmaps"], tmp_path)
    build_with_tensorrt_rtx(path)
