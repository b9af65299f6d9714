"""The vision transformer's own promises: taps, key bias, published sizes."""

from __future__ import annotations

import math

import pytest
import torch

from bodycast.hmr.networks.encoders.vit import SIZES, Attention, ViT, vit


@pytest.fixture
def net() -> ViT:
    torch.manual_seed(0)
    return ViT(16, 4, 2, image_hw=(64, 48)).eval()


def test_taps_are_the_tokens_after_those_blocks(net: ViT) -> None:
    images = torch.randn(2, 3, 64, 48)
    with torch.no_grad():
        second, last = net.forward_blocks(images, taps=(2, 4))
        tokens = net.blocks[1](net.blocks[0](net.embed(images)))
        normed = net.last_norm(last.flatten(2).transpose(1, 2))
        expected = net.forward_tokens(images)
    torch.testing.assert_close(second, tokens.transpose(1, 2).unflatten(2, net.grid_hw))
    torch.testing.assert_close(normed, expected)


@pytest.mark.parametrize("taps", [(), (0, 2), (2, 5), (3, 2), (2, 2)])
def test_taps_that_are_not_there_are_refused(net: ViT, taps: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="taps must rise within"):
        net.forward_blocks(torch.zeros(1, 3, 64, 48), taps)


def test_a_bias_of_log_n_on_a_key_acts_like_n_equal_tokens() -> None:
    """Proportional attention: what token merging needs the bias for."""
    torch.manual_seed(0)
    attention = Attention(12, 3)
    x = torch.randn(2, 5, 12)
    tripled = torch.cat([x, x[:, :1], x[:, :1]], dim=1)
    bias = torch.zeros(2, 5)
    bias[:, 0] = math.log(3.0)
    with torch.no_grad():
        expected, _ = attention(tripled)
        actual, _ = attention(x, bias)
        plain, _ = attention(x)
    torch.testing.assert_close(actual, expected[:, :5])
    assert (plain - actual).abs().max() > 1e-3


def test_attention_gives_the_keys_averaged_over_heads() -> None:
    attention = Attention(12, 3)
    x = torch.randn(2, 5, 12)
    _, keys = attention(x)
    expected = attention.qkv(x)[..., 12:24].unflatten(2, (3, 4)).mean(dim=2)
    torch.testing.assert_close(keys, expected)


def test_a_block_is_its_two_halves(net: ViT) -> None:
    x = torch.randn(1, 12, 16)
    block = net.blocks[0]
    after_attention, _ = block.forward_attention(x)
    torch.testing.assert_close(block(x), block.forward_mlp(after_attention))


@pytest.mark.parametrize("size", SIZES)
def test_published_sizes_have_the_released_shapes(size: str) -> None:
    with torch.device("meta"):
        net = vit(size)
    dim = SIZES[size].dim
    assert net.grid_hw == (16, 12)
    assert net.pos_embed.shape == (1, 193, dim)
    assert net.blocks[-1].attn.qkv.weight.shape == (3 * dim, dim)
    assert net.blocks[-1].mlp.fc1.weight.shape == (4 * dim, dim)


def test_an_unknown_size_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match="s, b, l, h"):
        vit("xl")
