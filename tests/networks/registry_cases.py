"""Every registered family at tiny widths, for the registry's tests."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from bodycast.hmr.networks.encoders.group_mix_former import GroupMixFormerSize
from bodycast.hmr.networks.encoders.swin import SwinSize
from bodycast.hmr.networks.encoders.vit import ViTSize
from bodycast.hmr.networks.encoders.vmamba import VMambaSize
from bodycast.hmr.networks.registry import ModelSpec, build, find

IMAGE_HW = (64, 48)
DECODER = {"width": 16, "depth": 2, "heads": 2, "head_width": 4, "mlp_width": 12}
DENSE = DECODER | {"queries": 26}
DEFORMABLE = {"width": 16, "heads": 2, "points": 2, "layers": 2, "ff_width": 12}
SKIP = {"latents": 3, "dim": 16, "heads": 2, "ff_width": 24}
FOV = {"width": 2, "hidden": 8, "modules": (1, 1, 1), "image_hw": (64, 64)}
CLIP = {"frames": 9, "condition_width": 12}
VIT = ViTSize(16, 4, 2, 0.0)
SWIN = SwinSize(8, (2, 2, 1, 1), (2, 2, 4, 4), 0.0)
GMF = GroupMixFormerSize((40, 40, 80, 80), (1, 1, 1, 1), (2, 2, 2, 2), 0.0)
VMAMBA = VMambaSize(8, (1, 1, 1, 1), 2.0, 0.0)


class TinyPyramid(nn.Module):
    """Three convolutions: maps of strides 8, 16 and 32 in place of a ResNet-50's."""

    def __init__(self, channels: tuple[int, ...] = (6, 8, 10)) -> None:
        super().__init__()
        widths = (3, *channels)
        self.stages = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride=8 if i == 0 else 2, padding=1)
            for i, (a, b) in enumerate(zip(widths, channels, strict=False))
        )

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        maps = []
        for stage in self.stages:
            x = stage(x).tanh()
            maps.append(x)
        return maps


def _flat(**extra: Any) -> dict[str, Any]:
    return {"size": VIT, "decoder": DECODER, "blocks": None, **extra}


# registered name -> overrides that make it tiny
TINY: dict[str, dict[str, Any]] = {
    "person-detector": {
        "image_hw": (64, 96),
        "backbone": "residual",
        "widths": (4, 4, 6, 8, 8),
        "depths": (0, 1, 1, 1, 1),
        "neck": 8,
        "head": 8,
    },
    "hmr2-s": _flat(),
    "hmr2-s-fast": _flat(blocks=3, schedule=(3, 2), score=True),
    "camerahmr-h": _flat(),
    "camerahmr-h-fast": _flat(blocks=3, schedule=(3, 2)),
    "dense26": _flat(decoder=DENSE),
    "deformable": {"size": VIT, "decoder": DEFORMABLE},
    "deformable-x4": {"size": VIT, "decoder": DEFORMABLE | {"value_projection": "shared"}},
    "deformable-x8": {"size": VIT, "decoder": DEFORMABLE},
    "deformable-x16": {"size": VIT, "decoder": DEFORMABLE},
    "cliff-r50": {"backbone": TinyPyramid(), "channels": 10, "hidden": 12},
    "deformable-detr-r50": {
        **DEFORMABLE,
        "backbone": TinyPyramid(),
        "backbone_channels": (6, 8, 10),
    },
    "swin-t-s2": {"size": SWIN, "decoder": DECODER},
    "swin-b-s3": {"size": SWIN, "decoder": DECODER},
    "gmf-t-s2": {"size": GMF, "decoder": DECODER},
    "vmamba-t-s2": {"size": VMAMBA, "decoder": DECODER},
    "pose-vit-s": {"size": VIT},
    "pose-vit-s-simple": {"size": VIT},
    "pose-swin-t-s2": {"size": SWIN},
    "pose-gmf-t-s3": {"size": GMF},
    "pose-vmamba-t-s4": {"size": VMAMBA},
    "movenet-lightning": {"size": 0.25, "image_hw": (64, 64)},
    "mobile-lightning-s2": {"size": 0.25, "decoder": DECODER},
    "keypoint-fusion": {"width": 16, "depth": 1},
    "motion-vae": SKIP | {"encoder_layers": 3, "decoder_layers": 1},
    "motion-vae-all-encoder": SKIP | {"encoder_layers": 3, "decoder_layers": 3},
    "diffusion-decoder": SKIP | CLIP | {"denoiser_layers": 3, "vae_encoder_layers": 1, "vae_decoder_layers": 3},
    "camerahmr-fov": FOV,
    "window-smoother": {"dim": 16, "layers": 3, "heads": 2, "ff_width": 24, "frames": 12},
}


def tiny(name: str) -> nn.Module:
    """The registered network at tiny widths, 64x48 crops where it takes any, seeded."""
    torch.manual_seed(0)
    crops = {"image_hw": IMAGE_HW} if find(name).kind in ("hmr", "pose") else {}
    return build(name, **(crops | TINY[name]))


def architecture(spec: ModelSpec) -> tuple[Any, ...]:
    """What tells registered networks apart but their sizes: two of the same architecture run the same code."""
    values = spec.arguments
    return (
        spec.builder.__name__,
        *(values.get(key) for key in ("family", "head", "query_input", "factor", "variant")),
        values.get("decoder") == "dense26",
        "schedule" in values,
    )
