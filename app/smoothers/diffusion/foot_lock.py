"""Feet that stand stay where they stand.

A foot stands while it hardly moves across the picture (the depth of one camera is too unsure to tell) and is about as
low as the other. From then on it has a place of its own, which follows the estimates only slowly, and the leg reaches
for it (`leg_reach`). The body stays where it is estimated: moving it so that the foot keeps its depth was tried, and
put people 20 mm farther off (fast ones 46). A foot that comes off its place is let go. All of it comes and goes
gradually. The camera is taken to stand still: where it moves, all feet move, and none is held.
"""

from __future__ import annotations

import numpy as np

from bodycast.app.records import F32, I32
from bodycast.app.smoothers.diffusion.leg_ik import Legs, legs_of, reach
from bodycast.app.smoothers.person_memory import PeopleRows, Rows, with_room
from bodycast.app.smoothers.rays import off_ray, on_ray
from bodycast.hmr.body.body_model import BodyModel

STANDS_M_S = 0.4
MOVES_M_S = 0.8
"""Speed across the picture below which a foot begins to stand, and above which it no longer does."""

OFF_M = 0.08
OFF_LOG_DEPTH = 0.25
"""How far the estimate may be from the foot's place before it is let go: across the picture, and in log depth."""

LOWER_M = 0.12
"""A foot higher than the other by more than this does not stand."""

BLEND_S = 0.12
FOLLOWS_S = np.array([0.6, 0.6, 0.3], np.float32)
"""Time constants with which a standing foot's place follows the estimates: across the picture, and in log depth."""

SPEED_S = 0.08
MOST_REACH_M = 0.12
_MAX_GAP_S = 0.6
_MOVING_M_S = 1.0
_LEAST_MOVE_M = 5e-4


class FootLock:
    """Holds feet, by id. Where a place is on a line of sight: x/z, y/z, log z."""

    def __init__(self, body: BodyModel) -> None:
        """body: whose betas the people have."""
        self._body = body
        self._people = PeopleRows()
        self._time_s = np.zeros(0)
        self._foot = np.zeros((0, 2, 3), np.float32)
        self._velocity = np.zeros((0, 2, 2), np.float32)
        self._stands = np.zeros((0, 2), np.bool_)
        self._level = np.zeros((0, 2), np.float32)
        self._place = np.zeros((0, 2, 3), np.float32)

    def clear(self) -> None:
        """Forget everybody."""
        self._people.clear()

    def update(self, people: I32, pose: F32, betas: F32, transl_m: F32, time_s: float) -> F32:
        """Poses (N,24,3,3) with the feet held; ids (N,), betas (N,10), translations (N,3) in metres, camera frame."""
        if not len(people):
            return pose
        rest = self._body.joints(betas)
        legs = legs_of(pose, rest, transl_m)
        seen = on_ray(legs.foot_m)
        at, step_s = self._rows(people, seen, time_s)
        self._judge(at, seen, step_s)
        self._follow(at, seen, step_s)
        self._time_s[at], self._foot[at] = time_s, seen
        self._people.forget(self._time_s, time_s - _MAX_GAP_S)
        move = self._held(at, legs)
        moves = np.abs(move).max((1, 2)) > _LEAST_MOVE_M
        if moves.any():
            pose = np.where(moves[:, None, None, None], reach(pose, legs, move), pose)
        return pose.astype(np.float32)

    def _rows(self, people: I32, seen: F32, time_s: float) -> tuple[Rows, F32]:
        """Rows (N,), and seconds (N,1) since each was seen before; new people are where they are, and move."""
        at, new = self._people.find(people)
        rows = len(self._people)
        self._time_s = with_room(self._time_s, rows)
        self._foot, self._place = with_room(self._foot, rows), with_room(self._place, rows)
        self._velocity, self._level = with_room(self._velocity, rows), with_room(self._level, rows)
        self._stands = with_room(self._stands, rows)
        since_s = time_s - self._time_s[at]
        new = new | ~((since_s >= 0) & (since_s <= _MAX_GAP_S))
        fresh = at[new]
        self._foot[fresh], self._velocity[fresh] = seen[new], _MOVING_M_S
        self._stands[fresh], self._level[fresh] = False, 0
        return at, np.where(new, 0, since_s).astype(np.float32)[:, None]

    def _judge(self, at: Rows, seen: F32, step_s: F32) -> None:
        """Which feet stand; those that begin to have their place where they are."""
        z = np.exp(seen[..., 2])
        across = (seen - self._foot[at])[..., :2] * (z / np.maximum(step_s, 1e-4))[..., None]
        velocity = self._velocity[at]
        velocity += _share(step_s, SPEED_S)[..., None] * (across - velocity)
        self._velocity[at] = velocity
        speed = np.sqrt(np.square(velocity).sum(-1))
        height_m = seen[..., 1] * z
        low = height_m > height_m.max(1, keepdims=True) - LOWER_M
        off = np.abs(seen - self._place[at])
        close = (np.sqrt(np.square(off[..., :2]).sum(-1)) * z < OFF_M) & (off[..., 2] < OFF_LOG_DEPTH)
        stood = self._stands[at]
        begins = ~stood & (speed < STANDS_M_S) & low & (self._level[at] <= 0)
        stands = begins | (stood & (speed < MOVES_M_S) & close)
        self._place[at] = np.where(begins[..., None], seen, self._place[at])
        self._stands[at] = stands
        change = np.where(stands, step_s, -step_s) / BLEND_S
        self._level[at] = np.clip(self._level[at] + change, 0, 1)

    def _follow(self, at: Rows, seen: F32, step_s: F32) -> None:
        place = self._place[at]
        self._place[at] = place + _share(step_s[..., None], FOLLOWS_S) * (seen - place)

    def _held(self, at: Rows, legs: Legs) -> F32:
        """What the legs have to reach, (N,2,3) metres."""
        left = off_ray(self._place[at]) - legs.foot_m
        size = np.sqrt(np.square(left).sum(-1, keepdims=True))
        short = np.minimum(1, MOST_REACH_M / np.maximum(size, 1e-6))
        return (self._level[at][..., None] * left * short).astype(np.float32)


def _share(step_s: F32, constant_s: float | F32) -> F32:
    """Share of the way that a first-order filter goes in a step."""
    return np.asarray(-np.expm1(-step_s / constant_s), np.float32)
