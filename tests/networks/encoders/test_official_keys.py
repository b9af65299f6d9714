"""Official weights load by name: against timm's and torchvision's own classes, where they agree with ours."""

from __future__ import annotations

import pytest
import torch
from timm.models.swin_transformer import SwinTransformer
from torch import Tensor, nn

from bodycast.hmr.networks.encoders import official_keys
from bodycast.hmr.networks.encoders.swin import Swin
from bodycast.hmr.networks.encoders.vmamba import VMamba

DEPTHS, HEADS = (1, 2, 2, 1), (1, 2, 2, 4)
SQUARE = (112, 112)  # grids 28, 14, 7 are multiples of the window


def randomise(net: nn.Module) -> None:
    """Every parameter random, so that none is hidden by a zero or a one."""
    torch.manual_seed(0)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn_like(p) * 0.2)


def test_torchvision_weights_give_torchvision_maps_where_grids_fit_the_window() -> None:
    models = pytest.importorskip("torchvision.models.swin_transformer")
    theirs = models.SwinTransformer([4, 4], 8, list(DEPTHS), list(HEADS), [7, 7], num_classes=3).eval()
    randomise(theirs)
    ours = Swin(8, DEPTHS, HEADS, stages=3, image_hw=SQUARE, norm="none").eval()
    ours.load_state_dict(official_keys.swin_torchvision(theirs.state_dict(), ours))
    images = torch.randn(2, 3, *SQUARE)
    with torch.no_grad():
        expected = theirs.features[:6](images).permute(0, 3, 1, 2)
        torch.testing.assert_close(ours(images)[-1], expected, rtol=1e-4, atol=1e-4)


@pytest.fixture
def timm_classifier() -> SwinTransformer:
    net = SwinTransformer(img_size=224, embed_dim=8, depths=DEPTHS, num_heads=HEADS, num_classes=5).eval()
    randomise(net)
    return net


def test_timm_classifier_loads_with_its_final_norm(timm_classifier: SwinTransformer) -> None:
    ours = Swin(8, DEPTHS, HEADS, image_hw=(224, 224)).eval()
    ours.load_state_dict(official_keys.swin_timm(timm_classifier.state_dict(), ours))
    images = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        expected = timm_classifier.forward_features(images).permute(0, 3, 1, 2)
        torch.testing.assert_close(ours(images)[-1], expected, rtol=1e-4, atol=1e-4)


def test_bias_tables_are_cut_to_the_smaller_window(timm_classifier: SwinTransformer) -> None:
    """224-pixel weights in a 256x192 network: the 8x6 grid has windows of 7x6. No offset changes its bias."""
    ours = Swin(8, DEPTHS, HEADS, image_hw=(256, 192)).eval()
    ours.load_state_dict(official_keys.swin_timm(timm_classifier.state_dict(), ours))
    small = ours.layers[3].blocks[0].attn
    large = timm_classifier.layers[3].blocks[0].attn
    assert small.window_size == (7, 6)

    def bias(attention: nn.Module, cell: tuple[int, int], other: tuple[int, int]) -> Tensor:
        columns = attention.window_size[1]
        index = attention.relative_position_index[cell[0] * columns + cell[1], other[0] * columns + other[1]]
        return attention.relative_position_bias_table[index]

    for cell, other in [((0, 0), (6, 5)), ((6, 5), (0, 0)), ((3, 1), (3, 1)), ((2, 5), (4, 0))]:
        torch.testing.assert_close(bias(small, cell, other), bias(large, cell, other))


def test_a_table_that_is_too_small_is_refused() -> None:
    small = Swin(8, DEPTHS, HEADS, image_hw=SQUARE, window_size=5)
    large = Swin(8, DEPTHS, HEADS, image_hw=SQUARE, window_size=7)
    with pytest.raises(ValueError, match="a window of 7x7 needs 169"):
        official_keys.swin_timm(small.state_dict(), large)


def test_a_cut_encoder_takes_only_what_it_has(timm_classifier: SwinTransformer) -> None:
    cut = Swin(8, DEPTHS, HEADS, stages=2, image_hw=(224, 224), norm="none")
    state = official_keys.swin_timm(timm_classifier.state_dict(), cut)
    cut.load_state_dict(state)
    assert not any(key.startswith(("layers.2", "norm", "head")) for key in state)


def test_vmamba_projections_may_be_stored_as_convolutions() -> None:
    net = VMamba((8, 16), (1, 1), 1.0, stages=2, image_hw=(64, 48))
    linear = net.stages[0][0].mlp.fc1.weight
    stored = {"layers.0.blocks.0.mlp.fc1.weight": linear.detach()[:, :, None, None]}
    assert official_keys.vmamba(stored, net)["stages.0.0.mlp.fc1.weight"].shape == linear.shape
