"""State dicts under the official key names -> under ours, for the hierarchical encoders.

ViT and GroupMixFormer keep the official names. Each function returns only what `net` has: the stages behind its cut,
classifiers and derived buffers are left out, so that the result can be loaded strictly (but for norms that the
official network does not have at that stage).
"""

from __future__ import annotations

import re

from torch import Tensor

from bodycast.hmr.networks.encoders.group_mix_former import GroupMixFormer
from bodycast.hmr.networks.encoders.swin import Swin
from bodycast.hmr.networks.encoders.vmamba import VMamba

State = dict[str, Tensor]

_BIAS_TABLE = "attn.relative_position_bias_table"
_TORCHVISION_PARTS = {
    "features.0.0": "patch_embed.proj",
    "features.0.2": "patch_embed.norm",
    "mlp.0": "mlp.fc1",
    "mlp.3": "mlp.fc2",
}
_VMAMBA_PARTS = {
    "patch_embed.0": "patch_embed.conv1",
    "patch_embed.2": "patch_embed.norm1",
    "patch_embed.5": "patch_embed.conv2",
    "patch_embed.7": "patch_embed.norm2",
    "downsample.1": "conv",
    "downsample.3": "norm",
}


def swin_official(state: State, net: Swin) -> State:
    """Microsoft's Swin: patch merging ends a stage there and opens the next one here."""
    renamed = {
        re.sub(r"^layers\.(\d+)\.downsample", lambda m: f"layers.{int(m[1]) + 1}.downsample", key): value
        for key, value in state.items()
    }
    return swin_timm(renamed, net)


def swin_timm(state: State, net: Swin) -> State:
    """timm's Swin, as a classifier (`layers.0`) or a feature network (`layers_0`)."""
    last = _last_stage(state, r"^layers[._](\d+)\.")
    renamed = {re.sub(r"^layers_(\d+)", r"layers.\1", key): value for key, value in state.items()}
    renamed = {re.sub(r"^norm\.", f"norms.{last}.", key): value for key, value in renamed.items()}
    return _fit_bias_tables(_kept(renamed, net), net)


def swin_torchvision(state: State, net: Swin) -> State:
    """torchvision's Swin: odd `features` are stages, even ones the merging before the next. See `swin.py`: the
    weights fit, the arithmetic on grids that are no multiple of the window does not.
    """
    renamed: State = {}
    for key, value in state.items():
        for theirs, ours in _TORCHVISION_PARTS.items():
            key = key.replace(f"{theirs}.", f"{ours}.")
        stage = re.match(r"^features\.(\d+)\.", key)
        if stage:
            index = int(stage[1])
            ours = f"layers.{(index - 1) // 2}.blocks." if index % 2 else f"layers.{index // 2}.downsample."
            key = ours + key[stage.end() :]
        renamed[key] = value
    return swin_timm(renamed, net)


def group_mix_former(state: State, net: GroupMixFormer) -> State:
    """The official GroupMixFormer."""
    return _kept(state, net)


def vmamba(state: State, net: VMamba) -> State:
    """The official VMamba; 1x1 projections may be stored as convolutions (out, in, 1, 1)."""
    renamed: State = {}
    for key, value in state.items():
        for theirs, ours in _VMAMBA_PARTS.items():
            key = key.replace(f"{theirs}.", f"{ours}.")
        key = re.sub(r"^layers\.(\d+)\.blocks\.(\d+)\.", r"stages.\1.\2.", key)
        key = re.sub(r"^layers\.(\d+)\.(conv|norm)\.", r"downsamples.\1.\2.", key)
        key = re.sub(r"^outnorm(\d+)\.", r"norms.\1.", key)
        renamed[key] = value
    return _kept(flat_projections(renamed), net)


def flat_projections(state: State) -> State:
    """VMamba's linear layers as matrices (out, in), however they are stored."""
    linear = re.compile(r"(^|\.)(in_proj|out_proj|fc1|fc2)\.weight$")
    return {key: v.flatten(1) if v.ndim == 4 and linear.search(key) else v for key, v in state.items()}


def _kept(state: State, net: Swin | GroupMixFormer | VMamba) -> State:
    """The entries whose keys `net` has."""
    wanted = net.state_dict().keys()
    return {key: value for key, value in state.items() if key in wanted}


def _last_stage(state: State, pattern: str) -> int:
    """Highest stage number among the keys; 0 where none matches."""
    return max((int(found[1]) for key in state if (found := re.match(pattern, key))), default=0)


def _fit_bias_tables(state: State, net: Swin) -> State:
    """Cut relative-position tables down to the windows that `net` uses on small grids.

    A window that shrank from n x n to h x w needs the offsets up to h - 1 and w - 1 only: the middle of the table,
    exactly, where resizing by interpolation would mix offsets.
    """
    fitted = dict(state)
    for key, table in state.items():
        if not key.endswith(_BIAS_TABLE):
            continue
        rows, columns = net.get_submodule(key.removesuffix(".relative_position_bias_table")).window_size
        wanted = (2 * rows - 1) * (2 * columns - 1)
        side = round(table.shape[0] ** 0.5)
        if table.shape[0] == wanted:
            continue
        if side * side != table.shape[0] or side < 2 * max(rows, columns) - 1:
            raise ValueError(f"{key} has {table.shape[0]} rows; a window of {rows}x{columns} needs {wanted}")
        top, left = (side + 1) // 2 - rows, (side + 1) // 2 - columns
        square = table.unflatten(0, (side, side))
        fitted[key] = square[top : top + 2 * rows - 1, left : left + 2 * columns - 1].flatten(0, 1)
    return fitted
