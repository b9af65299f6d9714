"""Everybody's last 1.4 seconds as the network takes them, in arrays that are written in place, one row per person.

With every frame goes how much time it stands for, and how noisy it looks: how far it lies off the cubic through the
four frames around it. People's movements hardly leave that; an estimator's errors do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bodycast.app.records import F32, F64, I32
from bodycast.app.smoothers.diffusion.motion_features import JOINTS, WIDTH, group_squares
from bodycast.app.smoothers.person_memory import Flags, PeopleRows, Rows, with_room

KEEP_S = 1.4
MAX_GAP_S = 0.6
"""Somebody away for longer starts anew."""

CLOSEST_S = 0.012
"""Frames that follow closer than this share a place in the window: it has room for 64."""

MIN_FRAMES = 4
MIN_AGE_S = 0.1
"""A person seen in fewer frames, or for less time, is not known yet."""

NOISE_REACH_S = 0.6
NOISE_QUANTILE = 0.75
OWN_NOISE = 0.5
"""A frame is taken to be as noisy as this quantile of those so near to it, but at least this share of its own noise."""

MOVEMENT = 6e-4
_MOVEMENT_POWER = 6
"""Variance, all joints together, by which a person's own movement leaves the cubic at 30 frames a second, and how it
grows with the time between frames: 9 in 10 stretches of the recorded motion stay below it at 15 frames a second."""

HIDDEN_TRUST = 0.2
_NO_TIME_S = -np.inf
_TWO_FRAMES_S = 0.06
_ROUNDING_S = 1e-3
_TINY = 1e-12
_NEIGHBOURS = ((2, (4, 3, 1, 0)), (1, (2, 0)), (0, (1, 2)))
"""A frame, so many frames back, and those it is compared with: two on either side where there are two."""


@dataclass(frozen=True, slots=True)
class Window:
    """The network's input for N people: motion (N,F,147), age_s (N,F) and weight (N,F), 0 where there is no
    frame."""

    motion: F32
    age_s: F32
    weight: F32


@dataclass(frozen=True, slots=True)
class About:
    """The frames that the outputs belong to, one of each of N people: time_s (N,), motion (N,147), noise (N,3): the
    variance of the errors of all joints together, of the direction and of the log depth, infinite where that is not
    known; hidden (N,): the person was not seen in it, nor in a later one."""

    time_s: F64
    motion: F32
    noise: F32
    hidden: Flags


class FrameMemory:
    """Frames of everybody. Methods take and give rows of `add`."""

    def __init__(self, capacity: int, lag_s: float) -> None:
        """capacity: F, frames that the network's window holds. lag_s: of the outputs behind the newest frame."""
        self._capacity = capacity
        # What has two later frames when its output is due is not compared before it has them.
        self._comparisons = _NEIGHBOURS[:1] if lag_s >= _TWO_FRAMES_S else _NEIGHBOURS
        self._people = PeopleRows()
        self._motion = np.zeros((0, capacity, WIDTH), np.float32)
        self._noise = np.zeros((0, capacity, 3), np.float32)
        self._time_s = np.zeros((0, capacity))
        self._gap_s = np.zeros((0, capacity))
        self._trust = np.zeros((0, capacity), np.float32)
        self._stands_for = np.zeros((0, capacity), np.float32)
        self._newest = np.zeros(0, np.intp)
        self._count = np.zeros(0, np.intp)
        self._first_s = np.zeros(0)
        self._trusted_s = np.zeros(0)

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(self._count)

    def clear(self) -> None:
        """Forget everybody."""
        self._people.clear()
        self._count[:] = 0

    def add(self, people: I32, motion: F32, trust: F32, time_s: float) -> tuple[Rows, Flags]:
        """One more frame of people (N,): motion (N,147), trust (N,) in 0..1. Gives their rows (N,) and who of them
        starts anew (N,)."""
        at, new = self._people.find(people)
        self._make_room()
        since_s = time_s - self._time_s[at, self._newest[at]]
        fresh = new | ~((since_s >= 0) & (since_s <= MAX_GAP_S))
        self._begin(at[fresh], time_s)
        further = (fresh | (since_s >= CLOSEST_S)).astype(np.intp)
        self._newest[at] = (self._newest[at] + further) % self._capacity
        self._count[at] = np.minimum(self._count[at] + further, self._capacity)
        slot = self._newest[at]
        self._motion[at, slot], self._trust[at, slot], self._time_s[at, slot] = motion, trust, time_s
        self._noise[at, slot] = np.inf
        self._weigh(at, slot, time_s)
        self._trusted_s[at] = np.where(trust >= HIDDEN_TRUST, time_s, self._trusted_s[at])
        for centre, neighbours in self._comparisons:
            self._compare(at, centre, neighbours)
        self._people.forget(self._time_s[np.arange(self.rows), self._newest], time_s - MAX_GAP_S)
        return at, fresh

    def known(self, at: Rows) -> Flags:
        """(N,) who has been seen for long enough."""
        newest_s = self._time_s[at, self._newest[at]]
        return (self._count[at] >= MIN_FRAMES) & (newest_s - self._first_s[at] >= MIN_AGE_S)

    def since_s(self, at: Rows) -> F64:
        """(N,) time between the last two frames."""
        return self._gap_s[at, self._newest[at]]

    def seen(self, at: Rows) -> Flags:
        """(N,) whether the person was seen in the newest frame."""
        return self._trust[at, self._newest[at]] >= HIDDEN_TRUST

    def window(self, at: Rows, time_s: float) -> Window:
        """The network's input."""
        age_s = time_s - self._time_s[at]
        recent = age_s <= KEEP_S
        weight = np.where(recent, self._trust[at] * self._stands_for[at], np.float32(0))
        return Window(self._motion[at], np.where(recent, age_s, 0).astype(np.float32), weight)

    def about(self, at: Rows, about_s: float) -> About:
        """The newest frames that are due at a time, or the oldest where none is: those whose pictures wait for the
        output. They are at that time, but for frame rates of which the lag is no multiple."""
        times = self._time_s[at]
        there = np.isfinite(times)
        due = there & (times <= about_s + _ROUNDING_S)
        newest_due: Rows = np.argmax(np.where(due, times, -np.inf), axis=1)
        oldest: Rows = np.argmin(np.where(there, times, np.inf), axis=1)
        slot: Rows = np.where(np.any(due, axis=1), newest_due, oldest)
        row = np.arange(len(at))
        chosen_s = times[row, slot]
        back = (self._newest[at][:, None] - np.arange(self._capacity)) % self._capacity
        # What the two newest are compared with is on one side, and tells less: they speak for themselves alone.
        near = (np.abs(times - chosen_s[:, None]) <= NOISE_REACH_S) & (back >= np.minimum(back[row, slot], 2)[:, None])
        all_noise = self._noise[at]
        own = all_noise[row, slot]
        # Those not compared yet are infinite, and say nothing about the others.
        compared = near & np.isfinite(all_noise[..., 0])
        rising = np.sort(np.where(compared[..., None], all_noise, np.float32(np.inf)), axis=1)
        rank = np.maximum(np.ceil(NOISE_QUANTILE * compared.sum(1)).astype(np.intp) - 1, 0)
        noise = np.maximum(rising[row, rank], OWN_NOISE * own)
        unknown = ~np.isfinite(own) | (self._trust[at, slot] < HIDDEN_TRUST)[:, None]
        trusted_s = self._trusted_s[at]
        hidden = np.isfinite(trusted_s) & (chosen_s > trusted_s + _ROUNDING_S)
        return About(chosen_s, self._motion[at, slot], np.where(unknown, np.float32(np.inf), noise), hidden)

    def _make_room(self) -> None:
        rows = len(self._people)
        if self.rows >= rows:
            return
        self._motion, self._noise = with_room(self._motion, rows), with_room(self._noise, rows)
        self._time_s, self._gap_s = with_room(self._time_s, rows), with_room(self._gap_s, rows)
        self._trust, self._stands_for = with_room(self._trust, rows), with_room(self._stands_for, rows)
        self._newest, self._count = with_room(self._newest, rows), with_room(self._count, rows)
        self._first_s, self._trusted_s = with_room(self._first_s, rows), with_room(self._trusted_s, rows)

    def _begin(self, at: Rows, time_s: float) -> None:
        self._time_s[at] = _NO_TIME_S
        self._trust[at] = 0
        self._newest[at], self._count[at] = -1, 0
        self._first_s[at], self._trusted_s[at] = time_s, _NO_TIME_S

    def _weigh(self, at: Rows, slot: Rows, time_s: float) -> None:
        """How much time the newest frame and the one before it stand for, in thirtieths of a second and at most two:
        so that a hurried camera counts no more than a slow one, and a burst no more than the pauses around it."""
        before = (slot - 1) % self._capacity
        first = self._count[at] < 2
        gap_s = np.where(first, np.nan, time_s - self._time_s[at, before])
        self._gap_s[at, slot] = gap_s
        self._stands_for[at, slot] = np.where(first, 1, np.clip(30 * gap_s, 0.2, 2))
        earlier_s = self._gap_s[at, before]
        earlier_s = np.where(np.isnan(earlier_s), gap_s, earlier_s)
        at, before, both_s = at[~first], before[~first], (earlier_s + gap_s)[~first]
        self._stands_for[at, before] = np.clip(15 * both_s, 0.2, 2)

    def _compare(self, at: Rows, centre: int, neighbours: tuple[int, ...]) -> None:
        """Note how noisy the frame `centre` frames back is: its squared distance from the polynomial through its
        neighbours, over what noise of variance 1 in all of them would make it, less what is due to movement."""
        at = at[self._count[at] > max(neighbours)]
        if not len(at):
            return
        newest = self._newest[at]
        middle = (newest - centre) % self._capacity
        around = (newest[:, None] - np.array(neighbours)) % self._capacity
        times, own_s = self._time_s[at[:, None], around], self._time_s[at, middle]
        share = lagrange(times, own_s)
        through = (share[:, None, :] @ self._motion[at[:, None], around])[:, 0]
        apart = (self._motion[at, middle] - through).astype(np.float32)
        off = group_squares(apart) / (1 + np.square(share).sum(1))[:, None]
        body = off[:, :JOINTS].sum(1, keepdims=True)
        step_s = (np.prod(np.abs(times - own_s[:, None]), axis=1) / 4) ** (1 / len(neighbours))
        moved = MOVEMENT * (30 * step_s[:, None]) ** _MOVEMENT_POWER
        left = np.maximum(1 - moved / np.maximum(body, _TINY), 0)
        self._noise[at, middle] = np.concatenate([body, off[:, JOINTS:]], axis=1) * left


def lagrange(nodes_s: F64, at_s: F64) -> F32:
    """Shares (N,K) of values at times (N,K), all different, in the polynomial through them at times (N,)."""
    count = nodes_s.shape[1]
    own = np.eye(count, dtype=bool)
    apart = np.where(own, 1, nodes_s[:, :, None] - nodes_s[:, None, :])
    way = np.where(own, 1, (at_s[:, None] - nodes_s)[:, None, :])
    return np.prod(way / apart, axis=2).astype(np.float32)
