"""Where feet that touch something stand, and what that says of the root's place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bodycast.app.records import F32, F64
from bodycast.app.world.person_series import NEAREST_M, PersonSeries

BEGINS, ENDS = 0.4, 0.15
"""Probability of contact from which a foot stands, and below which it no longer does."""
SHORTEST_S = 0.08
JOINED_S, JOINED_M = 0.5, 0.06
"""Two contacts of a sole so near in time and place are one."""
SOLE_PX, SOLE_M = 3.0, 0.04
"""What a sole's place in the picture may be off: px, and at the person's distance m."""
SIZE_SPREAD = 0.08
"""Of the logarithm of a distance that a body's size says."""
LEAST_SURE = 0.2
CORRELATED_S = 0.5
"""Errors of sizes and poses of so near frames are the same error."""
AWAY_M = (0.05, 0.15)
"""A sole that is seen so far from where it stands, across the line of sight, is held less, and no longer."""
MOVES_M_S = (0.45, 1.0)
"""Speed across the line of sight from which a sole is held less, and no longer."""
SPEED_S = 0.1
FAR_FROM_PLANE = 0.3
"""A contact whose distance by the body's size is off a plane by more than this, as a logarithm, is not on it."""
CONTRADICTS = (0.3, 0.7)
"""How well a foot is seen (`PersonSeries.seen`) from which its place in the picture counts against its standing."""
LEAST_DROP = 0.02
LEAST_HELD = 0.3
"""Weight of a frame in the middle of a contact whose own probability is lower."""
SIZE_CORRELATED_S = 0.25
"""The same of a size by itself, for the root: somebody who moves freely is where they are seen."""
ON_PLANE_M = 0.005
LATERAL_M = 0.04
"""What the root's line of sight may be off."""
LEG_ACROSS_M, LEG_ALONG_M = 0.04, 0.1
"""What a leg may be wrong by, from the root to its sole: across the picture, and along the line of sight."""
BALANCE_M = 0.08
"""How far, along the floor, the root of somebody who stands on both feet is from above the middle of them."""
UPRIGHT = (0.8, 0.9)
"""Distance from the root to the soles, over that of straight legs, from which somebody stands."""
LEAST_STEP_S = 1e-3
"""Time from frame to frame where damaged times say less."""


@dataclass(frozen=True)
class Plane:
    """What somebody stands on: `up` (3,) in the camera frame, `height_m` of the camera above it."""

    up: F64
    height_m: float

    def heights_m(self, points: NDArray[np.floating]) -> F64:
        """Heights (...) of points (...,3)."""
        return (points @ self.up + self.height_m).astype(np.float64)


Planes = tuple[Plane, ...]
"""What somebody may stand on: the level of their own first, then the floor. Empty: contacts hold without a plane."""


def lowest(planes: Planes, ground: Plane | None) -> Plane | None:
    """The one that is farthest below the camera; nobody is under it. ground: the floor, also of those who stand on
    none, as in a jump from one level to another."""
    every = planes if ground is None else (*planes, ground)
    return max(every, key=lambda plane: plane.height_m, default=None)


def chosen_plane(planes: Planes, soles_m: F64) -> Plane | None:
    """The plane that a sole, seen at places (E,3) by the body's size, stands on; None: it is nowhere near any, as one
    that lands elsewhere, or climbs stairs."""
    distance = np.maximum(np.linalg.norm(soles_m, axis=1), NEAREST_M)
    ray = soles_m / distance[:, None]
    best, least = None, FAR_FROM_PLANE
    for plane in planes:
        drop = -(ray @ plane.up)
        below = drop > LEAST_DROP
        if not below.any():
            continue
        off = (
            abs(float(np.median(np.log(plane.height_m / drop[below] / distance[below]))))
            if plane.height_m > 0
            else np.inf
        )
        if off < least:
            best, least = plane, off
    return best


@dataclass(frozen=True)
class Footing:
    """F frames: `places_m` (F,4,3) where each sole stands, camera frame; `weight` (F,4) 0..1 how much that says of the
    person's place, 0 where it does not stand; `hold` (F,4) 0..1 how far the sole is brought there."""

    places_m: F64
    weight: F64
    hold: F64


def episodes(time_s: F64, contact: F32) -> list[tuple[int, int]]:
    """First frame of every contact of one sole, and the one after its last, from its probabilities (F,)."""
    found: list[tuple[int, int]] = []
    begin: int | None = None
    for row, value in enumerate(contact.tolist()):
        if begin is None and value > BEGINS:
            begin = row
        elif begin is not None and value < ENDS:
            found.append((begin, row))
            begin = None
    if begin is not None:
        found.append((begin, len(contact)))
    return [(a, b) for a, b in found if b - a > 1 and time_s[b - 1] - time_s[a] >= SHORTEST_S]


