"""What the published checkpoints hold, under which names, and what of it is left out on purpose.

Renaming is in hmr/networks/encoders/official_keys.py; here stands which keys may go unused, and why, and which of ours
a checkpoint may lack. Anything else is an error (hmr/checkpoints/loading.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from bodycast.hmr.networks.encoders import official_keys
from bodycast.hmr.networks.hmr_net import HmrNet
from bodycast.hmr.networks.merging.mask_token_merging import TokenMergingVit

State = dict[str, Tensor]
Rules = tuple[tuple[str, str], ...]
Target = Literal["network", "encoder"]


def _network_keys(state: State, net: nn.Module) -> State:
    """Our names are the official ones, but for the ViT that a token-merging wrapper holds."""
    if isinstance(net, HmrNet) and isinstance(net.backbone, TokenMergingVit):
        return {re.sub(r"^backbone\.", "backbone.vit.", key): value for key, value in state.items()}
    return dict(state)


def _encoder_of_network_keys(state: State, net: nn.Module) -> State:
    """A whole network's checkpoint into its encoder alone."""
    del net
    return {key.removeprefix("backbone."): value for key, value in state.items() if key.startswith("backbone.")}


@dataclass(frozen=True)
class Layout:
    """One published layout.

    Attributes:
        origin: who writes such files.
        target: whether it fills the whole network or its encoder.
        rename: official state dict and our module -> state dict under our names (keys without a home left out).
        ignored: (pattern, reason) of official keys that need no home.
        may_lack: patterns of our keys that such a checkpoint does not have; they keep their initial values.
        stage: pattern whose first group is the stage number of a key; stages behind a network's cut are ignored.
        downsample_ends_stage: patch merging carries the number of the stage before it.
    """

    origin: str
    target: Target
    rename: Callable[[State, nn.Module], State]
    ignored: Rules = ()
    may_lack: tuple[str, ...] = ()
    stage: str = ""
    downsample_ends_stage: bool = False

    def ignores(self, key: str, net: nn.Module) -> str | None:
        """Why an official key needs no home in `net`; None where it does need one."""
        for pattern, reason in self.ignored:
            if re.search(pattern, key):
                return reason
        found = re.search(self.stage, key) if self.stage else None
        if found is None:
            return None
        stage = self._stage_number(int(found[1]), key)
        return "behind the cut" if stage >= len(net.feature_info) else None

    def _stage_number(self, number: int, key: str) -> int:
        if self.stage.startswith(r"^features"):
            # torchvision: 0 is the patch embedding, odd numbers are stages, even ones the merging before the next.
            return (number - 1) // 2 if number % 2 else number // 2
        return number + 1 if self.downsample_ends_stage and ".downsample." in key else number


_SWIN_IGNORED: Rules = (
    (r"(attn_mask|relative_position_index)$", "derived from the sizes"),
    (r"^head\.", "classifier"),
)
# The official classifiers norm the last map only; a cut network norms its own last map.
_CUT_NORM = (r"^norms\.\d+\.",)
_FINAL_NORM = (r"^norm\.", "norm of the last stage, behind the cut")
_HMR2_IGNORED: Rules = (
    (r"^smpl\.", "body model, read from its own file"),
    (r"^discriminator\.", "training only"),
    (r"^initialized$", "training only"),
)

LAYOUTS: dict[str, Layout] = {
    # HMR2.0 (a and b), TH's HMR2.0-S and any other size; the mean parameters come from the checkpoint, always.
    "hmr2": Layout(
        "4D-Humans (Lightning)", "network", _network_keys, _HMR2_IGNORED, may_lack=(r"^smpl_head\.decscore\.",)
    ),
    # The frozen ViT of the deformable networks, whose taps are raw and leave out the last norm.
    "hmr2-encoder": Layout(
        "4D-Humans (Lightning)",
        "encoder",
        _encoder_of_network_keys,
        (*_HMR2_IGNORED, (r"^smpl_head\.", "decoder"), (r"^backbone\.last_norm\.", "norm behind the last tap")),
    ),
    # Same encoder and decoder; a further readout for dense keypoints is not used here.
    "camerahmr": Layout(
        "CameraHMR (Lightning)",
        "network",
        _network_keys,
        (
            *_HMR2_IGNORED,
            (r"^smpl_head\.dec(?!pose|shape|cam)\w+\.", "readout that is not used here"),
            (r"^(cam_model|fov_model|smpl_gt)\.", "separate network"),
        ),
        may_lack=(r"^smpl_head\.decscore\.",),
    ),
    "camerahmr-fov": Layout(
        "CameraHMR's field-of-view network",
        "network",
        _network_keys,
        ((r"^fc2\.", "layer that is not used"), (r"^backbone\.final_layer\.", "HRNet's keypoint head")),
    ),
    "vitpose": Layout(
        "ViTPose (mmpose)",
        "network",
        _network_keys,
        ((r"^associate_keypoint_heads\.", "heads of other data sets"),),
    ),
    "vitpose-encoder": Layout(
        "ViTPose (mmpose)",
        "encoder",
        _encoder_of_network_keys,
        ((r"^(keypoint_head|associate_keypoint_heads)\.", "pose head"),),
    ),
    "swin": Layout(
        "Microsoft's Swin",
        "encoder",
        official_keys.swin_official,
        (*_SWIN_IGNORED, _FINAL_NORM),
        _CUT_NORM,
        r"^layers\.(\d+)\.",
        downsample_ends_stage=True,
    ),
    "swin-timm": Layout(
        "timm's Swin",
        "encoder",
        official_keys.swin_timm,
        (*_SWIN_IGNORED, _FINAL_NORM),
        _CUT_NORM,
        r"^layers[._](\d+)\.",
    ),
    "swin-torchvision": Layout(
        "torchvision's Swin",
        "encoder",
        official_keys.swin_torchvision,
        (*_SWIN_IGNORED, _FINAL_NORM),
        _CUT_NORM,
        r"^features\.(\d+)\.",
    ),
    "gmf": Layout(
        "GroupMixFormer",
        "encoder",
        official_keys.group_mix_former,
        ((r"^(norm4|head)\.", "classifier"),),
        _CUT_NORM,
        r"^(?:patch_embed_layers|groupmixformer_backbone)\.(\d+)\.",
    ),
    "vmamba": Layout(
        "VMamba",
        "encoder",
        official_keys.vmamba,
        ((r"^classifier\.", "classifier"), (r"^outnorm\d+\.", "norm of an inner stage")),
        _CUT_NORM,
        r"^layers\.(\d+)\.",
        downsample_ends_stage=True,
    ),
}
