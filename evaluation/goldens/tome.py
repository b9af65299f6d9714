"""Token merging: the matching functions, and whole ViTs in timm's layout with and without a class token."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache, partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bodycast.hmr.networks.encoders.vit import Block
from bodycast.hmr.networks.merging.mask_token_merging import (
    MergedTokens,
    match_tokens,
    merge_sum,
    merge_tokens,
    most_merges,
    run_merging_blocks,
    unmerge_tokens,
)
from evaluation.goldens.record import Answer, Answers, Golden
from evaluation.goldens.sizes import count_indices, hidden_ratio, with_absent_biases


def run_match(golden: Golden) -> Answers:
    """Two matchings in a row for every r of the configuration; an r above half of the tokens is clipped."""
    numbers = golden.setting("r")
    answers: dict[str, Answer] = {}
    for class_token in (False, True):
        for r in [numbers] if isinstance(numbers, int) else numbers:
            tag = f"r{r}_cls" if class_token else f"r{r}"
            results = cache(partial(_match, golden, r, class_token))
            answers |= {f"{tag}/{name}": partial(lambda f, n: f()[n], results, name) for name in _MATCH_OUTPUTS}
    return answers


_MATCH_OUTPUTS = ("x", "size", "source", "unmerged", "mean", "x_round2", "size_round2")


def _match(golden: Golden, r: int, class_token: bool) -> dict[str, Tensor]:
    metric, x = golden.tensor("metric"), golden.tensor("x")
    batch, tokens, _ = metric.shape
    matching = match_tokens(metric, min(r, most_merges(tokens, class_token)), class_token=class_token)
    ones = torch.ones(batch, tokens, 1)
    merged, size = merge_tokens(x, ones, matching)
    source = merge_sum(torch.eye(tokens).expand(batch, -1, -1), matching)
    results = {
        "x": merged,
        "size": size,
        "source": source,
        "unmerged": unmerge_tokens(merged, source),
        "mean": merge_tokens(x, ones, matching, False)[0],
    }
    if "metric2" in golden.inputs:
        left = merged.shape[1]
        merges = min(golden.setting("r2"), most_merges(left, class_token))
        second = match_tokens(golden.tensor("metric2")[:, :left], merges, class_token=class_token)
        results["x_round2"], results["size_round2"] = merge_tokens(merged, size, second)
    return results


def run_vit(golden: Golden) -> Answers:
    """timm's ViT differs from ours in its patches (no padding) and its class token; the blocks are the same."""
    answers: dict[str, Answer] = {}
    for prefix, tag in (("vit.", "nocls"), ("vit_cls.", "cls")):
        if not golden.state_tensors(prefix):
            continue
        depth = count_indices(golden.state, rf"^{re.escape(prefix)}blocks\.(\d+)\.")
        for attention, proportional in (("prop", True), ("plain", False)):
            states = cache(partial(_merging_states, golden, prefix, depth, proportional))
            name = f"{tag}_{attention}"
            for i in range(depth):
                answers[f"{name}/block{i}"] = partial(lambda f, i: f()[i].tokens, states, i)
                answers[f"{name}/size{i}"] = partial(lambda f, i: f()[i].size, states, i)
            answers[f"{name}/norm"] = partial(_norm, golden, prefix, states)
            answers[f"{name}/source"] = partial(_source, states)
    return answers


def _merging_states(golden: Golden, prefix: str, depth: int, proportional: bool) -> list[MergedTokens]:
    state = golden.state_tensors(prefix)
    class_token = "cls_token" in state
    fc1 = golden.weight(f"{prefix}blocks.0.mlp.fc1.weight")
    heads = golden.setting("heads")
    blocks = nn.ModuleList(Block(fc1.shape[1], heads, hidden_ratio(fc1)) for _ in range(depth)).eval()
    block_state = {key.removeprefix("blocks."): v for key, v in state.items() if key.startswith("blocks.")}
    blocks.load_state_dict(with_absent_biases(block_state, blocks))
    kernel = state["patch_embed.proj.weight"]
    bias = state.get("patch_embed.proj.bias")
    x = F.conv2d(golden.tensor("img"), kernel, bias, stride=kernel.shape[-1]).flatten(2).transpose(1, 2)
    if class_token:
        x = torch.cat((state["cls_token"].expand(x.shape[0], -1, -1), x), dim=1)
    x = x + state["pos_embed"]
    return run_merging_blocks(
        blocks,
        x,
        _schedule(golden.setting("r"), depth, x.shape[1], class_token),
        proportional_attention=proportional,
        class_token=class_token,
        track_source=True,
    )


def _norm(golden: Golden, prefix: str, states: Callable[[], list[MergedTokens]]) -> Tensor:
    tokens = states()[-1].tokens
    norm = nn.LayerNorm(tokens.shape[-1], eps=1e-6)
    norm.load_state_dict(golden.state_tensors(f"{prefix}norm."))
    return norm(tokens)


def _source(states: Callable[[], list[MergedTokens]]) -> Tensor:
    source = states()[-1].source
    assert source is not None
    return source


def _schedule(r: int | list[int], depth: int, tokens: int, class_token: bool) -> list[int]:
    """Merges per block: one number stands for all, missing ones for none, half of the tokens is the limit."""
    wanted = [r] * depth if isinstance(r, int) else [*r, *[0] * depth][:depth]
    schedule: list[int] = []
    for merges in wanted:
        schedule.append(min(merges, most_merges(tokens, class_token)))
        tokens -= schedule[-1]
    return schedule
