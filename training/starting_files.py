"""Weights to start from under a network's own names: our checkpoints, and the published files of the encoders.

Published layouts are those of `bodycast.hmr.checkpoints.layouts` (Swin of Microsoft, timm and torchvision,
GroupMixFormer, VMamba, HMR2.0, CameraHMR, ViTPose), MoveNet's ONNX file, and a flat ViT alone as MAE and timm store it,
whose table of places is resized to the crop's grid, as ViTPose does (arXiv 2204.12484). Whoever starts a training takes
what fits; a package for the program is loaded strictly instead (`load_checkpoint`).
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bodycast.hmr.checkpoints import LAYOUTS, read_state
from bodycast.hmr.networks.encoders.group_mix_former import GroupMixFormer
from bodycast.hmr.networks.encoders.mobile_net_v2 import MobileNetV2
from bodycast.hmr.networks.encoders.swin import Swin
from bodycast.hmr.networks.encoders.vit import ViT
from bodycast.hmr.networks.encoders.vmamba import VMamba
from bodycast.hmr.networks.merging.mask_token_merging import TokenMergingVit

State = dict[str, Tensor]
ENCODER_LAYOUTS: dict[type[nn.Module], tuple[str, ...]] = {
    Swin: ("swin", "swin-timm", "swin-torchvision"),
    GroupMixFormer: ("gmf",),
    VMamba: ("vmamba",),
}


def starting_state(net: nn.Module, path: Path) -> State:
    """What the file at `path` holds, under `net`'s names where the layout is known here, else as it is.

    Raises: FileNotFoundError, UnsafeCheckpoint, CheckpointMismatch (an ONNX file that is not MoveNet's).
    """
    if path.suffix == ".onnx":
        return _movenet(net, path)
    stored = read_state(path)
    backbone = getattr(net, "backbone", None)
    encoder = backbone.vit if isinstance(backbone, TokenMergingVit) else backbone
    if not isinstance(encoder, nn.Module):
        return stored
    prefix = "backbone.vit." if encoder is not backbone else "backbone."
    if isinstance(encoder, ViT):
        return _flat(encoder, stored, prefix)
    if any(key.startswith("backbone.") for key in stored):
        return stored
    wanted = encoder.state_dict()
    best: State = {}
    for name in next((names for kind, names in ENCODER_LAYOUTS.items() if isinstance(encoder, kind)), ()):
        renamed = LAYOUTS[name].rename(stored, encoder)
        # Microsoft's and timm's names differ only in which stage a patch merging belongs to: the shapes tell.
        fitting = {key: value for key, value in renamed.items() if wanted[key].shape == value.shape}
        best = max(best, fitting, key=len)
    return {prefix + key: value for key, value in best.items()} or stored


def _flat(encoder: ViT, stored: State, prefix: str) -> State:
    """A flat ViT's file: a whole network's, whose encoder may sit one level deeper here, or the encoder alone."""
    if "patch_embed.proj.weight" in stored:
        stored = {prefix + key: value for key, value in stored.items()}
    elif prefix != "backbone.":
        stored = stored | {key.replace("backbone.", prefix, 1): value for key, value in stored.items()}
    table = stored.get(f"{prefix}pos_embed")
    if table is None or table.dim() != 3:
        return stored
    return stored | {f"{prefix}pos_embed": resized_places(table, encoder.grid_hw)}


def resized_places(table: Tensor, grid_hw: tuple[int, int]) -> Tensor:
    """A table of places (1, 1 + n, C), class token first, for a grid: bicubic where n is the square of another grid's
    side; as it is where it fits or its grid is not known."""
    places = table.shape[1] - 1
    side = round(places**0.5)
    if places == grid_hw[0] * grid_hw[1] or side * side != places:
        return table
    square = table[:, 1:].float().unflatten(1, (side, side)).permute(0, 3, 1, 2)
    fitted = F.interpolate(square, grid_hw, mode="bicubic", align_corners=False).flatten(2).transpose(1, 2)
    return torch.cat([table[:, :1].float(), fitted], dim=1)


def _movenet(net: nn.Module, path: Path) -> State:
    """MoveNet's published file into its encoder, cut where the network's is."""
    from bodycast.hmr.checkpoints.movenet_onnx import read_movenet

    state = read_movenet(path).state_dict()
    if isinstance(getattr(net, "backbone", None), MobileNetV2):
        return {key: value for key, value in state.items() if key.startswith("backbone.")}
    return state
