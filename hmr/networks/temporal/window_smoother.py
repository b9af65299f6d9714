"""The live smoother: one step of a diffusion model over a person's last seconds, at any frame rate.

What is FastHMR's (Mehraban et al. 2025, arXiv 2510.10868): a skip transformer denoises a whole window of motion in a
single step, conditioned on the per-frame estimates, with velocity targets on a zero-terminal-SNR schedule. What
differs, because it must answer after every frame and never be worse than a plain filter:
- it works on the motion itself, not on latents, and on slots of time instead of frames (motion_window.py);
- the clean window is a correction of a local linear fit; besides a free part the denoiser gives, for each joint and
  slot, how much of the quicker and the calmer fits to mix in. Untrained, it *is* the local linear fit;
- from the second frame on it does not start from pure noise (the last timestep T) but from its previous answer, moved
  on in time, at timestep `WARM_STEP`: that ties one answer to the next. The noise itself is taken at its mean, zero:
  one step has no second draw to average over.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from bodycast.hmr.networks.temporal.motion_window import (
    BANDWIDTHS_S,
    JOINTS,
    MOTION_WIDTH,
    REFERENCE,
    SLOT_AGES_S,
    MotionWindow,
    orthonormal,
    rotations_of,
)
from bodycast.hmr.networks.temporal.noise_schedule import NoiseSchedule
from bodycast.hmr.networks.temporal.skip_transformer import LearnedPosition, SkipTransformer

GROUPS = JOINTS + 2
"""Quantities with a mixture of their own: 24 joints, the direction of the translation, its log depth."""

WARM_STEP = 400
"""Timestep of the previous answer: how far it is trusted."""

MIX_LIMIT = 1.5
CALM = 1e-4
"""Mean square, in units of the spread, of the frames around the fit at which a correction counts half."""


class SmoothWindow(NamedTuple):
    """`trajectory` (B, K, 147): the clean motion at the slots. `clean`: the same as a correction in units of the
    spread, what the diffusion model speaks of. `start`: what the step started from, in the same units. `reference`
    (B, K, 147): the local linear fit that is corrected."""

    trajectory: Tensor
    clean: Tensor
    start: Tensor
    reference: Tensor


class Smoothed(NamedTuple):
    """`pose` (B, 24, 3, 3), `place` (B, 3): x/z, y/z, log z; `trajectory` (B, K, 147): the next call's `previous`."""

    pose: Tensor
    place: Tensor
    trajectory: Tensor


