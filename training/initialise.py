"""Starting weights that make window attention behave like a convolution, for training from scratch on little data.

Each head's relative position bias starts as a narrow bell around an offset of its own, as in ConViT (d'Ascoli et al.
2021, arXiv 2103.10697), and the linear maps behind it start at unit gain instead of Swin's 0.02, so that the first
steps already see neighbouring patches. Everything stays trainable; the architecture does not change.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from hmr.checkpoints import read_state
from hmr.networks.encoders.swin import Swin

OFFSETS = (
    (0, 0),
    (1, 0),
    (0, 1),
    (-1, 0),
    (0, -1),
    (1, 1),
    (-1, -1),
    (1, -1),
    (-1, 1),
    (2, 0),
    (0, 2),
    (-2, 0),
    (0, -2),
)
SHARPNESS = 1.0


@torch.no_grad()
def convolution_like(encoder: nn.Module) -> None:
    """Set the starting weights of a Swin in place; other encoders keep theirs."""
    if not isinstance(encoder, Swin):
        return
    used = 0
    for layer in encoder.layers:
        reduction = getattr(getattr(layer, "downsample", None), "reduction", None)
        if reduction is not None:
            _unit_gain(reduction.weight)
        for block in layer.blocks:
            attention, width = block.attn, block.attn.qkv.in_features
            _unit_gain(
                attention.qkv.weight[2 * width :]
            )  # values only: small queries and keys leave the bias in charge
            for linear in (attention.proj, block.mlp.fc1, block.mlp.fc2):
                _unit_gain(linear.weight)
            heads = attention.num_heads
            offsets = torch.tensor([OFFSETS[(used + head) % len(OFFSETS)] for head in range(heads)])
            used += heads
            rows, columns = attention.window_size
            table = attention.relative_position_bias_table.view(2 * rows - 1, 2 * columns - 1, heads)
            y = torch.arange(-(rows - 1), rows)[:, None, None] - offsets[:, 0]
            x = torch.arange(-(columns - 1), columns)[None, :, None] - offsets[:, 1]
            table.copy_(-SHARPNESS * (y**2 + x**2))


def _unit_gain(weight: torch.Tensor) -> None:
    weight.normal_(0, weight.shape[1] ** -0.5)


def weights_from(net: nn.Module, path: Path) -> tuple[dict[str, torch.Tensor], str]:
    """A full state dict for `net` with every tensor that a checkpoint has for it, and words on what was taken.

    Whole modules or parts of them may be missing (an encoder alone, a decoder without score): they keep the network's
    own values. Raises ValueError where nothing fits, and FileNotFoundError.
    """
    stored = read_state(path)
    own = net.state_dict()
    # A ViT that merges tokens sits one level deeper.
    stored |= {key.replace("backbone.", "backbone.vit.", 1): value for key, value in stored.items()}
    taken = {key: stored[key].to(value.dtype) for key, value in own.items() if _fits(stored.get(key), value)}
    if not taken:
        raise ValueError(f"{path}: nothing in it fits this network; it holds {', '.join(list(stored)[:4])}, ...")
    parts: dict[str, list[int]] = {}
    for key in own:
        counts = parts.setdefault(key.partition(".")[0], [0, 0])
        counts[0] += key in taken
        counts[1] += 1
    words = ", ".join(f"{name} {found} of {total}" for name, (found, total) in parts.items())
    return {**own, **taken}, f"{path.name}: tensors taken: {words}"


def helper_from(helper: nn.Module, path: Path) -> bool:
    """Take the helper heads that a run of this trainer stored beside its network, if they fit; whether they did."""
    content = torch.load(path, map_location="cpu", weights_only=True) if path.suffix == ".pt" else {}
    stored = content.get("helper") if isinstance(content, dict) else None
    own = helper.state_dict()
    if not own or not isinstance(stored, dict) or not all(_fits(stored.get(key), own[key]) for key in own):
        return False
    helper.load_state_dict({key: stored[key].float() for key in own})
    return True


def _fits(stored: torch.Tensor | None, own: torch.Tensor) -> bool:
    return stored is not None and stored.shape == own.shape
