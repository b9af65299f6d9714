"""Noise schedules and single steps of the diffusers library."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import cast

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from bodycast.hmr.networks.temporal.noise_schedule import NoiseSchedule, Spacing, timestep_sinusoid
from evaluation.goldens.record import Answer, Answers, Golden

# Names of the schedule's sizes in the library's configuration, and ours.
_SETTINGS = {"num_train_timesteps": "steps", "beta_start": "first", "beta_end": "last"}


def run(golden: Golden) -> Answers:
    """Plain and zero-terminal-SNR schedules, velocity, one step, timestep spacings, sinusoids."""
    sizes = {ours: golden.config[theirs] for theirs, ours in _SETTINGS.items() if theirs in golden.config}
    answers: dict[str, Answer] = {}
    for prefix, zero_snr in (("plain", False), ("zsnr", True)):
        schedule = NoiseSchedule(zero_terminal_snr=zero_snr, **sizes)
        answers |= {f"{prefix}/{name}": answer for name, answer in _steps(golden, schedule).items()}
    for name in golden.outputs:
        if spacing := re.fullmatch(r"timesteps_(trailing|leading|linspace)_(\d+)", name):
            answers[name] = partial(_timesteps, NoiseSchedule(**sizes), int(spacing[2]), cast("Spacing", spacing[1]))
        elif channels := re.fullmatch(r"sinusoid(\d+)", name):
            answers[name] = partial(_sinusoid, golden, int(channels[1]))
    return answers


def _steps(golden: Golden, schedule: NoiseSchedule) -> dict[str, Callable[[], Tensor | NDArray[np.int64]]]:
    last = schedule.timesteps(1)[0]
    tensor = golden.tensor
    return {
        "betas": lambda: schedule.betas,
        "alphas_cumprod": lambda: schedule.alphas_cumprod,
        "z_t": lambda: schedule.add_noise(tensor("z0"), tensor("eps"), tensor("t")),
        "velocity": lambda: schedule.velocity(tensor("z0"), tensor("eps"), tensor("t")),
        "ddim_trailing_1step_t": lambda: np.array([last]),
        "ddim_1step_prev": lambda: schedule.sample(lambda _z, _t: tensor("v_hat"), tensor("eps"), 1),
        "ddim_1step_x0": lambda: schedule.denoise(tensor("eps"), tensor("v_hat"), last).z0,
    }


def _timesteps(schedule: NoiseSchedule, count: int, spacing: Spacing) -> NDArray[np.int64]:
    return np.array(schedule.timesteps(count, spacing))


def _sinusoid(golden: Golden, channels: int) -> Tensor:
    return timestep_sinusoid(golden.tensor("t"), channels)
