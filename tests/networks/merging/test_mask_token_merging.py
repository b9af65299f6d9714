"""Mask-guided token merging: matching, masks, unmerging, whole ViTs, export."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bodycast.hmr.networks.encoders.vit import ViT
from bodycast.hmr.networks.merging import mask_token_merging
from bodycast.hmr.networks.merging.mask_token_merging import (
    FASTHMR_SCHEDULE,
    TokenMergingVit,
    match_tokens,
    matching_margin,
    merge_sum,
    merge_tokens,
    most_merges,
    protected_tokens,
    unmerge_tokens,
)
from tests.networks.network_checks import check_batch_independent, check_every_parameter_learns, shake
from tests.networks.onnx_helpers import build_with_tensorrt_rtx, export_and_compare

IMAGE_HW = (64, 48)
# Rounding differs by about 1e-6 between programs, and similarities with it.
CLEAR_MARGIN = 1e-5


def tiny_vit() -> ViT:
    torch.manual_seed(0)
    return shake(ViT(24, 3, 2, image_hw=IMAGE_HW))


def tokens(batch: int = 2, count: int = 13, width: int = 6, seed: int = 0) -> Tensor:
    return torch.randn(batch, count, width, generator=torch.Generator().manual_seed(seed))


def source_of(matching, batch: int, count: int) -> Tensor:
    return merge_sum(torch.eye(count).expand(batch, -1, -1), matching)


@pytest.mark.parametrize("size_weighted", [True, False])
def test_unmerge_has_the_mean_where_merged_and_the_token_elsewhere(size_weighted: bool) -> None:
    x = tokens()
    matching = match_tokens(tokens(seed=1), 4)
    merged, size = merge_tokens(x, torch.ones(2, 13, 1), matching, size_weighted)
    source = source_of(matching, 2, 13)
    back = unmerge_tokens(merged, source)
    for image in range(2):
        for row in source[image]:
            members = row.nonzero().flatten()
            torch.testing.assert_close(back[image, members], x[image, members].mean(0).expand(len(members), -1))
    assert int((size == 1).sum()) < size.numel()
    torch.testing.assert_close(size.squeeze(-1), source.sum(-1))


def test_the_most_alike_pairs_merge() -> None:
    metric = torch.eye(8).repeat(1, 1, 1)
    metric[0, 5] = metric[0, 2] + 0.01  # token 2 (A) and token 5 (B) are nearly the same
    source = source_of(match_tokens(metric, 1), 1, 8)
    pair = [row.nonzero().flatten().tolist() for row in source[0] if row.sum() > 1]
    assert pair == [[2, 5]]


def test_second_merge_weighs_by_size() -> None:
    x = torch.tensor([[[0.0], [4.0], [8.0], [1.0]]])
    size = torch.tensor([[[1.0], [3.0], [1.0], [1.0]]])
    metric = torch.tensor([[[1.0, 0.0], [1.0, 0.01], [0.0, 1.0], [-1.0, 0.0]]])
    matching = match_tokens(metric, 1)
    weighted, merged_size = merge_tokens(x, size, matching)
    plain, _ = merge_tokens(x, size, matching, size_weighted=False)
    assert weighted[0, 1, 0].item() == pytest.approx(3.0) and plain[0, 1, 0].item() == pytest.approx(2.0)
    assert merged_size[0, 1, 0].item() == 4


def test_protected_tokens_merge_last() -> None:
    x = tokens(count=20)
    protected = torch.zeros(2, 20)
    protected[:, :8] = 1
    source = source_of(match_tokens(x, 6, protected), 2, 20)  # 6 free A tokens, 6 free B tokens
    merged_rows = source[source.sum(-1) > 1]
    assert merged_rows[:, :8].sum() == 0


def test_all_protected_is_the_same_as_none_protected_and_repeatable() -> None:
    x = tokens(count=20)
    first, second = (source_of(match_tokens(x, 6, torch.ones(2, 20)), 2, 20) for _ in range(2))
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    torch.testing.assert_close(first, source_of(match_tokens(x, 6), 2, 20), rtol=0, atol=0)


def test_any_pixel_of_the_person_protects_the_patch_that_sees_it() -> None:
    mask = torch.zeros(1, 256, 192)
    mask[0, 40, 100] = 255  # patch row (40 + 2) // 16 = 2, column (100 + 2) // 16 = 6
    protected = protected_tokens(mask, (256, 192), (16, 12))
    assert protected.nonzero().tolist() == [[0, 2 * 12 + 6]]
    assert protected_tokens(torch.ones(1, 16, 12, dtype=torch.bool), (256, 192), (16, 12)).sum() == 192
    with pytest.raises(ValueError, match=r"\(256, 192\)"):
        protected_tokens(torch.zeros(1, 192, 256), (256, 192), (16, 12))


def test_impossible_counts_are_refused() -> None:
    assert most_merges(192) == 96 and most_merges(193, class_token=True) == 96
    with pytest.raises(ValueError, match="0 to 6"):
        match_tokens(tokens(), 7)
    with pytest.raises(ValueError, match="block 1"):
        TokenMergingVit(tiny_vit(), (6, 4))
    with pytest.raises(ValueError, match="4 blocks"):
        TokenMergingVit(tiny_vit(), (1, 1, 1, 1))


def test_fasthmr_schedule_leaves_90_tokens() -> None:
    with torch.device("meta"):
        vit = ViT(24, 3, 2)
    assert TokenMergingVit(vit, FASTHMR_SCHEDULE).tokens_out == 90


def test_merging_nothing_is_the_plain_vit() -> None:
    vit = tiny_vit()
    images = torch.randn(2, 3, *IMAGE_HW)
    with torch.no_grad():
        torch.testing.assert_close(TokenMergingVit(vit, ())(images), vit.forward_tokens(images))
        torch.testing.assert_close(TokenMergingVit(vit, (0, 0)).forward_map(images), vit(images)[-1])


@pytest.mark.parametrize("proportional", [True, False])
def test_batch_and_gradients(proportional: bool) -> None:
    net = TokenMergingVit(tiny_vit(), (3, 2), proportional_attention=proportional)
    images, mask = torch.randn(5, 3, *IMAGE_HW), torch.rand(5, *IMAGE_HW) > 0.998
    assert tuple(net(images, mask).shape) == (5, 7, 24)
    check_batch_independent(net, [images, mask])
    check_every_parameter_learns(net, [images, mask])


def test_the_mask_keeps_the_person_apart() -> None:
    net = TokenMergingVit(tiny_vit(), (3, 1))
    images = torch.randn(2, 3, *IMAGE_HW)
    person = torch.zeros(2, 4, 3)
    person[:, 1:3, 1] = 1
    with torch.no_grad():
        merged = net.forward_merged(images, person)
    assert merged.source is not None
    holders = merged.source[:, :, person[0].flatten().bool()]
    sizes = merged.size.expand_as(holders)[holders > 0]
    assert (sizes == 1).all()
    assert int((merged.size > 1).sum()) > 0


class _MaskAsInput(nn.Module):
    def __init__(self, net: TokenMergingVit) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        return self.net(images, mask), self.net.forward_map(images, mask)


@pytest.mark.trt
def test_exports_with_mask(tmp_path: Path) -> None:
    net = _MaskAsInput(TokenMergingVit(tiny_vit(), (3, 2)))
    inputs = [torch.randn(3, 3, *IMAGE_HW), (torch.rand(3, *IMAGE_HW) > 0.99).to(torch.uint8)]
    path = export_and_compare(net, inputs, ["tokens", "map"], tmp_path)
    build_with_tensorrt_rtx(path)


@pytest.mark.trt
def test_exports_without_mask(tmp_path: Path) -> None:
    path = export_and_compare(TokenMergingVit(tiny_vit(), (3, 2)), [torch.randn(3, 3, *IMAGE_HW)], ["tokens"], tmp_path)
    build_with_tensorrt_rtx(path)


def test_the_margin_is_what_the_choice_hangs_on() -> None:
    # Tokens on a circle: A at 0, 90 and 180 degrees; B 10 and 40 away from the first two, all else far.
    angles = torch.deg2rad(torch.tensor([[0.0, 10.0, 90.0, 130.0, 215.0, 300.0]]))
    metric = torch.stack((angles.cos(), angles.sin()), dim=-1)

    def alike(degrees: float) -> float:
        return math.cos(math.radians(degrees))

    # One merge: the pair at 10 degrees against the next best one, 130 - 90.
    assert float(matching_margin(metric, 1)) == pytest.approx(alike(10) - alike(40), abs=1e-6)
    # Three merges: nothing is left to compare with, but 215 degrees lies 85 from both 130 and 300.
    assert float(matching_margin(metric, 3)) == pytest.approx(0.0, abs=1e-6)
    assert float(matching_margin(metric, 0)) == math.inf


def test_proposals_that_are_exactly_as_good_merge_in_their_order() -> None:
    metric = torch.tensor([1.0, 0.0]).expand(1, 80, 2)
    matching = match_tokens(metric, 9)
    assert matching.merged.tolist() == [list(range(9))] and matching.kept.tolist() == [list(range(9, 40))]
    assert matching.target.tolist() == [[0] * 9]


def test_onnx_runtime_merges_the_same_tokens_wherever_the_choice_is_clear(tmp_path: Path, monkeypatch) -> None:
    """At the real 192 tokens: where rounding decides nothing the graph is exact, and that is nearly everywhere."""
    torch.manual_seed(0)
    net = TokenMergingVit(shake(ViT(48, 4, 3), 0.05)).eval()
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(12, 3, 256, 192, generator=generator)
    smooth = F.interpolate(torch.randn(12, 3, 16, 12, generator=generator), (256, 192), mode="bicubic")
    images = torch.cat((noise, smooth))
    margins: list[Tensor] = []

    def note(metric: Tensor, merges: int, protected: Tensor | None = None, class_token: bool = False):
        margins.append(matching_margin(metric, merges, protected))
        return match_tokens(metric, merges, protected, class_token)

    with monkeypatch.context() as patch, torch.no_grad():
        patch.setattr(mask_token_merging, "match_tokens", note)
        net(images)
    assert len(margins) == 3
    clear = torch.stack(margins).amin(dim=0) > CLEAR_MARGIN
    assert clear.float().mean() > 0.8
    chosen = images[clear]
    export_and_compare(net, [chosen], ["tokens"], tmp_path, batches=(1, len(chosen)))
