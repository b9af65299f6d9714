"""FastHMR's temporal diffusion decoder: per-frame features of a clip -> its motion, in one denoising step.

Sources: FastHMR (Mehraban et al. 2025, arXiv 2510.10868), diffusion decoder, for the design and sizes; MLD (Chen et
al. 2023, arXiv 2212.04048; MIT) for the denoiser, whose parameter names are kept.

The noisy latents, one time token and the clip's features form one sequence; the outputs at the latents' places are the
predicted velocity. With a zero-terminal-SNR schedule the single step from pure noise is z0 = -v.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bodycast.hmr.networks.temporal.motion_vae import MotionVae
from bodycast.hmr.networks.temporal.noise_schedule import NoiseSchedule, timestep_sinusoid
from bodycast.hmr.networks.temporal.skip_transformer import LearnedPosition, SkipTransformer


class TimeEmbedding(nn.Module):
    """Linear, SiLU, Linear on the timestep's sinusoid, which has the width of the conditions."""

    def __init__(self, channels: int, dim: int) -> None:
        super().__init__()
        self.channels = channels
        self.linear_1 = nn.Linear(channels, dim)
        self.linear_2 = nn.Linear(dim, dim)

    def forward(self, t: Tensor) -> Tensor:
        """Timesteps (B,) -> (B, dim)."""
        code = timestep_sinusoid(t, self.channels).to(self.linear_1.weight.dtype)
        return self.linear_2(F.silu(self.linear_1(code)))


class Denoiser(nn.Module):
    """Velocity of noisy latents under a clip's features.

    latents, dim: n and d. condition_width: channels of the features. layers: odd.
    condition_relu: MLD passes the conditions through a ReLU before their projection; FastHMR says a linear map.
    """

    def __init__(
        self,
        latents: int = 27,
        dim: int = 512,
        condition_width: int = 1024,
        layers: int = 5,
        heads: int = 4,
        ff_width: int = 1024,
        dropout: float = 0.001,
        condition_relu: bool = False,
        positions: int = 500,
    ) -> None:
        super().__init__()
        self.latents, self.dim, self.condition_width = latents, dim, condition_width
        self.time_embedding = TimeEmbedding(condition_width, dim)
        self.emb_proj = nn.Sequential(nn.ReLU() if condition_relu else nn.Identity(), nn.Linear(condition_width, dim))
        self.query_pos = LearnedPosition(dim, positions)
        self.encoder = SkipTransformer(dim, layers, heads, ff_width, dropout)

    def forward(self, z_t: Tensor, t: Tensor | int, conditions: Tensor) -> Tensor:
        """z_t (B, n, d), t (B,) or one integer, conditions (B, F, condition_width) -> velocity (B, n, d)."""
        if tuple(z_t.shape[1:]) != (self.latents, self.dim) or conditions.shape[-1] != self.condition_width:
            raise ValueError(
                f"expected latents (B, {self.latents}, {self.dim}) and conditions (B, F, {self.condition_width}), "
                f"got {tuple(z_t.shape)} and {tuple(conditions.shape)}"
            )
        # A number is filled in on the device: a copy from the host could not be recorded in a CUDA graph.
        times = t.reshape(-1) if isinstance(t, Tensor) else torch.full((1,), t, device=z_t.device)
        time = self.time_embedding(times).unsqueeze(1).expand(z_t.shape[0], -1, -1)
        sequence = torch.cat((z_t, time, self.emb_proj(conditions)), dim=1)
        return self.encoder(self.query_pos(sequence))[:, : self.latents]


class DiffusionDecoder(nn.Module):
    """Features of a clip -> motion: what runs at inference.

    frames: F, the window's length (FastHMR: 243). steps: denoising steps (FastHMR: 1). The starting noise is drawn once
    with `seed` and kept, so the same clip always gives the same motion. `motion_mean` and `motion_std`, buffers
    (features,), undo the normalisation that the VAE was trained with. motion_conditions: the conditions are estimates
    of the motion itself, like the answer (for networks without tokens to learn from), and normalised likewise.

    Raises ValueError for latents, or conditions, that do not fit.
    """

    noise: Tensor
    motion_mean: Tensor
    motion_std: Tensor

    def __init__(self, vae: MotionVae, denoiser: Denoiser, frames: int = 243, steps: int = 1, seed: int = 0,
                 motion_conditions: bool = False) -> None:  # fmt: skip
        super().__init__()
        if (vae.latents, vae.dim) != (denoiser.latents, denoiser.dim):
            raise ValueError(
                f"VAE latents {vae.latents} x {vae.dim} and denoiser latents {denoiser.latents} x {denoiser.dim} differ"
            )
        if motion_conditions and denoiser.condition_width != vae.features:
            raise ValueError(f"motion has {vae.features} numbers a frame, the conditions {denoiser.condition_width}")
        self.vae, self.denoiser = vae, denoiser
        self.motion_conditions = motion_conditions
        self.frames, self.steps = frames, steps
        self.schedule = NoiseSchedule()
        # Drawn on the CPU: the same seed gives the same numbers on every device.
        generator = torch.Generator("cpu").manual_seed(seed)
        noise = torch.randn(1, vae.latents, vae.dim, generator=generator, device="cpu")
        self.register_buffer("noise", noise.to(vae.final_layer.weight.device))
        self.register_buffer("motion_mean", torch.zeros(vae.features))
        self.register_buffer("motion_std", torch.ones(vae.features))

    def forward(self, conditions: Tensor) -> Tensor:
        """Per-frame features (B, F, condition_width) -> motion (B, F, 133): joints in metres, twists as cos, sin."""
        if conditions.shape[1] != self.frames:
            raise ValueError(
                f"the window has {self.frames} frames, got {conditions.shape[1]}: resample or split the clip"
            )
        if self.motion_conditions:
            conditions = (conditions - self.motion_mean) / self.motion_std
        noise = self.noise.expand(conditions.shape[0], -1, -1)
        z0 = self.schedule.sample(lambda z, t: self.denoiser(z, t, conditions), noise, self.steps)
        return self.vae.decode(z0, self.frames) * self.motion_std + self.motion_mean

    def drop_encoder(self) -> DiffusionDecoder:
        """Remove what only training needs (the VAE's encoder side); returns self."""
        for name in ("encoder", "skel_embedding", "query_pos_encoder", "global_motion_token", "dist_layer"):
            if getattr(self.vae, name, None) is not None:
                delattr(self.vae, name)
        return self


def resample_frames(values: Tensor, frames: int) -> Tensor:
    """Linear resampling along time: (B, F, C) -> (B, frames, C), first and last frame kept.

    FastHMR stretches clips shorter than its window to it, and the result back.
    """
    if values.shape[1] == 1:
        return values.expand(-1, frames, -1)
    at = values.transpose(1, 2)
    return F.interpolate(at, frames, mode="linear", align_corners=True).transpose(1, 2)
