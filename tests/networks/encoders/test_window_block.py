"""Our Swin block computes what timm's does, with fewer products."""

from __future__ import annotations

import pytest
import torch
from timm.models.swin_transformer import SwinTransformerBlock

from bodycast.hmr.networks.encoders.window_block import WindowBlock, window_indices


@pytest.mark.parametrize("shift", [0, 3])
@pytest.mark.parametrize("grid_hw", [(14, 14), (16, 12), (8, 9), (6, 5)])
def test_equals_timm(grid_hw: tuple[int, int], shift: int) -> None:
    """Grids that windows fill, that need padding, and that are smaller than a window."""
    torch.manual_seed(0)
    theirs = SwinTransformerBlock(8, grid_hw, num_heads=2, shift_size=shift).eval()
    for parameter in theirs.parameters():
        parameter.data.add_(0.3 * torch.randn_like(parameter))
    x = torch.randn(2, *grid_hw, 8, requires_grad=True)
    expected = theirs(x)
    (gradient,) = torch.autograd.grad(expected.square().sum(), x)
    ours = WindowBlock(theirs)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    actual = ours(x)
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(torch.autograd.grad(actual.square().sum(), x)[0], gradient, atol=1e-4, rtol=1e-4)


def test_every_token_is_found_again() -> None:
    to_windows, from_windows = window_indices((5, 4), (3, 3), (1, 1))
    assert len(to_windows) == 6 * 6 and int((to_windows == 20).sum()) == 36 - 20
    torch.testing.assert_close(to_windows[from_windows], torch.arange(20))
    # The first window starts where the map was rolled to: its second row and column.
    assert to_windows[:9].tolist() == [5, 6, 7, 9, 10, 11, 13, 14, 15]
