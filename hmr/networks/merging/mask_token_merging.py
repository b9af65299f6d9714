"""Mask-guided token merging (Mask-ToMe) for flat vision transformers.

Sources: FastHMR (Mehraban et al. 2025, arXiv 2510.10868), section on Mask-ToMe, for the mask, the schedule and
the fixed token count; Token Merging (Bolya et al. 2023, arXiv 2210.09461) for the matching. Written from the
papers' descriptions.

In each of the first blocks, between attention and MLP, tokens are split into A (even positions) and B (odd);
every A token proposes the B token whose attention keys are most alike, and the best proposals are merged into
their B tokens. Tokens that show the person are protected by the person's mask, so background merges first.

Where we differ, and why:
- FastHMR's text says that the third block merges 10 tokens, but 192 - 40 - 40 - 10 is not its 90 tokens, and
  its printed cost is met by 22: the default schedule is 40, 40, 22.
- Protected pairs get a finite penalty in place of minus infinity. Where a mask leaves fewer background pairs
  than must be merged, similarity then still ranks the rest: the most alike person tokens go first, and the same
  input always gives the same output.
- Every graph has fixed token counts and no scatter (whose reductions TensorRT refuses and ONNX gets wrong):
  merging gathers the survivors and adds the merged tokens by a product with a 0/1 matrix.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bodycast.hmr.networks.encoders.vit import PATCH_PADDING, Block, ViT
from bodycast.hmr.networks.layers import tokens_to_map

FASTHMR_SCHEDULE = (40, 40, 22)
"""Tokens merged away in the first three blocks: 192 -> 152 -> 112 -> 90."""

PROTECTION_PENALTY = 4.0
"""Cosine similarities lie in -1..1, so a penalty above 2 puts every protected pair behind every free one."""


class Matching(NamedTuple):
    """Which tokens merge, for a batch of B images with N tokens each and r merges.

    kept (B, ceil(N/2) - r), merged (B, r): indices into A, the tokens at even positions.
    target (B, r): for each merged token the index of its partner in B, the tokens at odd positions.
    """

    kept: Tensor
    merged: Tensor
    target: Tensor


class MergedTokens(NamedTuple):
    """tokens (B, M, C); size (B, M, 1): how many original tokens each one stands for; source (B, M, N), 0 or 1:
    which of the original tokens it holds, or None where it was not asked for."""

    tokens: Tensor
    size: Tensor
    source: Tensor | None


def most_merges(tokens: int, class_token: bool = False) -> int:
    """The largest number of merges that one matching of `tokens` tokens can make."""
    return (tokens - int(class_token)) // 2


def protected_tokens(mask: Tensor, image_hw: tuple[int, int], grid_hw: tuple[int, int]) -> Tensor:
    """Tokens that show any pixel of the person, (B, N) of 0 or 1, from a person mask.

    mask: (B, H, W), nonzero or true on the person, either of the image's size or already of the token grid's.
    A pixel counts for the patch that sees it: patches start two pixels early (the padding of HMR2.0's patches).
    Raises ValueError where the mask has neither size.
    """
    # To float first: TensorRT compares no uint8.
    mask = (mask.to(torch.float32) != 0).to(torch.float32)
    if tuple(mask.shape[-2:]) == tuple(grid_hw):
        return mask.flatten(1)
    if tuple(mask.shape[-2:]) != tuple(image_hw):
        raise ValueError(
            f"a person mask must have the image's size {tuple(image_hw)} or the token grid's {tuple(grid_hw)}, "
            f"got {tuple(mask.shape[-2:])}"
        )
    patch = (image_hw[0] // grid_hw[0], image_hw[1] // grid_hw[1])
    return F.max_pool2d(mask.unsqueeze(1), patch, stride=patch, padding=PATCH_PADDING).flatten(1)


def _similarities(metric: Tensor, protected: Tensor | None) -> Tensor:
    """Cosine similarities of A and B tokens, (B, ceil(N/2), N // 2), less the penalty of protected pairs."""
    metric = F.normalize(metric, dim=-1)
    scores = metric[:, 0::2] @ metric[:, 1::2].transpose(1, 2)
    if protected is None:
        return scores
    flags = protected.to(scores.dtype)
    touched = torch.maximum(flags[:, 0::2, None], flags[:, None, 1::2])
    return scores - PROTECTION_PENALTY * touched


def _descending(values: Tensor) -> Tensor:
    """Indices (B, n) that sort values (B, n) downwards, equal ones in their order.

    By counting: torch, ONNX Runtime and TensorRT each order equal values their own way, and torch's stable sort does
    not export. The places are whole numbers, all different, so the topk that turns them round has no ties.
    """
    count = values.shape[1]
    ahead = values.unsqueeze(1) > values.unsqueeze(2)  # [b, i, j]: j comes before i
    earlier = torch.ones(count, count, device=values.device).tril(-1) > 0
    ahead = ahead | ((values.unsqueeze(1) == values.unsqueeze(2)) & earlier)
    place = ahead.to(values.dtype).sum(dim=2)
    return (-place).topk(count, dim=1, sorted=True).indices


def matching_margin(metric: Tensor, merges: int, protected: Tensor | None = None) -> Tensor:
    """How clear the choice of `match_tokens` is, (B,): the smallest difference of similarities that decides something.

    Either between the last pair that merges and the first that does not, or, for a token that merges, between its best
    and its second-best partner. Two programs whose rounding differs by less choose the same tokens; where the margin
    is smaller they may not, and every later value then differs. Infinite where nothing merges. Arguments as in
    match_tokens, without class token.
    """
    if merges == 0:
        return metric.new_full((metric.shape[0],), float("inf"))
    best, second = _similarities(metric, protected).topk(2, dim=-1).values.unbind(-1)
    order = _descending(best)
    ranked = best.gather(1, order)
    gaps = [(best - second).gather(1, order[:, :merges])]
    if merges < best.shape[1]:
        gaps.append(ranked[:, merges - 1 : merges] - ranked[:, merges : merges + 1])
    return torch.cat(gaps, dim=1).amin(dim=1)


def match_tokens(metric: Tensor, merges: int, protected: Tensor | None = None, class_token: bool = False) -> Matching:
    """Choose the `merges` pairs of an A and a B token with the highest cosine similarity of `metric` (B, N, C).

    protected (B, N): 0 or 1; pairs that touch a protected token come after all others.
    class_token: token 0 never merges, and survivors keep their order (for classifiers; HMR's ViT has none).
    Raises ValueError where fewer than `merges` pairs exist.
    """
    tokens = metric.shape[1]
    if not 0 <= merges <= most_merges(tokens, class_token):
        raise ValueError(
            f"{tokens} tokens allow 0 to {most_merges(tokens, class_token)} merges in one block, got {merges}"
        )
    scores = _similarities(metric, protected)
    best, partner = scores.max(dim=-1)
    rows = best.shape[1]
    if class_token:
        is_class = torch.arange(rows, device=best.device) == 0
        best = best - 3 * PROTECTION_PENALTY * is_class.to(best.dtype)
    order = _descending(best)
    merged, kept = order[:, :merges], order[:, merges:]
    if class_token:
        kept = kept.sort(dim=1).values
    return Matching(kept, merged, partner.gather(1, merged))


def _gather_rows(x: Tensor, index: Tensor) -> Tensor:
    return x.gather(1, index.unsqueeze(-1).expand(-1, -1, x.shape[-1]))


def merge_sum(x: Tensor, matching: Matching) -> Tensor:
    """Rows of x (B, N, C) to (B, N - r, C): surviving A rows, then all B rows with the rows merged into them added.

    Applied to an identity or to a source matrix, this keeps track of which token went where.
    """
    even, odd = x[:, 0::2], x[:, 1::2]
    slots = torch.arange(odd.shape[1], device=x.device).unsqueeze(1)
    into = (matching.target.unsqueeze(1) == slots).to(x.dtype)
    return torch.cat((_gather_rows(even, matching.kept), odd + into @ _gather_rows(even, matching.merged)), dim=1)


def merge_tokens(x: Tensor, size: Tensor, matching: Matching, size_weighted: bool = True) -> tuple[Tensor, Tensor]:
    """Replace merged tokens by their mean: x (B, N, C) and size (B, N, 1) to (B, N - r, C) and (B, N - r, 1).

    size_weighted: every original token counts once (ToMe); otherwise every current token does (FastHMR's text).
    """
    merged_size = merge_sum(size, matching)
    if size_weighted:
        return merge_sum(x * size, matching) / merged_size, merged_size
    return merge_sum(x, matching) / merge_sum(torch.ones_like(size), matching), merged_size


def unmerge_tokens(tokens: Tensor, source: Tensor) -> Tensor:
    """Copy each merged token back to all positions it came from: (B, M, C) and (B, M, N) to (B, N, C)."""
    return source.transpose(1, 2) @ tokens


def run_merging_blocks(
    blocks: Iterable[Block],
    x: Tensor,
    schedule: Sequence[int],
    *,
    protected: Tensor | None = None,
    proportional_attention: bool = True,
    size_weighted: bool = True,
    class_token: bool = False,
    track_source: bool = False,
) -> list[MergedTokens]:
    """Run transformer blocks over embedded tokens (B, N, C), merging schedule[i] tokens in block i.

    proportional_attention: a token that stands for several counts that many times as a key (log size is added to
    its logits). Returns the state after every block. See TokenMergingVit for the other arguments.
    """
    size = torch.ones_like(x[:, :, :1])
    source = None
    if track_source:
        source = torch.eye(x.shape[1], dtype=x.dtype, device=x.device).expand(x.shape[0], -1, -1)
    flags = None if protected is None else protected.to(x.dtype).unsqueeze(-1)
    merged_before = False
    states: list[MergedTokens] = []
    for i, block in enumerate(blocks):
        bias = size.squeeze(-1).log() if proportional_attention and merged_before else None
        x, keys = block.forward_attention(x, bias)
        merges = schedule[i] if i < len(schedule) else 0
        if merges:
            matching = match_tokens(keys, merges, None if flags is None else flags.squeeze(-1), class_token=class_token)
            x, size = merge_tokens(x, size, matching, size_weighted)
            # A token that took in a person token is a person token from here on.
            flags = None if flags is None else merge_sum(flags, matching).clamp(max=1)
            source = None if source is None else merge_sum(source, matching)
            merged_before = True
        x = block.forward_mlp(x)
        states.append(MergedTokens(x, size, source))
    return states


class TokenMergingVit(nn.Module):
    """A ViT that merges tokens in its first blocks and hands the remaining ones, (B, M, C), to a decoder.

    It holds the ViT itself (attribute `vit`), adds no parameter, and takes any of our ViTs, layer-merged ones
    included. HMR2.0's decoder cross-attends, so neither the number nor the order of tokens matters to it.

    schedule: tokens to merge away in each of the first blocks.
    proportional_attention, size_weighted: as ToMe recommends for networks that were not trained with merging.
        FastHMR does not print its choice; its text speaks of plain averaging (size_weighted=False).
    Raises ValueError for a schedule that the number of blocks or tokens does not allow.
    """

    def __init__(
        self,
        vit: ViT,
        schedule: Sequence[int] = FASTHMR_SCHEDULE,
        *,
        proportional_attention: bool = True,
        size_weighted: bool = True,
    ) -> None:
        super().__init__()
        if len(schedule) > len(vit.blocks):
            raise ValueError(f"a schedule of {len(schedule)} blocks does not fit {len(vit.blocks)} blocks")
        tokens = vit.grid_hw[0] * vit.grid_hw[1]
        for i, merges in enumerate(schedule):
            if not 0 <= merges <= most_merges(tokens):
                raise ValueError(
                    f"block {i} has {tokens} tokens and can merge 0 to {most_merges(tokens)}, not {merges}"
                )
            tokens -= merges
        self.vit = vit
        self.schedule = tuple(schedule)
        self.proportional_attention = proportional_attention
        self.size_weighted = size_weighted
        self.tokens_out = tokens
        self.feature_info = vit.feature_info
        self.image_hw = vit.image_hw
        self.grid_hw = vit.grid_hw

    def forward(self, images: Tensor, mask: Tensor | None = None) -> Tensor:
        """Normalised images (B, 3, H, W) to tokens (B, tokens_out, C) after `last_norm`.

        mask (B, H, W) or (B, rows, columns): where the person is; without one this is plain ToMe.
        """
        return self._run(images, mask, track_source=False).tokens

    def forward_merged(self, images: Tensor, mask: Tensor | None = None) -> MergedTokens:
        """As forward, with the tokens' sizes and their sources among the (B, N) tokens of the grid."""
        return self._run(images, mask, track_source=True)

    def forward_map(self, images: Tensor, mask: Tensor | None = None) -> Tensor:
        """Merged tokens copied back to their places: a map (B, C, rows, columns) for heads that need a grid."""
        merged = self.forward_merged(images, mask)
        assert merged.source is not None
        return tokens_to_map(unmerge_tokens(merged.tokens, merged.source), self.grid_hw)

    def _run(self, images: Tensor, mask: Tensor | None, track_source: bool) -> MergedTokens:
        protected = None if mask is None else protected_tokens(mask, self.image_hw, self.grid_hw)
        states = run_merging_blocks(
            self.vit.blocks,
            self.vit.embed(images),
            self.schedule,
            protected=protected,
            proportional_attention=self.proportional_attention,
            size_weighted=self.size_weighted,
            track_source=track_source,
        )
        return states[-1]._replace(tokens=self.vit.last_norm(states[-1].tokens))
