"""The root's trajectory: a Kalman filter with constant velocity, and its smoother over a whole clip.

Measurements come as information: a precision matrix (3,3) and a vector (3), the precision times the place, so that a
line of sight, a distance and a foot that stands add up, and what nothing is known of weighs nothing. The smoother is
that of Rauch, Tung and Striebel (1965).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bodycast.app.records import F32, F64

ACCELERATION = 15.0
"""Spectral density of the root's acceleration, m^2/s^3: a place is unsure by 0.23 m after 0.3 s without measurement."""
FIRST_M, FIRST_M_S = 10.0, 2.0
"""Standard deviations of place and velocity before the first measurement."""
LONGEST_STEP_S = 1.0
_VELOCITY: F64 = np.eye(6, k=3)
SLOWS_S = 0.1
"""Time constant with which somebody slows down of whom nothing is seen."""


@dataclass
class RootState:
    """`mean` (6,) place m and velocity m/s; `cov` (6,6); `time_s`."""

    mean: F64
    cov: F64
    time_s: float

    @staticmethod
    def begin(place_m: F64, time_s: float) -> RootState:
        """Somebody who was not seen before, near a place (3,)."""
        mean = np.concatenate([place_m, np.zeros(3)])
        return RootState(mean, np.diag([FIRST_M**2] * 3 + [FIRST_M_S**2] * 3), time_s)

    def predicted(self, time_s: float, sure: float = 1.0) -> RootState:
        """The state at a later time. sure: 0..1 how well the person is seen; one who is seen badly slows down, so that
        what was wrong with the last good frames does not carry them off."""
        step_s = min(max(time_s - self.time_s, 0.0), LONGEST_STEP_S)
        step, noise = transition(step_s)
        step[:, 3:] *= np.exp(-step_s * (1 - sure) / SLOWS_S)
        return RootState(step @ self.mean, step @ self.cov @ step.T + noise, time_s)

    def updated(self, precision: F64, vector: F64) -> RootState:
        """The state once more is known of the place: precision (3,3), vector (3,), camera frame."""
        across = self.cov[:, :3]
        gain = across @ np.linalg.inv(np.eye(3) + precision @ across[:3])
        mean = self.mean + gain @ (vector - precision @ self.mean[:3])
        cov = self.cov - gain @ precision @ across.T
        return RootState(mean, (cov + cov.T) / 2, self.time_s)


def transition(step_s: float | F64) -> tuple[F64, F64]:
    """(...,6,6) how the state goes on in steps (...), and (...,6,6) the noise that it gathers."""
    step_s = np.asarray(step_s)[..., None, None]
    step, noise = np.eye(6) + step_s * _VELOCITY, np.zeros((*step_s.shape[:-2], 6, 6))
    noise[..., :3, :3] = np.eye(3) * step_s**3 * (ACCELERATION / 3)
    noise[..., :3, 3:] = noise[..., 3:, :3] = np.eye(3) * step_s**2 * (ACCELERATION / 2)
    noise[..., 3:, 3:] = np.eye(3) * step_s * ACCELERATION
    return step, noise


def begin_roots(state: NDArray[np.void], places_m: F64, time_s: float, rows: NDArray[np.bool_]) -> None:
    """Of N people, fields `root`, `cov` and `time_s` as RootState's: begin those of rows (N,) anew."""
    if rows.any():
        state["root"][rows] = np.concatenate([places_m[rows], np.zeros((int(rows.sum()), 3))], axis=1)
        state["cov"][rows] = np.diag([FIRST_M**2] * 3 + [FIRST_M_S**2] * 3)
        state["time_s"][rows] = time_s


def predict_roots(state: NDArray[np.void], time_s: float, sure: F32) -> None:
    """The states of N people at a later time, as RootState.predicted."""
    step_s = np.clip(time_s - state["time_s"], 0.0, LONGEST_STEP_S)
    step, noise = transition(step_s)
    step[:, :, 3:] *= np.exp(-step_s * (1 - sure) / SLOWS_S)[:, None, None]
    state["root"] = (step @ state["root"][..., None])[..., 0]
    state["cov"] = step @ state["cov"] @ step.swapaxes(1, 2) + noise
    state["time_s"] = time_s


def update_roots(state: NDArray[np.void], precision: F64, vector: F64) -> tuple[F64, F64]:
    """(N,6) means and (N,6,6) covariances once more is known of the places, as RootState.updated."""
    across = state["cov"][:, :, :3]
    gain = across @ np.linalg.inv(np.eye(3) + precision @ across[:, :3])
    off = vector - (precision @ state["root"][:, :3, None])[..., 0]
    cov = state["cov"] - gain @ precision @ across.swapaxes(1, 2)
    return state["root"] + (gain @ off[..., None])[..., 0], (cov + cov.swapaxes(1, 2)) / 2


def smooth_root(time_s: F64, places_m: F64, precision: F64, vector: F64) -> F64:
    """(F,3) places of the root from all measurements, those of later frames too.

    time_s (F,); places_m (F,3): where to begin; precision (F,3,3), vector (F,3) of each frame.
    """
    states: list[RootState] = []
    ahead: list[RootState] = []
    for row, now_s in enumerate(time_s.tolist()):
        before = states[-1].predicted(now_s) if states else RootState.begin(places_m[0], now_s)
        ahead.append(before)
        states.append(before.updated(precision[row], vector[row]))
    means = [states[-1].mean]
    for row in range(len(states) - 2, -1, -1):
        step, _ = transition(min(max(ahead[row + 1].time_s - states[row].time_s, 0.0), LONGEST_STEP_S))
        gain = np.linalg.solve(ahead[row + 1].cov, step @ states[row].cov).T
        means.append(states[row].mean + gain @ (means[-1] - ahead[row + 1].mean))
    return np.stack(means[::-1])[:, :3]
