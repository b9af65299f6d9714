"""Starting weights: window attention that behaves like a convolution; trained weights; a trained network made deeper.

For training from scratch on little data each head's relative position bias starts as a narrow bell around an offset of
its own, as in ConViT (d'Ascoli et al. 2021, arXiv 2103.10697), and the linear maps behind it start at unit gain instead
of Swin's 0.02, so that the first steps already see neighbouring patches. Everything stays trainable; the architecture
does not change.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from bodycast.hmr.networks.encoders.swin import Swin
from bodycast.hmr.networks.encoders.vit import ViT
from bodycast.hmr.networks.merging.mask_token_merging import TokenMergingVit
from training.starting_files import starting_state

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
HIGHEST_RATE = 1.6
CODE = 1.4
LOGIT = 1.2
"""A ViT's code of places: the fastest of its waves in radians a token, its amplitude, and the gain of queries and keys,
which make attention fall to a third at the next token but one."""
MEAN_OF_FOUR = 0.94


@torch.no_grad()
def convolution_like(encoder: nn.Module) -> None:
    """Set the starting weights of a Swin or a flat ViT in place; other encoders keep theirs."""
    vit = encoder.vit if isinstance(encoder, TokenMergingVit) else encoder
    if isinstance(vit, ViT):
        _neighbourly(vit)
    elif isinstance(encoder, Swin):
        _bell_biases(encoder)


def _bell_biases(encoder: Swin) -> None:
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


def _neighbourly(vit: ViT) -> None:
    """A ViT has no bias by place: the first channels of every token hold a code of its row and column, which the blocks
    hand on untouched at first, and queries and keys read nothing else: a token's query is the code of its neighbour.
    As in mimetic initialisation (Trockman and Kolter 2023, arXiv 2305.09828) attention begins near its own place."""
    width, (rows, columns) = vit.feature_info[-1][0], vit.grid_hw
    head_width = width // vit.blocks[0].attn.heads
    pairs = head_width // 4  # frequencies along each axis
    if pairs < 1:
        return
    rate = (torch.arange(pairs) + 0.5) * (HIGHEST_RATE / pairs)
    y, x = (
        side.flatten()[:, None] * rate
        for side in torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    )
    coded = 4 * pairs
    vit.pos_embed.zero_()
    vit.pos_embed[0, 1:, :coded] = CODE * torch.cat([y.cos(), y.sin(), x.cos(), x.sin()], dim=1)
    _unit_gain(vit.patch_embed.proj.weight.view(width, -1))
    vit.patch_embed.proj.weight[:coded] = 0
    vit.patch_embed.proj.bias.zero_()
    fall = (2 * len(vit.blocks)) ** -0.5
    used = 0
    for block in vit.blocks:
        qkv, heads = block.attn.qkv.weight.view(3, -1, head_width, width), block.attn.heads
        qkv[:2] *= 0.25
        for head in range(heads):
            offset = OFFSETS[(used + head) % len(OFFSETS)]
            turns = torch.cat([torch.stack([(rate * o).cos(), (rate * o).sin()]) for o in offset], dim=1)
            qkv[0, head, :coded, :coded] = LOGIT * _turned(turns, pairs)
            qkv[1, head, :coded, :coded] = LOGIT * torch.eye(coded)
        used += heads
        _unit_gain(block.attn.qkv.weight[2 * width :])
        _unit_gain(block.mlp.fc1.weight)
        for linear in (block.attn.proj, block.mlp.fc2):
            _unit_gain(linear.weight)
            linear.weight *= fall
            linear.weight[:coded] = 0


def _turned(turns: torch.Tensor, pairs: int) -> torch.Tensor:
    """(4*pairs, 4*pairs): turns a code of cosines and sines by the angles whose cosines and sines are `turns`
    (2, 2*pairs), those along y first."""
    matrix = torch.zeros(4 * pairs, 4 * pairs)
    for axis in range(2):
        cos, sin = turns[:, axis * pairs : (axis + 1) * pairs]
        at = torch.arange(pairs) + 2 * axis * pairs
        matrix[at, at], matrix[at, at + pairs] = cos, -sin
        matrix[at + pairs, at], matrix[at + pairs, at + pairs] = sin, cos
    return matrix


def _unit_gain(weight: torch.Tensor) -> None:
    weight.normal_(0, weight.shape[1] ** -0.5)


def weights_from(net: nn.Module, path: Path) -> tuple[dict[str, torch.Tensor], str]:
    """A full state dict for `net` with every tensor that a checkpoint has for it, and words on what was taken.

    Whole modules or parts of them may be missing (an encoder alone, a decoder without score): they keep the network's
    own values. Raises ValueError where nothing fits, and FileNotFoundError.
    """
    stored = starting_state(net, path)
    own = net.state_dict()
    # Heat maps that helped the one network are part of the other (hmr/networks/decoders/joint_queries.py).
    heads = _stored_helper(path) if "smpl_head.heatmaps.weight" in own else {}
    for part in ("weight", "bias"):
        if f"heatmaps.{part}" in heads:
            stored.setdefault(f"smpl_head.heatmaps.{part}", heads[f"heatmaps.{part}"])
    if _task_of(path) == "upsampler":  # its decoder, mean pose and all, has learned nothing
        stored = {key: value for key, value in stored.items() if not key.startswith("smpl_head.")}
    deeper = one_stage_deeper(net, stored)
    stored |= deeper
    taken = {key: stored[key].to(value.dtype) for key, value in own.items() if _fits(stored.get(key), value)}
    if not taken:
        raise ValueError(f"{path}: nothing in it fits this network; it holds {', '.join(list(stored)[:4])}, ...")
    parts: dict[str, list[int]] = {}
    for key in own:
        counts = parts.setdefault(key.partition(".")[0], [0, 0])
        counts[0] += key in taken
        counts[1] += 1
    words = ", ".join(f"{name} {found} of {total}" for name, (found, total) in parts.items())
    grown = ", a stage deeper than what is stored" if deeper else ""
    return {**own, **taken}, f"{path.name}: tensors taken: {words}{grown}"


def one_stage_deeper(net: nn.Module, stored: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What a Swin with one more stage than the stored one needs to begin as, roughly, the stored network, by our names;
    empty where the stages are others.

    Every second channel of the new stage is the mean of the four tokens that patch merging joins (those channels of the
    decoder's position code are the stored decoder's), the others are a random mix of them; the new blocks add nothing
    yet; the decoder reads the means as it read the stored map. Growing a network without forgetting: Net2Net (Chen et
    al. 2016, arXiv 1511.05641).
    """
    encoder = getattr(net, "backbone", None)
    if not isinstance(encoder, Swin):
        return {}
    new = len(encoder.layers) - 1
    norm = [stored.get(f"backbone.norms.{new - 1}.{part}") for part in ("weight", "bias")]
    if f"backbone.layers.{new}.downsample.reduction.weight" in stored or norm[0] is None or norm[1] is None:
        return {}
    width = len(norm[0])
    own = net.state_dict()
    if own[f"backbone.norms.{new}.weight"].shape != (2 * width,):
        return {}
    reduction = own[f"backbone.layers.{new}.downsample.reduction.weight"].clone()
    reduction[::2] = torch.eye(width).repeat(1, 4) / 4
    grown = {
        f"backbone.layers.{new}.downsample.reduction.weight": reduction,
        # The mean of four tokens varies less than one of them.
        f"backbone.norms.{new}.weight": _between(MEAN_OF_FOUR * norm[0], torch.ones(width)),
        f"backbone.norms.{new}.bias": _between(norm[1]),
    }
    for key, value in own.items():
        if key.startswith(f"backbone.layers.{new}.blocks.") and (".attn.proj." in key or ".mlp.fc2." in key):
            grown[key] = torch.zeros_like(value)
        old = stored.get(key)
        if key.startswith("smpl_head.") and old is not None and old.shape[1:] == (width,) != value.shape[1:]:
            grown[key] = _between(old)
    return grown


