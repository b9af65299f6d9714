"""The network's outputs so far, per person: trajectories, read at any time, and what is done with them where
the person is hidden and where the frames need no smoothing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bodycast.app.records import F32, F64
from bodycast.app.smoothers.diffusion.motion_features import JOINTS, WIDTH, continued, group_squares, per_number, read
from bodycast.app.smoothers.person_memory import Flags, Rows, with_room

RETURN_S = 0.1
"""Time constant with which a body that was hidden comes back to what is seen of it."""

FLOW_S = 0.04
"""Time constant with which the estimates follow the trajectories, each of which is a new one. Until the next they go on
as the trajectory moves, so that the trajectories' disagreement is taken out and hardly any movement: on the training
subjects 18 % of the acceleration error at a lag of 0.1 s, for 0.2 mm and 5 ms of delay; at lag 0, where trajectories
end, 4 % for 0.4 mm."""

FLOW_GAP_S = 0.3
_SLOPE_S = 0.1

CLEAN_RATIO, CLEAN_RATIO_AT_ONCE = 40.0, 80.0
CLEAN_PLACE_RATIO = 60.0
"""So many times the variance of a frame's noise is the squared distance at which the frame is believed as much as the
estimate. What a smoother takes out of noise is about as large as the noise, what it takes out of a movement is larger;
but slow errors look like movement without noise, above all in a frame that no later one has been compared with (the
second ratio, at lag 0): 40 there lets 10 % more of the shaking through, and leaves clean motion 7 instead of 10 mm off.
Of the whole body, which is surer than of each joint; and of the root translation, which one camera sees less well."""

TURNED = 0.5
"""Squared distance of the root's columns (about 40 degrees) above which a frame rather takes front for back."""

_SHARPNESS = 3
_TINY = 1e-9


class Trajectories:
    """Trajectories of everybody, by the rows of `FrameMemory`; the last one, and the last one that was
    given while the person was seen."""

    def __init__(self, ages_s: NDArray[np.float64]) -> None:
        """ages_s (K,): the slots of a trajectory."""
        self._ages_s = ages_s
        self._last = np.zeros((0, len(ages_s), WIDTH), np.float32)
        self._seen = np.zeros((0, len(ages_s), WIDTH), np.float32)
        self._offset = np.zeros((0, WIDTH), np.float32)
        self._shown = np.zeros((0, WIDTH), np.float32)
        self._flow, self._flow_s = np.zeros((0, WIDTH), np.float32), np.zeros(0)
        self._hid = np.zeros(0, np.bool_)
        self._last_s, self._seen_s = np.zeros(0), np.zeros(0)

    def begin(self, at: Rows, rows: int) -> None:
        """Nothing is known of `at`; there are so many rows in all."""
        self._last, self._seen = with_room(self._last, rows), with_room(self._seen, rows)
        self._offset, self._shown = with_room(self._offset, rows), with_room(self._shown, rows)
        self._flow, self._flow_s = with_room(self._flow, rows), with_room(self._flow_s, rows)
        self._hid = with_room(self._hid, rows)
        self._last_s, self._seen_s = with_room(self._last_s, rows), with_room(self._seen_s, rows)
        self._last[at], self._offset[at], self._hid[at] = 0, 0, False
        self._last_s[at] = self._seen_s[at] = self._flow_s[at] = -np.inf

    def last(self, at: Rows) -> tuple[F32, F64]:
        """Trajectories (N,K,147) and when they were given (N,), minus infinity for never."""
        return self._last[at], self._last_s[at]

    def take(self, at: Rows, trajectory: F32, time_s: float, seen: Flags) -> None:
        """New trajectories (N,K,147)."""
        self._last[at], self._last_s[at] = trajectory, time_s
        self._seen[at[seen]], self._seen_s[at[seen]] = trajectory[seen], time_s

    def about(self, at: Rows, about_s: F64, hidden: Flags, since_s: F64) -> F32:
        """(N,147) at times (N,). hidden (N,): nothing has been seen since before that time, so what was seen last goes
        on and comes to rest. since_s (N,): since the last call."""
        hidden = hidden & np.isfinite(self._seen_s[at])
        rows = self._flowing(at, about_s)
        self._flow_s[at[hidden]] = -np.inf  # what comes back comes back from what was shown
        returns = self._hid[at] & ~hidden
        offset = np.where(returns[:, None], self._shown[at] - rows, self._offset[at])
        offset *= np.exp(-since_s / RETURN_S).astype(np.float32)[:, None]
        shown = rows + offset
        if hidden.any():
            which = at[hidden]
            shown[hidden] = continued(self._seen[which], self._ages_s, about_s[hidden] - self._seen_s[which])
        self._offset[at], self._shown[at], self._hid[at] = offset, shown, hidden
        return shown

    def _flowing(self, at: Rows, about_s: F64) -> F32:
        """(N,147) the trajectories at times (N,), drawn to where the estimates before were heading."""
        trajectory, age_s = self._last[at], self._last_s[at] - about_s
        rows = read(trajectory, self._ages_s, age_s)
        since_s = about_s - self._flow_s[at]
        goes_on = (since_s >= 0) & (since_s <= FLOW_GAP_S)
        passed_s = np.where(goes_on, since_s, 0).astype(np.float32)[:, None]
        slope = (rows - read(trajectory, self._ages_s, age_s + _SLOPE_S)) / np.float32(_SLOPE_S)
        share = np.where(goes_on[:, None], np.exp(-passed_s / FLOW_S), 0).astype(np.float32)
        rows += share * (self._flow[at] + passed_s * slope - rows)
        self._flow[at], self._flow_s[at] = rows, about_s
        return rows


def with_clean_frames(estimate: F32, frame: F32, noise: F32, ratio: float = CLEAN_RATIO) -> F32:
    """Estimates (N,147), or the frames (N,147) that they belong to, where the difference is too large for noise (N,3):
    a movement too quick for the smoother, seen without errors. Otherwise a mixture. ratio: see CLEAN_RATIO."""
    off = frame - estimate
    moved = group_squares(off)
    body = moved[:, :JOINTS].sum(1, keepdims=True) / (ratio * noise[:, :1] + _TINY)
    body /= 1 + np.square(moved[:, :1] / TURNED)
    place = np.minimum(body, moved[:, JOINTS:] / (CLEAN_PLACE_RATIO * noise[:, 1:] + _TINY))
    excess = np.minimum(np.concatenate([body.repeat(JOINTS, axis=1), place], axis=1), 1e3) ** _SHARPNESS
    return (estimate + per_number((excess / (1 + excess)).astype(np.float32)) * off).astype(np.float32)
