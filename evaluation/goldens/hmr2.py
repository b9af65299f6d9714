"""HMR2.0: encoder and decoder head from a square crop, and the two camera formulas that belong to them."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from evaluation.goldens.record import Golden
from hmr.networks.decoders.smpl_transformer import SmplTransformerDecoder
from hmr.networks.encoders.vit import ViT

FOCAL_PX = 5000.0
"""HMR2.0's focal length, whatever the side of its square crop."""


def run(golden: Golden) -> dict[str, NDArray[Any]]:
    """The network drops the columns by which the square crop exceeds the encoder's width, half on each side."""
    vit, head = golden.config["vit"], golden.config["decoder"]
    height, width = vit["img_size"]
    encoder = ViT(
        vit["embed_dim"],
        vit["depth"],
        vit["num_heads"],
        vit["mlp_ratio"],
        image_hw=(height, width),
        patch_size=vit["patch_size"],
    ).eval()
    encoder.load_state_dict(golden.state_tensors("backbone."))
    decoder = SmplTransformerDecoder(
        head["context_dim"],
        width=head["dim"],
        depth=head["depth"],
        heads=head["heads"],
        head_width=head["dim_head"],
        mlp_width=head["mlp_dim"],
    ).eval()
    decoder.load_state_dict(golden.state_tensors("smpl_head."))
    image = golden.tensor("img")
    crop_px = image.shape[-2]
    margin = (image.shape[-1] - width) // 2
    features = encoder(image[..., margin : margin + width])[-1]
    out = decoder(features)
    scale, shift = out.camera[:, :1], out.camera[:, 1:]
    translation = torch.cat((shift, 2 * FOCAL_PX / (crop_px * scale + 1e-9)), dim=1)
    points = golden.tensor("joints3d") + translation.unsqueeze(1)
    answers: dict[str, Tensor] = {
        "features": features,
        "token": out.token,
        "pose6d": out.pose6d,
        "rotmat": out.rotmat,
        "betas": out.betas,
        "cam": out.camera,
        "cam_t": translation,
        "keypoints2d": points[..., :2] / points[..., 2:] * (FOCAL_PX / crop_px),
    }
    return {name: answers[name].numpy() for name in golden.outputs if name in answers}