def joined(found: list[tuple[int, int]], time_s: F64, soles_m: F64) -> list[tuple[int, int]]:
    """The contacts of one sole (F,3) m with those in one that are near in time and, across the line of sight, in place:
    a foot that stands still is not lifted for a few frames."""
    out: list[tuple[int, int]] = []
    for begin, end in found:
        if out and time_s[begin] - time_s[out[-1][1] - 1] <= JOINED_S:
            ray = soles_m[begin] / np.maximum(np.linalg.norm(soles_m[begin]), NEAREST_M)
            between = soles_m[out[-1][1] - 1 : begin + 1] - soles_m[begin]
            across = between - (between @ ray)[:, None] * ray
            if np.linalg.norm(across, axis=1).max() <= JOINED_M:
                out[-1] = out[-1][0], end
                continue
        out.append((begin, end))
    return out


def footing(
    person: PersonSeries, contact: F32, planes: Planes, focal_px: float, by_size_m: F32 | None = None
) -> Footing:
    """Places of all contacts of a person, each the one that its frames' lines of sight, the plane and the person's size
    agree on. contact: (F,4)."""
    places, weight, hold = np.zeros((len(person), 4, 3)), np.zeros((len(person), 4)), np.zeros((len(person), 4))
    correlated = np.clip(CORRELATED_S / step_s(person.time_s), 1, None)
    sized = (person.soles_m if by_size_m is None else by_size_m).astype(np.float64)
    for sole in range(4):
        soles = person.soles_m[:, sole].astype(np.float64)
        for begin, end in joined(episodes(person.time_s, contact[:, sole]), person.time_s, soles):
            held = np.maximum(contact[begin:end, sole], LEAST_HELD)
            precision, vector = sight(soles[begin:end], held, focal_px, correlated)
            plane = chosen_plane(planes, sized[begin:end, sole])
            place = standing_place(precision.sum(axis=0), vector.sum(axis=0), plane)
            places[begin:end, sole] = place
            agrees = holds(place, soles[begin:end]) * rests(person.time_s, soles)[begin:end]
            hold[begin:end, sole] = unless_seen(person.seen[begin:end, sole // 2], agrees)
            weight[begin:end, sole] = held * hold[begin:end, sole]
    return Footing(places, weight, hold)


def unless_seen(seen: F32, agrees: F64) -> F64:
    """(E,) 0..1 how far a foot that stood goes on to: a picture that shows it badly, `seen` (E,), says little against
    it."""
    unsure, sure = CONTRADICTS
    return 1 - np.clip((seen - unsure) / (sure - unsure), 0, 1) * (1 - agrees)


def sight(soles_m: F64, weight: F32 | F64, focal_px: float, correlated: float | F64) -> tuple[F64, F64]:
    """Precision (E,3,3) and vector (E,3) of a sole's place from single frames: sharp across, dull along the ray."""
    distance = np.maximum(np.linalg.norm(soles_m, axis=1), NEAREST_M)
    ray = soles_m / distance[:, None]
    along = ray[:, :, None] * ray[:, None, :]
    across_m, along_m = np.hypot(SOLE_PX / focal_px * distance, SOLE_M), SIZE_SPREAD * distance
    sharp = (np.eye(3) - along) / np.square(across_m)[:, None, None] + along / np.square(along_m)[:, None, None]
    precision = sharp * (np.asarray(weight, np.float64) / correlated)[:, None, None]
    return precision, (precision @ soles_m[..., None])[..., 0]


def standing_place(precision: F64, vector: F64, plane: Plane | None) -> F64:
    """(3,) the place that a sum of `sight`s says, on the plane where there is one."""
    if plane is not None:
        precision = precision + np.outer(plane.up, plane.up) / ON_PLANE_M**2
        vector = vector - plane.up * (plane.height_m / ON_PLANE_M**2)
    return np.linalg.solve(precision, vector).astype(np.float64)


def across_m(place_m: F64, soles_m: F64) -> F64:
    """(E,) how far places (E,3) or (3,) are from where soles (E,3) are seen, across the line of sight, m."""
    ray = soles_m / np.maximum(np.linalg.norm(soles_m, axis=-1, keepdims=True), NEAREST_M)
    # A place at another distance on the same line of sight is no contradiction: only angles count.
    off = place_m * (
        (soles_m * ray).sum(axis=-1, keepdims=True) / np.maximum((place_m * ray).sum(-1, keepdims=True), NEAREST_M)
    )
    return np.linalg.norm(off - soles_m, axis=-1)


def holds(place_m: F64, soles_m: F64) -> F64:
    """(E,) 1 where a sole is seen where it stands, 0 where it is far from there."""
    near, far = AWAY_M
    return np.clip((far - across_m(place_m, soles_m)) / (far - near), 0, 1)


def rests(time_s: F64, soles_m: F64) -> F64:
    """(F,) 1 where a sole (F,3) hardly moves across the line of sight, 0 where it moves fast, over SPEED_S."""
    steps = max(round(SPEED_S / step_s(time_s) / 2), 1)
    rows = np.arange(len(time_s))
    before, after = np.maximum(rows - steps, 0), np.minimum(rows + steps, len(rows) - 1)
    passed_s = np.maximum(time_s[after] - time_s[before], 1e-3)
    return slow_share(across_m(soles_m[after], soles_m[before]) / passed_s)


def slow_share(speed_m_s: F64) -> F64:
    """1 for a sole that stands, 0 for one that moves too fast for it."""
    slow, fast = MOVES_M_S
    return np.clip((fast - speed_m_s) / (fast - slow), 0, 1)


def root_sight(root_m: F64, sure: F32 | F64, correlated: float | F64) -> tuple[F64, F64]:
    """Precision (F,3,3) and vector (F,3) of the root's place from where the estimate has it. sure: (F,), see
    PersonSeries."""
    distance = np.maximum(np.linalg.norm(root_m, axis=1), NEAREST_M)
    ray = root_m / distance[:, None]
    along = ray[:, :, None] * ray[:, None, :]
    spread = np.square(SIZE_SPREAD * distance / np.maximum(sure, LEAST_SURE) ** 2) * correlated
    precision = (np.eye(3) - along) / LATERAL_M**2 + along / spread[:, None, None]
    return precision, (precision @ root_m[..., None])[..., 0]


def footing_sight(places_m: F64, weight: F64, root_m: F64, soles_m: F64, correlated: float | F64) -> tuple[F64, F64]:
    """Precision (F,3,3) and vector (F,3) of the root's place from soles that stand: each says where its leg's other end
    is. places_m, soles_m (F,4,3): where they stand, and where the estimate has them with its root at root_m (F,3)."""
    distance = np.maximum(np.linalg.norm(root_m, axis=1), NEAREST_M)
    ray = root_m / distance[:, None]
    along = ray[:, :, None] * ray[:, None, :]
    one = (np.eye(3) - along) / LEG_ACROSS_M**2 + along / LEG_ALONG_M**2
    shares = weight / np.asarray(correlated)[..., None] / 2  # heel and toe of a foot err together
    precision = one * shares.sum(axis=1)[:, None, None]
    wanted = ((places_m - (soles_m - root_m[:, None])) * shares[..., None]).sum(axis=1)
    return precision, (one @ wanted[..., None])[..., 0]


def balance_sight(
    places_m: F64, weight: F64, root_m: F64, soles_m: F64, straight_m: float | F32, up: F64, correlated: float | F64
) -> tuple[F64, F64]:
    """Precision (F,3,3) and vector (F,3) of the root's place, away from the camera, of somebody who stands on both
    feet: nobody leans far over them for long. straight_m: from the root to a sole of straight legs; up: (3,) or (F,3).
    The others as `footing_sight`'s."""
    feet = weight.reshape(-1, 2, 2)
    both = feet.max(axis=2).min(axis=1)
    long = np.linalg.norm(soles_m - root_m[:, None], axis=-1).max(axis=1) / straight_m
    bent, straight = UPRIGHT
    share = both * np.clip((long - bent) / (straight - bent), 0, 1) / correlated
    ray = root_m / np.maximum(np.linalg.norm(root_m, axis=1, keepdims=True), NEAREST_M)
    away = ray - (ray * up).sum(axis=1, keepdims=True) * up
    away = away / np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-6)
    middle = (places_m * weight[..., None]).reshape(-1, 2, 2, 3).sum(axis=2) / np.maximum(feet.sum(axis=2), 1e-9)[
        ..., None
    ]
    precision = away[:, :, None] * away[:, None, :] * (share / BALANCE_M**2)[:, None, None]
    return precision, (precision @ middle.mean(axis=1)[..., None])[..., 0]


def step_s(time_s: F64) -> float:
    """Usual time from frame to frame."""
    return max(float(np.median(np.diff(time_s))), LEAST_STEP_S) if len(time_s) > 1 else 1 / 30
