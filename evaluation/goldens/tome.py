"""Token merging: the matching functions, and whole ViTs in timm's layout with and without a class token."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from evaluation.goldens.record import Golden
from hmr.networks.encoders.vit import Block
from hmr.networks.merging.mask_token_merging import (
    match_tokens,
    merge_sum,
    merge_tokens,
    most_merges,
    run_merging_blocks,
    unmerge_tokens,
)


def run_match(golden: Golden) -> dict[str, NDArray[Any]]:
    """Two matchings in a row for every r of the configuration; an r above half of the tokens is clipped."""
    metric, metric2, x = golden.tensor("metric"), golden.tensor("metric2"), golden.tensor("x")
    batch, tokens, _ = metric.shape
    answers: dict[str, Tensor] = {}
    for class_token in (False, True):
        for r in golden.config["r"]:
            merges = min(r, most_merges(tokens, class_token))
            matching = match_tokens(metric, merges, class_token=class_token)
            merged, size = merge_tokens(x, torch.ones(batch, tokens, 1), matching)
            source = merge_sum(torch.eye(tokens).expand(batch, -1, -1), matching)
            left = merged.shape[1]
            merges2 = min(golden.config["r2"], most_merges(left, class_token))
            second = match_tokens(metric2[:, :left], merges2, class_token=class_token)
            merged2, size2 = merge_tokens(merged, size, second)
            tag = f"r{r}_cls" if class_token else f"r{r}"
            answers |= {
                f"{tag}/x": merged,
                f"{tag}/size": size,
                f"{tag}/source": source,
                f"{tag}/unmerged": unmerge_tokens(merged, source),
                f"{tag}/mean": merge_tokens(x, torch.ones_like(size[:, :1]).expand(-1, tokens, -1), matching, False)[0],
                f"{tag}/x_round2": merged2,
                f"{tag}/size_round2": size2,
            }
    return {name: answers[name].numpy() for name in golden.outputs if name in answers}


def run_vit(golden: Golden) -> dict[str, NDArray[Any]]:
    """timm's ViT differs from ours in its patches (no padding) and its class token; the blocks are the same."""
    config = golden.config
    width, depth, heads = config["dim"], config["depth"], config["heads"]
    answers: dict[str, Tensor] = {}
    for prefix, tag, class_token in (("vit.", "nocls", False), ("vit_cls.", "cls", True)):
        state = golden.state_tensors(prefix)
        if not state:
            continue
        mlp_ratio = state["blocks.0.mlp.fc1.weight"].shape[0] / width
        blocks = nn.ModuleList(Block(width, heads, mlp_ratio) for _ in range(depth)).eval()
        blocks.load_state_dict({k.removeprefix("blocks."): v for k, v in state.items() if k.startswith("blocks.")})
        norm = nn.LayerNorm(width, eps=1e-6)
        norm.load_state_dict({"weight": state["norm.weight"], "bias": state["norm.bias"]})
        kernel = state["patch_embed.proj.weight"]
        patches = F.conv2d(golden.tensor("img"), kernel, state["patch_embed.proj.bias"], stride=kernel.shape[-1])
        x = patches.flatten(2).transpose(1, 2)
        if class_token:
            x = torch.cat((state["cls_token"].expand(x.shape[0], -1, -1), x), dim=1)
        x = x + state["pos_embed"]
        for attention, proportional in (("prop", True), ("plain", False)):
            states = run_merging_blocks(
                blocks,
                x,
                _schedule(config["r"], depth, x.shape[1], class_token),
                proportional_attention=proportional,
                class_token=class_token,
                track_source=True,
            )
            for i, merged in enumerate(states):
                answers[f"{tag}_{attention}/block{i}"] = merged.tokens
                answers[f"{tag}_{attention}/size{i}"] = merged.size
            answers[f"{tag}_{attention}/norm"] = norm(states[-1].tokens)
            assert states[-1].source is not None
            answers[f"{tag}_{attention}/source"] = states[-1].source
    return {name: answers[name].numpy() for name in golden.outputs if name in answers}


def _schedule(r: int | list[int], depth: int, tokens: int, class_token: bool) -> list[int]:
    """Merges per block: one number stands for all, missing ones for none, half of the tokens is the limit."""
    wanted = [r] * depth if isinstance(r, int) else [*r, *[0] * depth][:depth]
    schedule: list[int] = []
    for merges in wanted:
        schedule.append(min(merges, most_merges(tokens, class_token)))
        tokens -= schedule[-1]
    return schedule
