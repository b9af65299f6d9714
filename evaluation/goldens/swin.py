"""Swin goldens: Microsoft's, timm's and torchvision's against `hmr/networks/encoders/swin.py`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from evaluation.goldens.record import ABSOLUTE_BOUND, Golden, Ours
from hmr.networks.encoders import official_keys
from hmr.networks.encoders.swin import Swin


def run_official(golden: Golden) -> dict[str, NDArray[Any] | Ours]:
    """Microsoft's code: tokens (B, H*W, C) per stage, final norm, class scores."""
    net = _build(golden, golden.config["net"], "layers.0.blocks.0.")
    net.load_state_dict(official_keys.swin_official(golden.state_tensors(), net))
    raw = net.forward_raw(golden.tensor("img"))
    answers = {f"stage{i}": m.flatten(2).transpose(1, 2) for i, m in enumerate(raw)}
    answers |= _classify(golden, net, raw[-1])
    answers["norm"] = answers["norm"].flatten(1, 2)
    return _asked(golden, answers)


def run_timm(golden: Golden) -> dict[str, NDArray[Any] | Ours]:
    """timm's feature network: maps (B, H, W, C) per stage, no norm."""
    net = _build(golden, golden.config, "layers_0.blocks.0.", norm="none")
    net.load_state_dict(official_keys.swin_timm(golden.state_tensors(), net))
    maps = net(golden.tensor("img"))
    return _asked(golden, {f"stage{i}": m.permute(0, 2, 3, 1) for i, m in enumerate(maps)})


def run_torchvision(golden: Golden) -> dict[str, NDArray[Any] | Ours]:
    """torchvision pads before it rolls; what that changes is reported, not judged.

    A stage counts as long as its grid and all before it are multiples of the window: there the two agree.
    """
    net = _build(golden, golden.config, "features.1.0.")
    net.load_state_dict(official_keys.swin_torchvision(golden.state_tensors(), net))
    raw = net.forward_raw(golden.tensor("img"))
    answers = {f"stage{i}": m.permute(0, 2, 3, 1) for i, m in enumerate(raw)}
    answers |= _classify(golden, net, raw[-1])
    values = _asked(golden, answers)
    same = _stages_that_agree(net)
    stage_of = {f"stage{i}": i for i in range(len(raw))}
    judged: dict[str, NDArray[Any] | Ours] = {}
    for name, value in values.items():
        if stage_of.get(name, len(raw) - 1) < same:
            judged[name] = value
        else:
            judged[name] = Ours(value, counted=False, note=_convention_note(value, golden.outputs[name]))
    return judged


def _build(golden: Golden, sizes: dict[str, Any], first_block: str, **options: Any) -> Swin:
    """Our network, its sizes from the configuration and, where that is silent, from the first block's tensors."""
    table = golden.state[f"{first_block}attn.relative_position_bias_table"]
    fc1 = next(
        golden.state[key] for key in (f"{first_block}mlp.{part}.weight" for part in ("fc1", "0")) if key in golden.state
    )
    window = (round(len(table) ** 0.5) + 1) // 2
    height, width = golden.inputs["img"].shape[-2:]
    return Swin(
        dim=sizes["embed_dim"],
        depths=tuple(sizes["depths"]),
        heads=tuple(sizes["num_heads"]),
        stages=len(sizes["depths"]),
        image_hw=(height, width),
        window_size=window,
        mlp_ratio=fc1.shape[0] / fc1.shape[1],
        **options,
    ).eval()


def _classify(golden: Golden, net: Swin, last: Tensor) -> dict[str, Tensor]:
    """Final norm (B, H, W, C) and class scores; the classifier is the file's (if it has one), we have none."""
    normed = net.norms[-1](last).permute(0, 2, 3, 1)
    head = golden.state_tensors("head.")
    if not head:
        return {"norm": normed}
    return {"norm": normed, "logits": F.linear(normed.mean(dim=(1, 2)), head["weight"], head["bias"])}


def _asked(golden: Golden, answers: dict[str, Tensor]) -> dict[str, NDArray[Any] | Ours]:
    """The answers that the file asks for, as arrays."""
    return {name: value.numpy() for name, value in answers.items() if name in golden.outputs}


def _stages_that_agree(net: Swin) -> int:
    """How many leading stages have grids that are multiples of their window."""
    count = 0
    for layer, (rows, columns) in zip(net.layers, net.grids_hw, strict=True):
        window_rows, window_columns = layer.blocks[0].window_size
        if rows % window_rows or columns % window_columns or (window_rows, window_columns) != net.window_hw:
            break
        count += 1
    return count


def _convention_note(value: NDArray[Any] | Ours, expected: NDArray[Any]) -> str:
    assert isinstance(value, np.ndarray)
    apart = (np.abs(value - expected) > ABSOLUTE_BOUND).any(axis=-1)
    return f"torchvision pads, then rolls; we roll, then pad: {int(apart.sum())} of {apart.size} tokens differ"
