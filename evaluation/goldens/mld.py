"""MLD's motion VAE (both variants) and denoiser."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray
from torch import nn

from evaluation.goldens.record import Golden, Ours
from hmr.networks.temporal.diffusion_decoder import Denoiser
from hmr.networks.temporal.motion_vae import MotionVae


def run_vae(golden: Golden) -> dict[str, NDArray[Any] | Ours]:
    """Encode and decode, with frames masked and without. Latents are sequence first in the files."""
    c = golden.config
    latents, dim = c["latent"]
    vae = MotionVae(
        features=c["nfeats"],
        latents=latents,
        dim=dim,
        encoder_layers=c["layers"],
        decoder_layers=c["layers"],
        heads=c["heads"],
        ff_width=c["ff"],
        variant="all_encoder" if c["arch"] == "all_encoder" else "cross_attention",
        distribution_layer=c["mlp_dist"],
    ).eval()
    vae.load_state_dict(golden.state_tensors())
    motion = golden.tensor("features")
    frames = motion.shape[1]
    valid = torch.arange(frames) < torch.tensor(c["lengths"]).unsqueeze(1)
    z = golden.tensor("z").transpose(0, 1)
    masked, full = vae.encode(motion, valid), vae.encode(motion)
    return {
        "mu": masked.mean.transpose(0, 1).numpy(),
        "std": masked.std.transpose(0, 1).numpy(),
        "mu_full": full.mean.transpose(0, 1).numpy(),
        "std_full": full.std.transpose(0, 1).numpy(),
        "decoded": vae.decode(z, frames, valid).numpy(),
        "decoded_full": vae.decode(z, frames).numpy(),
        "reconstruction_full": vae(motion)[0].numpy(),
    }


def run_denoiser(golden: Golden) -> dict[str, NDArray[Any] | Ours]:
    """The denoiser at several timesteps. Its unused table `mem_pos` is left out."""
    c = golden.config
    latents, dim = c["latent"]
    denoiser = Denoiser(
        latents=latents,
        dim=dim,
        condition_width=c["cond"],
        layers=c["layers"],
        heads=c["heads"],
        ff_width=c["ff"],
        condition_relu=True,
    ).eval()
    state = golden.state_tensors()
    state.pop("mem_pos.pe", None)
    if not any(key.startswith("emb_proj.") for key in state):
        denoiser.emb_proj = nn.Identity()  # upstream projects conditions only where their width is not the latents'
    denoiser.load_state_dict(state)
    z, conditions = golden.tensor("sample"), golden.tensor("cond")
    return {f"out_t{t}": denoiser(z, t, conditions).numpy() for t in c["t"]}
