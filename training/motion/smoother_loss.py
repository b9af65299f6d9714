"""The losses of the live smoother: to be right at every slot, and to move from answer to answer as people do."""

from __future__ import annotations

import torch
from torch import Tensor

from bodycast.hmr.body.inverse_kinematics import forward_kinematics
from bodycast.hmr.body.motion_vectors import rest_joints_29
from bodycast.hmr.networks.temporal.motion_window import JOINTS, rotations_of
from bodycast.hmr.networks.temporal.window_smoother import WindowSmoother
from training.motion.data import ENDS, FAST_M_S
from training.motion.recipe import MotionWeights
from training.motion.windows import WindowBatch

SHOWN_SLOTS = (0, 3, 6, 9, 15)
"""Slots whose bodies are compared as bodies: ages 0, 0.1, 0.2, 0.3 and 0.5 s."""

CALM_NOW = (2.5, 1.0, 0.7, 0.7, 0.7)
"""How much the accelerations of each count: what is known from the past alone shakes most, and what has been seen from
both sides may rather keep its movement."""

PLACE_STEPS = 4.0
"""Like so many joints counts how the place moves from answer to answer: it is one of 25, and carries all others."""

STANDING_M_S = 0.15
FEET = (10, 11)
SLOW_M_S = 1.0


def bodies(motion: Tensor) -> tuple[Tensor, Tensor]:
    """(..., 147) -> joints (..., 24, 3) relative to the pelvis and the place of the root (..., 3), m."""
    rest = torch.from_numpy(rest_joints_29()).to(motion)
    rotations = rotations_of(motion)
    joints = forward_kinematics(rest.expand(*rotations.shape[:-3], 29, 3), rotations)[..., :JOINTS, :]
    z = motion[..., JOINTS * 6 + 2 :].exp()
    return joints - joints[..., :1, :], torch.cat((motion[..., JOINTS * 6 : JOINTS * 6 + 2] * z, z), -1)


def rollout(net: WindowSmoother, batch: WindowBatch, noise_share: float = 0.0) -> tuple[list[Tensor], list[Tensor]]:
    """Answers one after the other, the first one cold: trajectories S x (B,K,147) and the velocity errors S x ().

    noise_share: of the rows whose step starts with noise drawn, as a diffusion model is trained, not at its mean.
    """
    rows = len(batch.motion)
    previous = torch.zeros_like(batch.truth[:, 0])
    warm = batch.motion.new_zeros(rows)
    trajectories: list[Tensor] = []
    errors: list[Tensor] = []
    for answer in range(batch.truth.shape[1]):
        inputs = (batch.motion, batch.age_s[:, answer], batch.weight[:, answer])
        noisy = (torch.rand(rows, 1, 1, device=warm.device) < noise_share).float()
        noise = torch.randn_like(previous) * noisy if noise_share else None
        found = net.denoise(*inputs, previous, batch.step_s[:, answer], warm, noise)
        clean = (batch.truth[:, answer] - found.reference) / net.spread
        wanted = net.velocity(clean.clamp(-8, 8), found.start, warm)
        errors.append((net.velocity(found.clean, found.start, warm) - wanted).abs().mean())
        trajectories.append(found.trajectory)
        previous, warm = found.trajectory, torch.ones_like(warm)
    return trajectories, errors


def smoother_loss(
    net: WindowSmoother, batch: WindowBatch, weights: MotionWeights, noise_share: float
) -> dict[str, Tensor]:
    """The terms and their weighted sum, `total`. Raises ValueError for fewer than four answers."""
    if batch.truth.shape[1] < 4:
        raise ValueError(f"accelerations need 4 answers in a row or more, got {batch.truth.shape[1]}")
    trajectories, velocity_errors = rollout(net, batch, noise_share)
    shown = list(SHOWN_SLOTS)
    joints, place = bodies(torch.stack(trajectories, 1)[:, :, shown])
    with torch.no_grad():
        true_joints, true_place = bodies(batch.truth[:, :, shown])
        feet_step = (true_joints[..., FEET, :] + true_place[..., None, :]).diff(dim=1).norm(dim=-1)
        standing = (feet_step < STANDING_M_S * batch.step_s[:, 1:, None, None]).float()
    off, off_place = joints - true_joints, place - true_place
    # The first answer starts cold, the second from a cold one: what differs between those two is not motion.
    steps = torch.cat((off, PLACE_STEPS * off_place[..., None, :]), -2).diff(dim=1)
    turns = steps[:, 1:].diff(dim=1)
    step_s = batch.step_s[:, 1:, None, None]
    speed, true_speed = (length(ends[..., ENDS, :].diff(dim=1)) / step_s for ends in (joints, true_joints))
    # Only what moves counts, so that nothing is won by shaking where there is rest.
    moves = ((true_speed - SLOW_M_S) / (FAST_M_S - SLOW_M_S)).clamp(0, 2)
    row = 1 + weights.fast * (true_speed.amax((1, 2, 3)) >= FAST_M_S).float()
    row = row / row.mean()
    feet = (joints[..., FEET, :] + place[..., None, :]).diff(dim=1)
    terms = {
        "velocity_target": torch.stack(velocity_errors).mean(),
        "joints": weighted(length(off), row),
        "place": weighted(length(off_place), row),
        "joint_step": weighted(length(steps[:, 1:]), row),
        "joint_acceleration": weighted(length(turns) * turns.new_tensor(CALM_NOW)[:, None], row),
        "feet": (length(feet) * standing)[:, 1:].mean(),
        "peak_speed": ((speed - true_speed).abs() * moves)[:, 1:].mean(),
    }
    total = sum((getattr(weights, name) * value for name, value in terms.items()), torch.zeros(()))
    return {**terms, "total": total}


def weighted(values: Tensor, row: Tensor) -> Tensor:
    """Mean of (B, ...) in which row b counts `row[b]` times."""
    return (values.flatten(1).mean(1) * row).mean()


def length(vectors: Tensor) -> Tensor:
    """(..., 3) -> (...), differentiable at zero."""
    return (vectors.square().sum(-1) + 1e-10).sqrt()
