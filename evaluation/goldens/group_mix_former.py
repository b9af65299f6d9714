"""GroupMixFormer goldens against `hmr/networks/encoders/group_mix_former.py`."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from evaluation.goldens.record import Golden
from hmr.networks.encoders import official_keys
from hmr.networks.encoders.group_mix_former import GroupMixFormer


def run(golden: Golden) -> dict[str, NDArray[Any]]:
    """Raw maps (B, C, H, W) per stage."""
    height, width = golden.inputs["img"].shape[-2:]
    net = GroupMixFormer(
        dims=tuple(golden.config["embedding_dims"]),
        depths=tuple(golden.config["serial_depths"]),
        mlp_ratios=tuple(golden.config["mlp_ratios"]),
        stages=len(golden.config["serial_depths"]),
        image_hw=(height, width),
        norm="none",
    ).eval()
    net.load_state_dict(official_keys.group_mix_former(golden.state_tensors(), net))
    return {f"stage{i}": m.numpy() for i, m in enumerate(net(golden.tensor("img")))}
