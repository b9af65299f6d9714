"""Signals of motion capture with errors like those of the program's networks, without pictures: much more motion.

Errors are of first order (AR(1)) in time: on 45 watched clips, soles err by 37 mm across the picture and 40 mm in
height (median; 65 and 77 mm for one clip in ten), with a time constant of 0.2 s, and the smoother delays by a frame.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bodycast.app.world.contacts import Signals
from bodycast.app.world.person_series import PersonSeries, Skeleton
from training.contacts.truth import true_contacts
from training.contacts.watch import draw_scene
from training.motion.data import MotionClip

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
Rng = np.random.Generator
ACROSS_M, HEIGHT_M, BIAS_M = 0.037, 0.04, 0.04
SPREAD_OF_CLIPS = 0.45
CORRELATED_S = 0.2
DELAY_S = (0.0, 0.07)
TILT_RAD = 0.18


def simulate(clip: MotionClip, skeleton: Skeleton, rng: Rng) -> tuple[F64, Signals, F32]:
    """Times (F,), signals and contacts (F,4) of a clip before a random camera."""
    scene = draw_scene(rng)
    betas = rng.normal(0, 0.7, 10).astype(np.float32)
    pose, transl = scene.place(clip, skeleton.body, betas)
    time_s = np.arange(len(clip)) / clip.fps
    root = transl + skeleton.rest(betas[None])[:, 0]
    seen = rng.uniform(0.5, 1, (1, 2)).astype(np.float32).repeat(len(clip), axis=0)
    series = PersonSeries.of(skeleton, time_s, pose.astype(np.float32), betas, root.astype(np.float32), seen)
    up = (scene.camera.rotation @ np.array([0, 1, 0], np.float32)).astype(np.float64)
    heights = series.soles_m @ up.astype(np.float32)
    contact = true_contacts(time_s, series.soles_m, heights)
    tilted = up + rng.normal(0, TILT_RAD, 3)
    signals = Signals.of(series, tilted / np.linalg.norm(tilted))
    level = float(np.exp(rng.normal(0, SPREAD_OF_CLIPS)))
    depth = signals.depth_m[:, None, None]
    across = _delayed(signals.across, time_s, rng) + level * ACROSS_M * _noise(rng, time_s, (5, 2)) / depth
    bias = rng.normal(0, BIAS_M, (1, 4)).astype(np.float32)
    height = _delayed(signals.heights_m, time_s, rng) + level * HEIGHT_M * _noise(rng, time_s, (4,)) + bias
    far = signals.depth_m * np.exp(0.05 * _noise(rng, time_s, (1,))[:, 0] + rng.normal(0, 0.15))
    made = Signals(across.astype(np.float32), height.astype(np.float32), far.astype(np.float32), seen)
    return time_s, made, contact.astype(np.float32)


def _noise(rng: Rng, time_s: F64, shape: tuple[int, ...]) -> F32:
    """(F,*shape) of unit variance, correlated over time."""
    out = rng.standard_normal((len(time_s), *shape)).astype(np.float32)
    for row in range(1, len(time_s)):
        keep = float(np.exp(-(time_s[row] - time_s[row - 1]) / CORRELATED_S))
        out[row] = keep * out[row - 1] + np.sqrt(1 - keep**2) * out[row]
    return out


def _delayed(values: F32, time_s: F64, rng: Rng) -> F32:
    """First-order low-pass with a random time constant."""
    constant = rng.uniform(*DELAY_S)
    out = values.copy()
    for row in range(1, len(time_s)):
        share = 1.0 if constant < 1e-3 else float(-np.expm1(-(time_s[row] - time_s[row - 1]) / constant))
        out[row] = out[row - 1] + share * (values[row] - out[row - 1])
    return out
