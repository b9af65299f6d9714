"""Adapters find their sizes in a file's tensors: networks of ours of odd sizes, saved under the official names.

What these files hold is our own arithmetic, so they test how files are read, not what is computed.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bodycast.hmr.networks.decoders.smpl_transformer import SmplTransformerDecoder
from bodycast.hmr.networks.encoders.group_mix_former import GroupMixFormer
from bodycast.hmr.networks.encoders.vit import ViT
from bodycast.hmr.networks.encoders.vmamba import VMamba
from bodycast.hmr.networks.temporal.diffusion_decoder import Denoiser
from bodycast.hmr.networks.temporal.motion_vae import MotionVae
from evaluation.goldens.runner import check_file
from tests.networks.network_checks import shake
from tests.parity.golden_files import save_golden

State = dict[str, Tensor]


def assert_agrees(path: Path, repo: str, config: dict[str, Any], state: State, inputs: State, outputs: State) -> None:
    """Save a file, read it back, and expect every output to be the same; `repo` may carry the class after a colon."""
    name, _, cls = repo.partition(":")
    rows = check_file(save_golden(path, {"repo": name, "cls": cls, "config": config}, state, inputs, outputs))
    assert [(row.output, row.status) for row in rows] == [(output, "ok") for output in outputs], rows


@torch.no_grad()
def test_group_mix_former_of_three_stages(tmp_path: Path) -> None:
    net = shake(GroupMixFormer((40, 80, 40), (1, 2, 1), (2, 3.3, 2.5), stages=3, image_hw=(72, 100), norm="none"))
    images = torch.randn(1, 3, 72, 100)
    outputs = {f"stage{i}": m for i, m in enumerate(net(images))}
    assert_agrees(tmp_path / "x.npz", "AILab-CVC/GroupMixFormer", {}, net.state_dict(), {"img": images}, outputs)


@torch.no_grad()
def test_vmamba_that_gives_its_last_two_maps(tmp_path: Path) -> None:
    net = shake(VMamba((8, 16, 32), (1, 2, 1), 1.5, stages=3, image_hw=(64, 80), mlp_ratio=2.5, norm="all"))
    images = torch.randn(2, 3, 64, 80)
    names = (
        (r"^stages\.(\d)\.(\d)\.", r"layers.\1.blocks.\2."),
        (r"^downsamples\.(\d)\.conv", r"layers.\1.downsample.1"),
        (r"^downsamples\.(\d)\.norm", r"layers.\1.downsample.3"),
        (r"^norms\.(\d)", r"outnorm\1"),
        (r"^patch_embed\.conv1", "patch_embed.0"),
        (r"^patch_embed\.norm1", "patch_embed.2"),
        (r"^patch_embed\.conv2", "patch_embed.5"),
        (r"^patch_embed\.norm2", "patch_embed.7"),
    )
    state: State = {}
    for key, value in net.state_dict().items():
        for ours, theirs in names:
            key = re.sub(ours, theirs, key)
        state[key] = value
    del state["outnorm0.weight"], state["outnorm0.bias"]
    outputs = {f"stage{i}": m for i, m in enumerate(net(images)) if i}
    assert_agrees(tmp_path / "x.npz", "MzeroMiko/VMamba:Backbone_VSSM", {}, state, {"img": images}, outputs)


@torch.no_grad()
def test_hmr2_without_query_biases_and_with_one_wide_decoder_head(tmp_path: Path) -> None:
    encoder = ViT(24, 2, 3, 2.5, image_hw=(64, 48))
    decoder = SmplTransformerDecoder(24, width=16, depth=2, heads=1, head_width=16, mlp_width=20)
    shake(encoder)
    shake(decoder)
    for key, value in (*encoder.named_parameters(), *decoder.named_parameters()):
        if key.endswith(("qkv.bias", "to_out.0.bias")):
            nn.init.zeros_(value)
        elif key.endswith("to_out.0.weight"):
            nn.init.eye_(value)
    state = {f"backbone.{k}": v for k, v in encoder.state_dict().items() if not k.endswith("qkv.bias")}
    state |= {f"smpl_head.{k}": v for k, v in decoder.state_dict().items() if ".to_out.0." not in k}
    images = torch.randn(2, 3, 64, 64)
    features = encoder(images[..., 8:-8])[-1]
    body = decoder(features)
    outputs = {"features": features, "rotmat": body.rotmat, "cam": body.camera}
    config = {"vit": {"num_heads": 3}, "decoder": {"heads": 1}}
    assert_agrees(tmp_path / "x.npz", "shubham-goel/4D-Humans:hmr2", config, state, {"img": images}, outputs)


@torch.no_grad()
@pytest.mark.parametrize("layer", [False, True])
def test_motion_vae_with_a_short_table_and_unequal_depths(tmp_path: Path, layer: bool) -> None:
    sizes = {"features": 10, "latents": 2, "dim": 12, "heads": 3, "ff_width": 14, "positions": 30}
    vae = shake(MotionVae(encoder_layers=5, decoder_layers=1, distribution_layer=layer, **sizes))
    motion = torch.randn(2, 9, 10)
    outputs = {"mu_full": vae.encode(motion).mean.transpose(0, 1), "reconstruction_full": vae(motion)[0]}
    source = "ChenFengYe/motion-latent-diffusion:MldVae"
    assert_agrees(tmp_path / "x.npz", source, {"heads": 3}, vae.state_dict(), {"features": motion}, outputs)


@torch.no_grad()
def test_denoiser_whose_conditions_have_the_width_of_the_latents(tmp_path: Path) -> None:
    denoiser = Denoiser(2, 12, 12, layers=3, heads=2, ff_width=14, positions=40)
    denoiser.emb_proj = nn.Identity()
    shake(denoiser)
    z, conditions = torch.randn(3, 2, 12), torch.randn(3, 5, 12)
    outputs = {f"out_t{t}": denoiser(z, t, conditions) for t in (3, 998)}
    source, inputs = "ChenFengYe/motion-latent-diffusion:MldDenoiser", {"sample": z, "cond": conditions}
    assert_agrees(tmp_path / "x.npz", source, {"heads": 2}, denoiser.state_dict(), inputs, outputs)


def test_a_configuration_that_lacks_what_no_shape_shows_is_named(tmp_path: Path) -> None:
    denoiser = Denoiser(2, 12, 12, layers=1, heads=2, ff_width=14)
    inputs = {"sample": torch.randn(1, 2, 12), "cond": torch.randn(1, 3, 12)}
    meta = {"repo": "ChenFengYe/motion-latent-diffusion", "cls": "MldDenoiser", "config": {}}
    path = save_golden(tmp_path / "x.npz", meta, denoiser.state_dict(), inputs, {"out_t0": torch.zeros(1, 2, 12)})
    (row,) = check_file(path)
    assert row.status == "OFF" and "the configuration lacks 'heads'" in row.note
