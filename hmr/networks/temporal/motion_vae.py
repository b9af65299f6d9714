"""Variational autoencoder of motion clips.

Sources: FastHMR (Mehraban et al. 2025, arXiv 2510.10868), motion VAE, for what a frame holds and the sizes; MLD (Chen
et al. 2023, arXiv 2212.04048; MIT) for the network in both of its forms, whose parameter names are kept.

A frame is 133 numbers: 29 joints in metres, then cosine and sine of 23 bone twists: exactly what
hmr/body/inverse_kinematics.py turns into SMPL rotations.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from bodycast.hmr.networks.temporal.skip_transformer import LearnedPosition, SkipTransformer

JOINTS, TWISTS = 29, 23
MOTION_FEATURES = JOINTS * 3 + TWISTS * 2
Variant = Literal["cross_attention", "all_encoder"]
KL_WEIGHT = 1e-4


def pack_motion(joints: Tensor, twists: Tensor) -> Tensor:
    """joints (..., 29, 3) m and twists (..., 23, 2) cos, sin -> frames (..., 133)."""
    return torch.cat((joints.flatten(-2), twists.flatten(-2)), dim=-1)


def unpack_motion(frames: Tensor) -> tuple[Tensor, Tensor]:
    """Inverse of `pack_motion`; the twists are scaled to unit length."""
    joints = frames[..., : JOINTS * 3].unflatten(-1, (JOINTS, 3))
    twists = frames[..., JOINTS * 3 :].unflatten(-1, (TWISTS, 2))
    return joints, torch.nn.functional.normalize(twists, dim=-1)


class LatentDistribution(NamedTuple):
    """Mean and standard deviation of a clip's latents, each (B, n, d)."""

    mean: Tensor
    std: Tensor

    def sample(self, noise: Tensor) -> Tensor:
        """mean + std * noise, noise (B, n, d) standard normal."""
        return self.mean + self.std * noise


class MotionVae(nn.Module):
    """Clips (B, F, features) <-> latents (B, n, d).

    features: numbers per frame. latents, dim: n and d; FastHMR takes 27 x 512 for 243 frames.
    encoder_layers, decoder_layers (odd): FastHMR prints 9 layers, its size is met by a decoder of 5 (docs/papers.md).
    variant: "cross_attention" decodes zero queries that read the latents; "all_encoder" runs an encoder over
        [latents, zero queries].
    distribution_layer: n learned tokens and a linear map to mean and log-variance; else 2n tokens, half of them for
        each.
    """

    def __init__(
        self,
        features: int = MOTION_FEATURES,
        latents: int = 27,
        dim: int = 512,
        encoder_layers: int = 9,
        decoder_layers: int = 5,
        heads: int = 4,
        ff_width: int = 1024,
        dropout: float = 0.1,
        variant: Variant = "cross_attention",
        distribution_layer: bool = False,
        positions: int = 500,
    ) -> None:
        super().__init__()
        if variant not in ("cross_attention", "all_encoder"):
            raise ValueError(f'variant must be "cross_attention" or "all_encoder", got {variant!r}')
        self.features, self.latents, self.dim, self.variant = features, latents, dim, variant
        tokens = latents if distribution_layer else 2 * latents
        self.skel_embedding = nn.Linear(features, dim)
        self.global_motion_token = nn.Parameter(torch.randn(tokens, dim))
        self.query_pos_encoder = LearnedPosition(dim, positions)
        self.query_pos_decoder = LearnedPosition(dim, positions)
        self.encoder = SkipTransformer(dim, encoder_layers, heads, ff_width, dropout)
        self.decoder = SkipTransformer(
            dim, decoder_layers, heads, ff_width, dropout, cross_attention=variant == "cross_attention"
        )
        self.dist_layer = nn.Linear(dim, 2 * dim) if distribution_layer else None
        self.final_layer = nn.Linear(dim, features)

    def encode(self, motion: Tensor, valid: Tensor | None = None) -> LatentDistribution:
        """motion (B, F, features), valid (B, F) true where a frame counts (None: all)."""
        if motion.dim() != 3 or motion.shape[-1] != self.features:
            raise ValueError(f"motion must be (B, F, {self.features}), got {tuple(motion.shape)}")
        tokens = self.global_motion_token.expand(motion.shape[0], -1, -1)
        sequence = self.query_pos_encoder(torch.cat((tokens, self.skel_embedding(motion)), dim=1))
        out = self.encoder(sequence, valid=_joined_mask(tokens, valid))[:, : tokens.shape[1]]
        if self.dist_layer is not None:
            mean, log_variance = self.dist_layer(out).chunk(2, dim=-1)
        else:
            mean, log_variance = out.chunk(2, dim=1)
        return LatentDistribution(mean, (0.5 * log_variance).exp())

    def decode(self, z: Tensor, frames: int, valid: Tensor | None = None) -> Tensor:
        """Latents (B, n, d) -> motion (B, frames, features); frames that are not valid are zero."""
        if z.dim() != 3 or tuple(z.shape[1:]) != (self.latents, self.dim):
            raise ValueError(f"latents must be (B, {self.latents}, {self.dim}), got {tuple(z.shape)}")
        queries = z.new_zeros(z.shape[0], frames, self.dim)
        if self.variant == "cross_attention":
            out = self.decoder(self.query_pos_decoder(queries), z, valid=valid)
        else:
            sequence = self.query_pos_decoder(torch.cat((z, queries), dim=1))
            out = self.decoder(sequence, valid=_joined_mask(z, valid))[:, self.latents :]
        motion = self.final_layer(out)
        return motion if valid is None else motion * valid.unsqueeze(-1)

    def forward(self, motion: Tensor, noise: Tensor | None = None) -> tuple[Tensor, LatentDistribution]:
        """Reconstruction (B, F, features) and the latents' distribution; noise (B, n, d), None takes the mean."""
        distribution = self.encode(motion)
        z = distribution.mean if noise is None else distribution.sample(noise)
        return self.decode(z, motion.shape[1]), distribution


def _joined_mask(tokens: Tensor, valid: Tensor | None) -> Tensor | None:
    """Mask of [tokens, frames]: tokens always count."""
    if valid is None:
        return None
    return torch.cat((valid.new_ones(tokens.shape[:2]), valid), dim=1)


def motion_vae_loss(
    reconstruction: Tensor, motion: Tensor, distribution: LatentDistribution, kl_weight: float = KL_WEIGHT
) -> Tensor:
    """Mean squared error plus weighted KL divergence from the standard normal (FastHMR; weight from MLD)."""
    mean, std = distribution
    divergence = 0.5 * (mean.square() + std.square() - 1 - 2 * std.log()).mean()
    return (reconstruction - motion).square().mean() + kl_weight * divergence
