"""Deformable attention and the decoder on it: definition, sizes, sharing, export."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from bodycast.hmr.networks.decoders.deformable import (
    DeformableAttention,
    DeformableSmplDecoder,
    sample_and_weigh,
)
from bodycast.hmr.networks.decoders.smpl_transformer import SmplPrediction
from tests.networks.network_checks import check_batch_independent, check_every_parameter_learns, shake
from tests.networks.onnx_helpers import build_with_tensorrt_rtx, export_and_compare

OUTPUTS = ["pose6d", "rotmat", "betas", "camera", "token", "score"]


class FromMaps(nn.Module):
    """The decoder with its maps as positional inputs."""

    def __init__(self, decoder: DeformableSmplDecoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, *maps: Tensor) -> SmplPrediction:
        return self.decoder(list(maps))


def tiny(**changes: object) -> FromMaps:
    torch.manual_seed(0)
    arguments = {"width": 16, "heads": 2, "points": 3, "layers": 2, "ff_width": 24, "score": True}
    return shake(FromMaps(DeformableSmplDecoder([16, 12], **(arguments | changes))))


def maps(batch: int) -> list[Tensor]:
    return [torch.randn(batch, 16, 8, 6), torch.randn(batch, 12, 4, 3)]


def test_sampling_a_cell_centre_reads_that_cell() -> None:
    shapes = [(4, 3)]
    value = torch.arange(12.0).reshape(1, 12, 1, 1)
    x, y = 2, 1
    location = torch.tensor([(x + 0.5) / 3, (y + 0.5) / 4]).reshape(1, 1, 1, 1, 1, 2)
    read = sample_and_weigh(value, shapes, location, torch.ones(1, 1, 1, 1, 1))
    assert read.item() == pytest.approx(y * 3 + x, abs=1e-4)


def test_outside_reads_zero_and_weights_add_up() -> None:
    value = torch.ones(1, 12, 1, 1)
    locations = torch.tensor([[0.5, 0.5], [3.0, 3.0]]).reshape(1, 1, 1, 1, 2, 2)
    weights = torch.tensor([0.25, 0.75]).reshape(1, 1, 1, 1, 2)
    assert sample_and_weigh(value, [(4, 3)], locations, weights).item() == pytest.approx(0.25)


def test_points_start_on_rays_and_temperature_spreads_them() -> None:
    attention = DeformableAttention(8, 4, 1, 2)
    offsets = attention.sampling_offsets.bias.reshape(4, 2, 2)
    torch.testing.assert_close(offsets[:, 1], 2 * offsets[:, 0])
    assert offsets[:, 0].abs().amax(dim=-1).allclose(torch.ones(4))
    # A ramp along x, read around the middle: the first head's ray points to the right.
    attention.value_proj = None
    attention.output_proj = nn.Identity()
    memory = torch.arange(11.0).repeat(11).reshape(1, 121, 1).expand(-1, -1, 8)
    reference = torch.full((1, 1, 1, 2), 0.5)
    near = attention(torch.zeros(1, 1, 8), reference, memory, [(11, 11)])
    attention.offset_temperature = 2.0
    far = attention(torch.zeros(1, 1, 8), reference, memory, [(11, 11)])
    assert near[0, 0, 0].item() == pytest.approx(5 + 1.5, abs=1e-4)
    assert far[0, 0, 0].item() == pytest.approx(5 + 3.0, abs=1e-4)


def test_paper_size_explains_the_papers_count() -> None:
    with torch.device("meta"):
        decoder = DeformableSmplDecoder.from_preset("paper", [1280, 1280])
    total = 630.9 + sum(p.numel() for p in decoder.parameters()) / 1e6  # with ViT-H; the paper prints 713 M
    assert total == pytest.approx(713, abs=0.5)


@pytest.mark.parametrize("value_projection", ["per_layer", "shared"])
def test_batch_and_gradients(value_projection: str) -> None:
    decoder = tiny(value_projection=value_projection)
    check_batch_independent(decoder, maps(5))
    check_every_parameter_learns(decoder, maps(5))


def test_sharing_the_value_projection_leaves_one() -> None:
    def projections(**changes: object) -> int:
        return sum("value_proj.weight" in name for name, _ in tiny(**changes).named_parameters())

    assert projections() == 2
    assert projections(value_projection="shared") == 1


def test_wrong_maps_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(16, 12\)"):
        tiny()(torch.zeros(1, 16, 8, 6))
    with pytest.raises(ValueError, match="multiple"):
        DeformableAttention(10, 4, 1, 1)
    with pytest.raises(KeyError, match="light"):
        DeformableSmplDecoder.from_preset("heavy", [8])


@pytest.mark.trt
@pytest.mark.parametrize("value_projection", ["per_layer", "shared"])
def test_exports(value_projection: str, tmp_path: Path) -> None:
    path = export_and_compare(tiny(value_projection=value_projection), maps(3), OUTPUTS, tmp_path)
    build_with_tensorrt_rtx(path)