def _between(even: torch.Tensor, odd: torch.Tensor | None = None) -> torch.Tensor:
    """The columns of both in turn; without `odd` zeros."""
    return torch.stack([even, torch.zeros_like(even) if odd is None else odd], dim=-1).flatten(-2)


def helper_from(helper: nn.Module, path: Path) -> bool:
    """Take the helper heads that a run of this trainer stored beside its network, if they fit; whether they did."""
    own = helper.state_dict()
    stored = {key: _widened(value, own.get(key)) for key, value in _stored_helper(path).items()}
    if not own or not all(_fits(stored.get(key), own[key]) for key in own):
        return False
    helper.load_state_dict({key: stored[key].float() for key in own})
    return True


def _stored_helper(path: Path) -> dict[str, torch.Tensor]:
    """The helper heads beside a network, empty where a file has none."""
    content = torch.load(path, map_location="cpu", weights_only=True) if path.suffix == ".pt" else {}
    stored = content.get("helper") if isinstance(content, dict) else None
    return stored if isinstance(stored, dict) else {}


def _task_of(path: Path) -> str:
    """What a network of this trainer was trained for; "" where a file does not say."""
    content = torch.load(path, map_location="cpu", weights_only=True) if path.suffix == ".pt" else {}
    training = content.get("training") if isinstance(content, dict) else None
    return str(training.get("task", "")) if isinstance(training, dict) else ""


def _widened(stored: torch.Tensor, own: torch.Tensor | None) -> torch.Tensor:
    """A 1x1 convolution over the stored map, as one over a stage more: see `one_stage_deeper`."""
    if own is None or stored.dim() != 4 or own.shape[1] != 2 * stored.shape[1]:
        return stored
    return _between(stored.flatten(1))[:, :, None, None]


def _fits(stored: torch.Tensor | None, own: torch.Tensor) -> bool:
    return stored is not None and stored.shape == own.shape
