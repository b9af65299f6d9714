"""The layers that several networks share."""

from __future__ import annotations

import pytest
import torch

from bodycast.hmr.networks.layers import ChannelNorm, DropPath, drop_path_rates, map_to_tokens, tokens_to_map


def test_drop_path_drops_whole_items_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    layer = DropPath(0.25).train()
    out = layer(torch.ones(4000, 3, 2))
    per_item = out.flatten(1)
    assert torch.equal(per_item.amin(dim=1), per_item.amax(dim=1))
    assert sorted(set(per_item[:, 0].tolist())) == pytest.approx([0.0, 1 / 0.75])
    assert out.mean() == pytest.approx(1.0, abs=0.05)
    x = torch.randn(2, 3)
    assert torch.equal(layer.eval()(x), x)


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_a_drop_path_rate_outside_0_to_1_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="must lie in"):
        DropPath(rate)


def test_drop_path_rates_rise_to_the_highest() -> None:
    assert drop_path_rates(0.3, 4) == pytest.approx([0.0, 0.1, 0.2, 0.3])
    assert drop_path_rates(0.3, 1) == [0.0]


def test_tokens_and_maps_are_two_views_of_one_thing() -> None:
    x = torch.randn(2, 5, 3, 4)
    tokens = map_to_tokens(x)
    assert torch.equal(tokens[:, 4 * 2 + 1], x[:, :, 2, 1])
    assert torch.equal(tokens_to_map(tokens, (3, 4)), x)


def test_channel_norm_norms_each_position() -> None:
    out = ChannelNorm(6)(torch.randn(2, 6, 3, 4) * 5 + 3)
    torch.testing.assert_close(out.mean(dim=1), torch.zeros(2, 3, 4), atol=1e-5, rtol=0)
    torch.testing.assert_close(out.std(dim=1, unbiased=False), torch.ones(2, 3, 4), atol=1e-3, rtol=0)
