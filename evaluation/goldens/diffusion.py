"""Noise schedules and single steps of the diffusers library."""

from __future__ import annotations

import re
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from evaluation.goldens.record import Golden, Ours
from hmr.networks.temporal.noise_schedule import NoiseSchedule, Spacing, timestep_sinusoid


def run(golden: Golden) -> dict[str, NDArray[Any] | Ours]:
    """Plain and zero-terminal-SNR schedules, velocity, one step, timestep spacings, sinusoids."""
    z0, eps, t, v = (golden.tensor(name) for name in ("z0", "eps", "t", "v_hat"))
    answers: dict[str, NDArray[Any] | Ours] = {}
    for prefix, zero_snr in (("plain", False), ("zsnr", True)):
        schedule = NoiseSchedule(zero_terminal_snr=zero_snr)
        last = schedule.timesteps(1)[0]
        answers |= {
            f"{prefix}/betas": schedule.betas.numpy(),
            f"{prefix}/alphas_cumprod": schedule.alphas_cumprod.numpy(),
            f"{prefix}/z_t": schedule.add_noise(z0, eps, t).numpy(),
            f"{prefix}/velocity": schedule.velocity(z0, eps, t).numpy(),
            f"{prefix}/ddim_trailing_1step_t": np.array([last]),
            f"{prefix}/ddim_1step_prev": schedule.sample(lambda _z, _t: v, eps, 1).numpy(),
            f"{prefix}/ddim_1step_x0": schedule.denoise(eps, v, last).z0.numpy(),
        }
    for name in golden.outputs:
        if spacing := re.fullmatch(r"timesteps_(trailing|leading|linspace)_(\d+)", name):
            answers[name] = np.array(NoiseSchedule().timesteps(int(spacing[2]), cast("Spacing", spacing[1])))
        elif channels := re.fullmatch(r"sinusoid(\d+)", name):
            answers[name] = timestep_sinusoid(t, int(channels[1])).numpy()
    return answers
