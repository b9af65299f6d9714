"""MLD's motion VAE (both variants) and denoiser."""

from __future__ import annotations

from functools import cache, partial

import torch
from torch import Tensor, nn

from bodycast.hmr.networks.temporal.diffusion_decoder import Denoiser
from bodycast.hmr.networks.temporal.motion_vae import LatentDistribution, MotionVae
from evaluation.goldens.record import Answers, Golden
from evaluation.goldens.sizes import count_indices


def run_vae(golden: Golden) -> Answers:
    """Encode and decode, with frames masked and without. Latents are sequence first in the files."""
    vae = _vae(golden)

    @cache
    def valid() -> Tensor:
        frames = golden.tensor("features").shape[1]
        return torch.arange(frames) < torch.tensor(golden.setting("lengths")).unsqueeze(1)

    @cache
    def encode(masked: bool) -> LatentDistribution:
        return vae.encode(golden.tensor("features"), valid() if masked else None)

    def decode(masked: bool) -> Tensor:
        z, frames = golden.tensor("z").transpose(0, 1), golden.tensor("features").shape[1]
        return vae.decode(z, frames, valid() if masked else None)

    return {
        "mu": lambda: encode(True).mean.transpose(0, 1),
        "std": lambda: encode(True).std.transpose(0, 1),
        "mu_full": lambda: encode(False).mean.transpose(0, 1),
        "std_full": lambda: encode(False).std.transpose(0, 1),
        "decoded": lambda: decode(True),
        "decoded_full": lambda: decode(False),
        "reconstruction_full": lambda: vae(golden.tensor("features"))[0],
    }


def run_denoiser(golden: Golden) -> Answers:
    """The denoiser at several timesteps. Its unused table `mem_pos` is left out."""
    z, conditions = golden.tensor("sample"), golden.tensor("cond")
    denoiser = Denoiser(
        latents=z.shape[1],
        dim=z.shape[2],
        condition_width=conditions.shape[2],
        layers=_depth(golden, "encoder"),
        heads=golden.setting("heads"),
        ff_width=len(golden.weight("encoder.middle_block.linear1.weight")),
        condition_relu=True,
        positions=len(golden.weight("query_pos.pe")),
    ).eval()
    state = golden.state_tensors()
    state.pop("mem_pos.pe", None)
    if not any(key.startswith("emb_proj.") for key in state):
        denoiser.emb_proj = nn.Identity()  # upstream projects conditions only where their width is not the latents'
    denoiser.load_state_dict(state)
    times = [name.removeprefix("out_t") for name in golden.outputs if name.removeprefix("out_t").isdecimal()]
    return {f"out_t{t}": partial(denoiser, z, int(t), conditions) for t in times}


def _vae(golden: Golden) -> MotionVae:
    """All sizes but the number of heads show in the tensors' shapes."""
    state = golden.state_tensors()
    tokens, dim = golden.weight("global_motion_token").shape
    with_layer = "dist_layer.weight" in state
    vae = MotionVae(
        features=len(golden.weight("final_layer.weight")),
        latents=tokens if with_layer else tokens // 2,
        dim=dim,
        encoder_layers=_depth(golden, "encoder"),
        decoder_layers=_depth(golden, "decoder"),
        heads=golden.setting("heads"),
        ff_width=len(golden.weight("encoder.middle_block.linear1.weight")),
        variant="cross_attention" if any(".multihead_attn." in key for key in state) else "all_encoder",
        distribution_layer=with_layer,
        positions=len(golden.weight("query_pos_encoder.pe")),
    ).eval()
    vae.load_state_dict(state)
    return vae


def _depth(golden: Golden, part: str) -> int:
    """Layers of a skip transformer: as many on the way in as on the way out, and one between."""
    return 1 + 2 * count_indices(golden.state, rf"^{part}\.input_blocks\.(\d+)\.")