class WindowSmoother(nn.Module):
    """Denoises windows of motion; see the file.

    frames: F, how many frames a window may hold; the export's fixed size.
    spread: buffer (147,), standard deviation of clean motion around the local linear fit, from the training data.
    """

    spread: Tensor

    def __init__(
        self,
        dim: int = 128,
        layers: int = 3,
        heads: int = 4,
        ff_width: int = 256,
        dropout: float = 0.0,
        frames: int = 64,
        ages_s: tuple[float, ...] = SLOT_AGES_S,
        bandwidths_s: tuple[float, ...] = BANDWIDTHS_S,
    ) -> None:
        super().__init__()
        self.window = MotionWindow(tuple(ages_s), tuple(bandwidths_s))
        self.schedule = NoiseSchedule()
        self.frames = frames
        self.kernels = len(bandwidths_s)
        self.register_buffer("spread", torch.full((MOTION_WIDTH,), 0.1))
        self.embed = nn.Linear(4 * MOTION_WIDTH + self.kernels + 1, dim)
        self.position = LearnedPosition(dim, len(ages_s))
        self.encoder = SkipTransformer(dim, layers, heads, ff_width, dropout)
        # One more than the kernels without the reference: what the step started from.
        self.mix = nn.Linear(dim, GROUPS * self.kernels)
        self.free = nn.Linear(dim, MOTION_WIDTH)
        for head in (self.mix, self.free):
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)
        nn.init.normal_(self.position.pe, std=0.5)

    def forward(
        self,
        motion: Tensor,
        age_s: Tensor,
        weight: Tensor,
        previous: Tensor,
        step_s: Tensor,
        warm: Tensor,
        lag_s: Tensor,
    ) -> Smoothed:
        """One answer.

        motion (B, F, 147), age_s (B, F), weight (B, F): the frames (motion_window.py). previous (B, K, 147): trajectory
        of the last call, step_s (B,) seconds ago; warm (B,): 1 where there was one, 0 where not. lag_s (B,): age that
        the answer is about.
        """
        trajectory = self.denoise(motion, age_s, weight, previous, step_s, warm).trajectory
        at = (self.window.between(lag_s[:, None]) @ trajectory)[:, 0]
        return Smoothed(rotations_of(at), at[:, JOINTS * 6 :], trajectory)

    def denoise(
        self,
        motion: Tensor,
        age_s: Tensor,
        weight: Tensor,
        previous: Tensor,
        step_s: Tensor,
        warm: Tensor,
        noise: Tensor | None = None,
    ) -> SmoothWindow:
        """The clean window; `noise` (B, K, 147), standard normal, takes the place of its mean."""
        candidates = self.window(motion, age_s, weight)
        reference = candidates.values[:, :, REFERENCE]
        moved = self.window.between(self.window.ages_s[None] - step_s[:, None]) @ previous
        start = self._start((moved - reference) / self.spread, warm, noise)
        clean = self._clean(candidates.values, candidates.mass, reference, start, warm)
        return SmoothWindow(orthonormal(reference + clean * self.spread), clean, start, reference)

    def _start(self, previous: Tensor, warm: Tensor, noise: Tensor | None) -> Tensor:
        """z_t: the previous answer at WARM_STEP, or pure noise."""
        kept = self.schedule.alphas_cumprod[WARM_STEP]
        warm = warm[:, None, None]
        # Where it has lost touch (a gap, a jump) the previous answer may be anywhere.
        start = warm * kept.sqrt() * previous.clamp(-8.0, 8.0)
        return start if noise is None else start + (1 - warm * kept).sqrt() * noise

    def _clean(self, values: Tensor, mass: Tensor, reference: Tensor, start: Tensor, warm: Tensor) -> Tensor:
        finest = (values[:, :, 0] - reference) / self.spread
        calmest = (values[:, :, -1] - reference) / self.spread
        level = warm[:, None, None].expand(-1, reference.shape[1], 1)
        near, far = finest.clamp(-8, 8), calmest.clamp(-8, 8)
        features = torch.cat((near, far, start, reference, torch.log1p(mass), level), -1)
        hidden = self.encoder(self.position(self.embed(features)))
        mix = MIX_LIMIT * torch.tanh(self.mix(hidden)).unflatten(-1, (self.kernels, GROUPS))
        clean = self.free(hidden) + per_number(mix[:, :, 0]) * start
        others = [k for k in range(self.kernels) if k != REFERENCE]
        for slot, k in enumerate(others, 1):
            clean = clean + per_number(mix[:, :, slot]) * ((values[:, :, k] - reference) / self.spread)
        # What does not shake is not corrected: a body at rest without noise stays exactly where it is.
        shake = near.square().mean((1, 2), keepdim=True)
        return clean * (shake / (shake + CALM))

    def velocity(self, clean: Tensor, start: Tensor, warm: Tensor) -> Tensor:
        """FastHMR's target of a clean window at the timestep that it started from: v = (sqrt(ab) z_t - z0) / sqrt(1 -
        ab), which at T, where ab is 0, is -z0."""
        kept = (self.schedule.alphas_cumprod[WARM_STEP] * warm)[:, None, None]
        return (kept.sqrt() * start - clean) / (1 - kept).sqrt()


def per_number(groups: Tensor) -> Tensor:
    """(..., 26) -> (..., 147): one value per joint to its six numbers, direction to two, depth to one."""
    joints = groups[..., :JOINTS].unsqueeze(-1).expand(*groups.shape[:-1], JOINTS, 6).flatten(-2)
    direction = groups[..., JOINTS : JOINTS + 1].expand(*groups.shape[:-1], 2)
    return torch.cat((joints, direction, groups[..., JOINTS + 1 :]), -1)


def example_window(net: WindowSmoother, batch: int = 1) -> tuple[Tensor, ...]:
    """Random inputs of `forward`: people near the rest pose who shake, at 30 frames/s, with frames missing."""
    rest = torch.cat((torch.tensor([1.0, 0, 0, 0, 1, 0]).repeat(JOINTS), torch.tensor([0.0, 0.0, 1.2])))
    slots = len(net.window.ages_s)
    motion, previous = (rest + 0.1 * torch.randn(batch, count, MOTION_WIDTH) for count in (net.frames, slots))
    age_s = (torch.arange(net.frames) / 30).repeat(batch, 1)
    seen = (torch.rand(batch, net.frames) < 0.7).float()
    rows = torch.ones(batch)
    return motion, age_s, seen, previous, rows / 30, rows, rows / 10
