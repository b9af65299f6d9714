"""The noise of latent diffusion: scaled-linear betas with zero terminal SNR, velocity targets, DDIM steps.

Sources: FastHMR (Mehraban et al. 2025, arXiv 2510.10868), section on the diffusion decoder, for the settings; Lin et
al. 2023 (arXiv 2305.08891) for zero terminal SNR and trailing timesteps; Salimans and Ho 2022 (arXiv 2202.00512) for
velocity prediction; DDIM (Song et al. 2021, arXiv 2010.02502). `ab` below is alpha-bar, the product of 1 - beta.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

Spacing = Literal["trailing", "leading", "linspace"]


class Denoised(NamedTuple):
    """Estimates behind a velocity: the clean latents and the noise, both like z_t."""

    z0: Tensor
    noise: Tensor


class NoiseSchedule(nn.Module):
    """Betas and their products as buffers (T,), float32; no parameters, nothing in the state dict.

    steps: T. first, last: the range of the betas, linear in their square root. zero_terminal_snr: rescale so that the
    last step is pure noise.
    """

    betas: Tensor
    alphas_cumprod: Tensor

    def __init__(
        self, steps: int = 1000, first: float = 0.00085, last: float = 0.012, zero_terminal_snr: bool = True
    ) -> None:
        super().__init__()
        self.steps = steps
        betas = torch.linspace(first**0.5, last**0.5, steps, dtype=torch.float64) ** 2
        if zero_terminal_snr:
            betas = rescale_to_zero_terminal_snr(betas)
        products = torch.cumprod(1 - betas, dim=0)
        self.register_buffer("betas", betas.float(), persistent=False)
        self.register_buffer("alphas_cumprod", products.float(), persistent=False)

    def _roots(self, t: Tensor | int, like: Tensor) -> tuple[Tensor, Tensor]:
        """sqrt(ab) and sqrt(1 - ab) of timesteps (B,) or one for all, shaped to multiply `like` (B, ...)."""
        ab = self.alphas_cumprod[t].to(like)
        ab = ab.reshape(ab.shape + (1,) * (like.dim() - ab.dim())) if ab.dim() else ab
        return ab.sqrt(), (1 - ab).sqrt()

    def add_noise(self, z0: Tensor, noise: Tensor, t: Tensor | int) -> Tensor:
        """z_t = sqrt(ab) z0 + sqrt(1 - ab) noise; z0, noise (B, ...), t (B,) or one."""
        signal, spread = self._roots(t, z0)
        return signal * z0 + spread * noise

    def velocity(self, z0: Tensor, noise: Tensor, t: Tensor | int) -> Tensor:
        """The target v = sqrt(ab) noise - sqrt(1 - ab) z0."""
        signal, spread = self._roots(t, z0)
        return signal * noise - spread * z0

    def denoise(self, z_t: Tensor, velocity: Tensor, t: Tensor | int) -> Denoised:
        """z0 = sqrt(ab) z_t - sqrt(1 - ab) v and noise = sqrt(1 - ab) z_t + sqrt(ab) v.

        At the last step of a zero-terminal-SNR schedule ab is 0, so z0 = -v exactly.
        """
        signal, spread = self._roots(t, z_t)
        return Denoised(signal * z_t - spread * velocity, spread * z_t + signal * velocity)

    def timesteps(self, count: int, spacing: Spacing = "trailing") -> list[int]:
        """`count` timesteps, falling. Trailing starts at the last one, pure noise; leading ends at 0, which with a
        single step would denoise what is hardly noisy: it is here for comparison only.

        Raises ValueError for a count outside 1..T.
        """
        if not 1 <= count <= self.steps:
            raise ValueError(f"the number of sampling steps must be 1..{self.steps}, got {count}")
        if spacing == "trailing":
            return [round(self.steps - i * self.steps / count) - 1 for i in range(count)]
        if spacing == "leading":
            return [i * (self.steps // count) for i in reversed(range(count))]
        if spacing == "linspace":
            span = (self.steps - 1) / max(count - 1, 1)
            return [round(i * span) for i in reversed(range(count))]
        raise ValueError(f'spacing must be "trailing", "leading" or "linspace", got {spacing!r}')

    def ddim_step(self, z_t: Tensor, velocity: Tensor, t: int, previous_t: int | None) -> Tensor:
        """One deterministic step from t to previous_t (None: to the clean latents)."""
        z0, noise = self.denoise(z_t, velocity, t)
        return z0 if previous_t is None else self.add_noise(z0, noise, previous_t)

    def sample(self, predict_velocity: Callable[[Tensor, int], Tensor], noise: Tensor, count: int = 1) -> Tensor:
        """Clean latents from pure noise (B, n, d) in `count` DDIM steps with trailing timesteps.

        predict_velocity: (z_t, t) -> v. FastHMR uses one step.
        """
        z = noise
        timesteps = self.timesteps(count)
        for t, previous_t in zip(timesteps, [*timesteps[1:], None], strict=True):
            z = self.ddim_step(z, predict_velocity(z, t), t, previous_t)
        return z


def rescale_to_zero_terminal_snr(betas: Tensor) -> Tensor:
    """Betas (T,) whose last alpha-bar is exactly 0: sqrt(ab) is shifted to end at 0 and scaled to keep its first
    value."""
    roots = torch.cumprod(1 - betas, dim=0).sqrt()
    first, last = roots[0].clone(), roots[-1].clone()
    roots = (roots - last) * first / (first - last)
    products = roots**2
    alphas = torch.cat((products[:1], products[1:] / products[:-1]))
    return 1 - alphas


def timestep_sinusoid(t: Tensor, channels: int) -> Tensor:
    """Sine code (B, channels) of timesteps (B,): cosines first, then sines, frequencies 10000^(-i / half).

    An odd number of channels ends in a zero.
    """
    half = channels // 2
    steps = torch.arange(half, dtype=torch.float32, device=t.device)
    frequency = torch.exp(steps * (-math.log(10000.0) / half))
    angle = t.to(torch.float32).unsqueeze(-1) * frequency
    code = torch.cat((angle.cos(), angle.sin()), dim=-1)
    return torch.nn.functional.pad(code, (0, channels - 2 * half))


def velocity_and_noise_loss(
    schedule: NoiseSchedule,
    predicted_velocity: Tensor,
    z0: Tensor,
    noise: Tensor,
    t: Tensor,
    velocity_weight: float = 1.0,
    noise_weight: float = 1.0,
) -> Tensor:
    """FastHMR's training loss: mean squared errors of the velocity and of the noise that follows from it."""
    z_t = schedule.add_noise(z0, noise, t)
    velocity_error = (predicted_velocity - schedule.velocity(z0, noise, t)).square().mean()
    noise_error = (schedule.denoise(z_t, predicted_velocity, t).noise - noise).square().mean()
    return velocity_weight * velocity_error + noise_weight * noise_error
