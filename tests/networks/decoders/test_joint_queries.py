"""The decoder with a query a joint: starts at the mean person, reads where the heat maps point, can grow, exports."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bodycast.hmr.networks.decoders.joint_queries import JointQueryDecoder
from bodycast.hmr.networks.hmr_net import ExportedHmr
from bodycast.hmr.networks.registry import build
from tests.networks.network_checks import check_batch_independent, check_every_parameter_learns, shake
from tests.networks.onnx_helpers import build_with_tensorrt_rtx, export_and_compare
from tests.networks.registry_cases import IMAGE_HW, SWIN

TINY = {"width": 16, "depth": 2, "heads": 2, "cross_width": 8, "mlp_width": 12}


def tiny(*channels: int) -> JointQueryDecoder:
    torch.manual_seed(0)
    return JointQueryDecoder(channels or (8, 12), **TINY, score=True)


def maps(count: int = 3) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(count, 8, 8, 6, generator=generator), torch.randn(count, 12, 4, 3, generator=generator)]


def test_starts_at_the_mean_person() -> None:
    out = tiny().eval()(maps())
    torch.testing.assert_close(out.rotmat, torch.eye(3).expand(3, 24, -1, -1), rtol=0, atol=0.2)
    torch.testing.assert_close(out.camera, torch.tensor([0.9, 0.0, 0.0]).expand(3, -1), rtol=0, atol=0.1)


def test_batch_and_gradients() -> None:
    decoder = shake(tiny())

    class Both(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = decoder

        def forward(self, finest: torch.Tensor, coarse: torch.Tensor) -> list[torch.Tensor]:
            prediction, seen = decoder.read([finest, coarse])
            return [*prediction[1:], seen.heatmaps, seen.joints]

    check_batch_independent(Both(), maps())
    check_every_parameter_learns(Both(), maps())


def test_a_heat_map_points_its_joint_at_a_cell() -> None:
    decoder = shake(tiny(8))
    with torch.no_grad():
        decoder.heatmaps.weight.zero_()
        decoder.heatmaps.weight[20, 0] = 50.0  # the left wrist is where channel 0 is
    finest = torch.randn(1, 8, 8, 6) * 0.1
    finest[0, 0] = 0
    seen = {}
    for cell in ((1, 1), (6, 4)):
        there = finest.clone()
        there[0, 0, cell[0], cell[1]] = 1.0
        memory, pooled = decoder._pooled(there, decoder.heatmaps(there))
        at = memory[0, cell[0] * 6 + cell[1]]
        y, x = (cell[0] + 0.5) / 8 - 0.5, ((cell[1] + 0.5) / 6 - 0.5) * 6 / 8
        told = torch.tensor([4 * x, 4 * y, float(decoder.heatmaps(there)[0, 20].detach().max()) / 4])
        torch.testing.assert_close(pooled[0, 20], decoder.see(at) + decoder.place(told), rtol=1e-3, atol=1e-3)
        seen[cell] = pooled
    assert (seen[1, 1][0, 20] - seen[6, 4][0, 20]).abs().max() > 1e-2


def test_keypoints_lie_around_the_peak() -> None:
    decoder = shake(tiny(8)).eval()
    with torch.no_grad():
        decoder.heatmaps.weight.zero_()
        decoder.heatmaps.bias.fill_(-20.0)
        decoder.heatmaps.weight[20, 0] = 20.0
    finest = torch.zeros(1, 8, 8, 6)
    finest[0, 0, 6, 4] = finest[0, 0, 6, 3] = 1.0  # between two cells
    finest[0, 0, 1, 1] = 0.9  # lower, and far away
    with torch.no_grad():
        keypoints = decoder([finest]).keypoints
    assert keypoints is not None and keypoints.shape == (1, 24, 3)
    x, y = (4.0 / 6 - 0.5) * 6 / 8, 6.5 / 8 - 0.5
    torch.testing.assert_close(keypoints[0, 20], torch.tensor([x, y, 0.5]), atol=1e-4, rtol=0)


def test_coarser_maps_say_nothing_at_first() -> None:
    one, two = tiny(8).eval(), tiny().eval()
    missing = two.load_state_dict(one.state_dict(), strict=False)
    assert sorted(missing.missing_keys) == ["lateral.0.bias", "lateral.0.weight"]
    torch.testing.assert_close(one(maps()[:1]).pose6d, two(maps()).pose6d)


def test_other_maps_are_refused() -> None:
    with pytest.raises(ValueError, match="finest first"):
        tiny()(maps()[::-1])


@pytest.mark.parametrize("stages", [2, 3])
def test_in_a_network(stages: int, tmp_path: Path) -> None:
    sizes = {"queries": "joints", **TINY}
    net = build(f"swin-t-s{stages}", size=SWIN, image_hw=IMAGE_HW, decoder=sizes, pool=2)
    crops = torch.randint(0, 255, (3, *IMAGE_HW, 3), dtype=torch.uint8)
    exported = ExportedHmr(shake(net, 0.05))
    build_with_tensorrt_rtx(export_and_compare(exported, (crops,), exported.output_names, tmp_path))


def test_as_large_as_the_papers_decoder() -> None:
    with torch.device("meta"):
        ours, theirs = build("swin-t-s2", decoder="joint-queries"), build("swin-t-s2")
    assert sum(p.numel() for p in ours.parameters()) / 1e6 == pytest.approx(3.36, abs=0.01)
    assert sum(p.numel() for p in theirs.parameters()) / 1e6 == pytest.approx(3.43, abs=0.01)
