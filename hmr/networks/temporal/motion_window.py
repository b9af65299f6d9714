"""A person's last seconds as a fixed set of slots: frames at any times -> smooth candidates at the slots' ages.

Frames come with their age (seconds before now) and a weight (0: no such frame), in any order and at any rate; gaps are
places without weight. A slot is an age; near now they are dense. The candidates are local linear regressions (Cleveland
1979; Fan and Gijbels 1996) with Gaussian kernels of several widths: wide ones are calm, narrow ones quick, and at the
newest slot each extrapolates from the past alone. All of it is products and sums, so it exports.

A frame is 147 numbers: the first two columns of the 24 joints' rotations (HMR2.0's order: one column after the other),
then x/z, y/z and log z of the translation.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from bodycast.hmr.networks.rotation import rotmat_from_6d

JOINTS = 24
MOTION_WIDTH = JOINTS * 6 + 3
SLOT_AGES_S: tuple[float, ...] = (
    *(k / 30 for k in range(16)),
    *(0.6, 0.7, 0.8, 0.95, 1.1, 1.3),
)
BANDWIDTHS_S: tuple[float, ...] = (0.022, 0.05, 0.1, 0.18, 0.35)
REFERENCE = 2
"""Index of the candidate that the denoiser corrects."""

NEIGHBOURS_S = 0.25
DISAGREEMENT = 0.5
"""Squared distance of two roots' columns (about 40 degrees) at which a frame counts half."""

_TINY = 1e-12


class Candidates(NamedTuple):
    """`values` (B, K, M, 147) at K slots from M kernels; `mass` (B, K, M): how many frames each of them rests on."""

    values: Tensor
    mass: Tensor


class MotionWindow(nn.Module):
    """Frames -> candidates at the slots, and trajectories between slots. No parameters.

    ridge: pulls slopes to zero where the frames lie too close to tell them, in units of the kernel's squared width.
    """

    ages_s: Tensor
    bandwidths_s: Tensor

    def __init__(
        self,
        ages_s: tuple[float, ...] = SLOT_AGES_S,
        bandwidths_s: tuple[float, ...] = BANDWIDTHS_S,
        ridge: float = 0.1,
    ) -> None:
        super().__init__()
        if list(ages_s) != sorted(set(ages_s)) or len(ages_s) < 3 or ages_s[0] != 0:
            raise ValueError(f"slot ages must be three or more, rise and begin at 0, got {ages_s}")
        self.register_buffer("ages_s", torch.tensor(ages_s, dtype=torch.float32), persistent=False)
        self.register_buffer("bandwidths_s", torch.tensor(bandwidths_s, dtype=torch.float32), persistent=False)
        self.ridge = ridge

    def forward(self, motion: Tensor, age_s: Tensor, weight: Tensor) -> Candidates:
        """motion (B, F, 147), age_s (B, F), weight (B, F) -> candidates at the slots."""
        weight = weight * self.belief(motion, age_s, weight)
        distance = age_s[:, None, None, :] - self.ages_s[None, :, None, None]
        scaled = distance / self.bandwidths_s[None, None, :, None]
        # The floor lets the nearest frames speak where a kernel reaches none, in a gap.
        kernel = (torch.exp(-0.5 * scaled * scaled) + 1e-4 / (1 + scaled * scaled)) * weight[:, None, None, :]
        s0 = kernel.sum(-1, keepdim=True)
        share = kernel / (s0 + _TINY)
        centre = (share * scaled).sum(-1, keepdim=True)
        spread = (share * scaled * scaled).sum(-1, keepdim=True) - centre * centre
        # A local line read off at the slot: a weighted mean plus a slope times the way from the frames' mean age.
        line = share * (1 - centre * (scaled - centre) / (spread.clamp(min=0) + self.ridge))
        slots, kernels = self.ages_s.shape[0], self.bandwidths_s.shape[0]
        values = (line.flatten(1, 2) @ motion).unflatten(1, (slots, kernels))
        return Candidates(values, s0[..., 0])

    def belief(self, motion: Tensor, age_s: Tensor, weight: Tensor) -> Tensor:
        """(B, F) in 0..1: how well a frame's root agrees with those of the frames around it. Networks take a front for
        a back now and then; an average over such frames would face sideways. Iteratively reweighted means, Cauchy
        weights (Holland and Welsch 1977)."""
        root = motion[..., :6]
        apart = (age_s[:, :, None] - age_s[:, None, :]) / NEIGHBOURS_S
        near = torch.exp(-0.5 * apart * apart) * weight[:, None, :]
        belief = torch.ones_like(weight)
        for _ in range(3):
            share = near * belief[:, None, :]
            mean = share @ root / (share.sum(-1, keepdim=True) + _TINY)
            off = (root - mean).square().sum(-1) / DISAGREEMENT
            belief = 1 / (1 + off * off)
        return belief

    def between(self, at_s: Tensor) -> Tensor:
        """Weights (B, Q, K) that read a trajectory (B, K, ...) at ages (B, Q): linear between slots, on along the
        newest piece for ages below 0 (at most 0.1 s), held beyond the oldest."""
        ages = self.ages_s
        inside = at_s.clamp(min=0.0).minimum(ages[-1])[..., None]
        step = ages[1:] - ages[:-1]
        rise = (inside - ages[:-1]) / step
        ones = torch.ones_like(rise[..., :1])
        left = torch.cat((ones, rise), -1)
        right = torch.cat((1 - rise, ones), -1)
        hats = torch.minimum(left, right).clamp(min=0.0, max=1.0)
        ahead = (at_s.clamp(min=-0.1, max=0.0) / step[0])[..., None]
        return hats + ahead * self._newest_piece()

    def _newest_piece(self) -> Tensor:
        first = torch.zeros_like(self.ages_s)
        first[0], first[1] = -1.0, 1.0
        return first


def orthonormal(motion: Tensor) -> Tensor:
    """(..., 147) with every joint's six numbers made two orthonormal columns again."""
    return torch.cat((columns_of(rotations_of(motion)), motion[..., JOINTS * 6 :]), -1)


def rotations_of(motion: Tensor) -> Tensor:
    """(..., 147) -> rotation matrices (..., 24, 3, 3)."""
    return rotmat_from_6d(motion[..., : JOINTS * 6].unflatten(-1, (JOINTS, 6)))


def columns_of(rotations: Tensor) -> Tensor:
    """(..., 24, 3, 3) -> (..., 144)."""
    return rotations[..., :2].transpose(-1, -2).flatten(-3)
