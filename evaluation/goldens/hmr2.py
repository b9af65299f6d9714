"""HMR2.0: encoder and decoder head from a square crop, and the two camera formulas that belong to them."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

from bodycast.hmr.networks.decoders.smpl_transformer import SmplPrediction, SmplTransformerDecoder
from bodycast.hmr.networks.encoders.vit import ViT
from evaluation.goldens.record import Answers, Golden
from evaluation.goldens.sizes import count_indices, hidden_ratio, with_absent_biases

FOCAL_PX = 5000.0
"""HMR2.0's focal length, whatever the side of its square crop."""


def run(golden: Golden) -> Answers:
    """The network drops the columns by which the square crop exceeds the encoder's width, half on each side.

    A file with the encoder's map (in/features) in place of the picture (in/img) is about the decoder alone.
    """

    @cache
    def features() -> Tensor:
        if "features" in golden.inputs:
            return golden.tensor("features")
        encoder, image = _encoder(golden), golden.tensor("img")
        width = encoder.image_hw[1]
        margin = (image.shape[-1] - width) // 2
        return encoder(image[..., margin : margin + width])[-1]

    @cache
    def body() -> SmplPrediction:
        return _decoder(golden)(features())

    @cache
    def translation() -> Tensor:
        camera = body().camera
        return torch.cat((camera[:, 1:], 2 * FOCAL_PX / (_crop_px(golden) * camera[:, :1] + 1e-9)), dim=1)

    def keypoints() -> Tensor:
        points = golden.tensor("joints3d") + translation().unsqueeze(1)
        return points[..., :2] / points[..., 2:] * (FOCAL_PX / _crop_px(golden))

    return {
        "features": features,
        "token": lambda: body().token,
        "pose6d": lambda: body().pose6d,
        "rotmat": lambda: body().rotmat,
        "betas": lambda: body().betas,
        "cam": lambda: body().camera,
        "cam_t": translation,
        "keypoints2d": keypoints,
    }


def _crop_px(golden: Golden) -> int:
    """Side of the square crop."""
    return golden.array("img").shape[-2] if "img" in golden.inputs else int(golden.setting("vit")["img_size"][0])


def _encoder(golden: Golden) -> ViT:
    sizes: dict[str, Any] = golden.setting("vit")
    kernel = golden.weight("backbone.patch_embed.proj.weight")
    image = golden.array("img")
    # The released networks see a square crop, three quarters of its width.
    size = sizes.get("img_size", (image.shape[-2], image.shape[-2] * 3 // 4))
    height, width = (size, size) if isinstance(size, int) else size
    encoder = ViT(
        kernel.shape[0],
        count_indices(golden.state, r"^backbone\.blocks\.(\d+)\."),
        sizes["num_heads"],
        hidden_ratio(golden.weight("backbone.blocks.0.mlp.fc1.weight")),
        image_hw=(height, width),
        patch_size=kernel.shape[-1],
    ).eval()
    encoder.load_state_dict(with_absent_biases(golden.state_tensors("backbone."), encoder))
    return encoder


def _decoder(golden: Golden) -> SmplTransformerDecoder:
    sizes: dict[str, Any] = golden.setting("decoder")
    if sizes.get("norm", "layer") != "layer":
        raise ValueError(f"our decoder norms by layer, not by {sizes['norm']!r}")
    layer = "smpl_head.transformer.transformer.layers.0"
    inner, width = golden.weight(f"{layer}.1.fn.to_q.weight").shape
    heads = sizes["heads"]
    decoder = SmplTransformerDecoder(
        golden.weight(f"{layer}.1.fn.to_kv.weight").shape[1],
        width=width,
        depth=count_indices(golden.state, r"^smpl_head\.transformer\.transformer\.layers\.(\d+)\."),
        heads=heads,
        head_width=inner // heads,
        mlp_width=len(golden.weight(f"{layer}.2.fn.net.0.weight")),
    ).eval()
    state = golden.state_tensors("smpl_head.")
    if heads == 1 and inner == width:
        # The official attention leaves its output projection out here; ours has one, so it gets the identity.
        absent = [key for key in decoder.state_dict() if key not in state and ".to_out.0." in key]
        state |= {key: torch.eye(width) if key.endswith("weight") else torch.zeros(width) for key in absent}
    decoder.load_state_dict(state)
    return decoder
