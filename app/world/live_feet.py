"""Live: feet that stand and the root above them, of all people of a frame at once; one filter step a frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bodycast.app.records import F32, F64
from bodycast.app.world.held_feet import RELEASE_M, RELEASE_S, in_reach
from bodycast.app.world.person_series import NEAREST_M
from bodycast.app.world.root_filter import begin_roots, predict_roots, update_roots
from bodycast.app.world.standing import (
    BEGINS,
    CORRELATED_S,
    ENDS,
    FAR_FROM_PLANE,
    LEAST_DROP,
    ON_PLANE_M,
    SIZE_CORRELATED_S,
    SPEED_S,
    Planes,
    across_m,
    balance_sight,
    footing_sight,
    holds,
    root_sight,
    sight,
    slow_share,
    unless_seen,
)

LETS_GO_S = 0.1
"""A foot that lands is held within this time."""
LEAST_M = 0.002
"""Smaller corrections of a foot that was let go are none."""
FIRST_STEP_S = 1 / 30
PAST = 12
"""Frames of soles that are kept."""
STATE = np.dtype(
    [
        ("time_s", "f8"),
        ("root", "f8", (6,)),
        ("cov", "f8", (6, 6)),
        ("frames", "i4"),
        ("soles", "f8", (PAST, 4, 3)),
        ("stands", "?", (4,)),
        ("grip", "f8", (4,)),
        ("fade", "f8", (4,)),
        ("correction", "f8", (4, 3)),
        ("precision", "f8", (4, 3, 3)),
        ("vector", "f8", (4, 3)),
        ("place", "f8", (4, 3)),
        ("by_size", "f8", (4, 3)),
    ]
)
"""What is kept of one person. `frames`: 0 before the first one. `soles`: the last ones last."""


@dataclass(frozen=True)
class SeenFeet:
    """A frame's estimates of N people: `root_m` (N,3), `soles_m` (N,4,3), `contact` (N,4) and `ankles` (N,2),
    confidence 0..1, `sure` (N,) 0..1, how well each is seen, and `straight_m` (N,), from the root to a sole of straight
    legs."""

    root_m: F64
    soles_m: F64
    contact: F32
    ankles: F32
    sure: F32
    straight_m: F32


@dataclass(frozen=True)
class PlaneRows:
    """What each of N people may stand on: `up` (N,P,3) in the camera frame, `height_m` (N,P) of the camera above it,
    NaN where there are fewer planes."""

    up: F64
    height_m: F64

    @staticmethod
    def of(planes: Sequence[Planes]) -> PlaneRows:
        """One row a person."""
        most = max((len(own) for own in planes), default=0)
        up, height_m = np.zeros((len(planes), most, 3)), np.full((len(planes), most), np.nan)
        for row, own in enumerate(planes):
            for number, plane in enumerate(own):
                up[row, number], height_m[row, number] = plane.up, plane.height_m
        return PlaneRows(up, height_m)

    def chosen(self, soles_m: F64) -> tuple[F64, F64]:
        """The plane that each sole (N,4,3) stands on, up (N,4,3) and height (N,4), NaN for none; as `chosen_plane`."""
        if not self.height_m.shape[1]:
            return np.zeros(soles_m.shape), np.full(soles_m.shape[:2], np.nan)
        distance = np.maximum(np.linalg.norm(soles_m, axis=-1), NEAREST_M)
        drop = -(soles_m / distance[..., None]) @ self.up.swapaxes(1, 2)
        height = self.height_m[:, None]
        with np.errstate(invalid="ignore", divide="ignore"):
            off = np.abs(np.log(height / np.maximum(drop, LEAST_DROP) / distance[..., None]))
            off = np.where((drop > LEAST_DROP) & (height > 0) & (off < FAR_FROM_PLANE), off, np.inf)
        best = off.argmin(axis=-1)
        rows = np.arange(len(soles_m))[:, None]
        found = np.isfinite(off[rows, np.arange(4), best])
        return self.up[rows, best], np.where(found, self.height_m[rows, best], np.nan)


def step_feet(
    state: NDArray[np.void], seen: SeenFeet, planes: PlaneRows, time_s: float, focal_px: float
) -> tuple[F64, F32, F64, NDArray[np.bool_]]:
    """A frame of N people. state (N,) of dtype STATE is changed.

    Returns the roots (N,3), the soles (N,4,3) with the roots there, their corrections (N,4,3), m, and (N,4) whether
    there is one.
    """
    new = state["frames"] == 0
    begin_roots(state, seen.root_m, time_s, new)
    step_s = np.where(new, FIRST_STEP_S, np.maximum(time_s - state["time_s"], 1e-3))
    correlated = np.maximum(CORRELATED_S / step_s, 1.0)
    predict_roots(state, time_s, seen.sure)
    size = root_sight(seen.root_m, seen.sure, np.maximum(SIZE_CORRELATED_S / step_s, 1.0))
    # New places are sought at the distance that is known so far: the size of somebody who bends says too much.
    first, _ = update_roots(state, *size)
    scale = np.linalg.norm(first[:, :3], axis=1) / np.linalg.norm(seen.root_m, axis=1)
    _stand(state, seen, seen.soles_m * scale[:, None, None], planes, step_s, focal_px)
    weight = state["grip"] * state["stands"]
    legs = footing_sight(state["place"], weight, seen.root_m, seen.soles_m, correlated)
    known = size[0] + legs[0], size[1] + legs[1]
    if planes.height_m.shape[1]:
        firm = weight * np.isfinite(planes.height_m[:, :1])
        above = balance_sight(
            state["place"], firm, seen.root_m, seen.soles_m, seen.straight_m, planes.up[:, 0], correlated
        )
        known = known[0] + above[0], known[1] + above[1]
    state["root"], state["cov"] = update_roots(state, *known)
    at = state["root"][:, :3].copy()
    moved = seen.soles_m + (at - seen.root_m)[:, None]
    grip = (state["grip"] * in_reach(state["place"] - moved))[..., None]
    state["correction"] = grip * (state["place"] - moved) + (1 - grip) * state["fade"][..., None] * state["correction"]
    left = (state["grip"] > 0) | (np.linalg.norm(state["correction"], axis=-1) > LEAST_M)
    return at, moved.astype(np.float32), state["correction"].copy(), left


def _stand(
    state: NDArray[np.void], seen: SeenFeet, soles_m: F64, planes: PlaneRows, step_s: F64, focal_px: float
) -> None:
    """Which soles stand, where each does, how firmly, and what a correction that is let go keeps."""
    people, contact, stood = len(state), seen.contact, state["stands"]
    rests, way_m = _moves(state, soles_m, step_s)
    agrees = unless_seen(np.repeat(seen.ankles, 2, axis=1), holds(state["place"], soles_m) * rests)
    stands = (contact > BEGINS) | (stood & (contact > ENDS))
    stands &= ~(stood & (agrees == 0))
    fresh = stands & ~stood
    state["grip"][fresh] = 0
    correlated = np.repeat(np.maximum(CORRELATED_S / step_s, 1.0), 4)
    precision, vector = sight(soles_m.reshape(-1, 3), contact.reshape(-1), focal_px, correlated)
    kept = (stands & ~fresh)[..., None]
    state["precision"] = kept[..., None] * state["precision"] + precision.reshape(people, 4, 3, 3)
    state["vector"] = kept * state["vector"] + vector.reshape(people, 4, 3)
    state["by_size"][fresh] = soles_m[fresh]
    up, height_m = planes.chosen(state["by_size"])
    on_plane = np.isfinite(height_m)
    pull = np.where(on_plane, ON_PLANE_M**-2, 0.0)
    # What is seen of soles that do not stand is not summed up, and may be nothing.
    known: F64 = state["precision"] + (pull[..., None] * up)[..., None] * up[..., None, :]
    known[~stands] += np.eye(3)
    wanted: F64 = state["vector"] - up * (pull * np.where(on_plane, height_m, 0.0))[..., None]
    place = np.linalg.solve(known, wanted[..., None])[..., 0]
    state["place"] = np.where(stands[..., None], place, state["place"])
    state["stands"] = stands
    agrees = np.where(fresh, rests, agrees)
    state["grip"] = np.where(stands, np.minimum(state["grip"] + (step_s / LETS_GO_S)[:, None], agrees), 0.0)
    state["fade"] = np.exp(-2 * step_s / RELEASE_S)[:, None] * np.maximum(1 - way_m / RELEASE_M, 0)


def _moves(state: NDArray[np.void], soles_m: F64, step_s: F64) -> tuple[F64, F64]:
    """(N,4) 1 where a sole hardly moves across the line of sight, 0 where it moves fast; (N,4) m, its last way."""
    state["soles"][:, :-1] = state["soles"][:, 1:].copy()
    state["soles"][:, -1] = soles_m
    frames = np.minimum(state["frames"] + 1, PAST)
    state["frames"] = frames
    back = np.minimum(np.maximum(np.round(SPEED_S / step_s).astype(np.intp), 1), frames - 1)
    rows = np.arange(len(state))
    last = state["soles"][rows, PAST - 1 - np.minimum(frames - 1, 1)]
    before = state["soles"][rows, PAST - 1 - back]
    speed = across_m(soles_m, before) / (np.maximum(back, 1) * step_s)[:, None]
    return slow_share(speed), np.linalg.norm(soles_m - last, axis=-1)
