"""A person's trajectory over a whole clip: contacts hold, pixels stay, distances change only as far as they must."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bodycast.app.records import F32
from bodycast.app.world.held_feet import held_soles, in_reach, released
from bodycast.app.world.person_series import PersonSeries, Skeleton, straight_leg_m
from bodycast.app.world.repose import repose, repose_points
from bodycast.app.world.root_filter import smooth_root
from bodycast.app.world.standing import (
    CORRELATED_S,
    SIZE_CORRELATED_S,
    Footing,
    Plane,
    Planes,
    balance_sight,
    footing,
    footing_sight,
    lowest,
    root_sight,
    step_s,
)
from bodycast.hmr.body.keypoint_refinement import Held
from bodycast.hmr.body.soles import SOLE_CARRIER
from bodycast.hmr.geometry.camera import Intrinsics

ROWS_AT_A_TIME = 2000


def place_person(
    person: PersonSeries,
    contact: F32,
    planes: Planes,
    ground: Plane | None,
    skeleton: Skeleton,
    intrinsics: Intrinsics,
    turns: F32,
) -> PersonSeries:
    """The person placed. contact: (F,4) probabilities. planes: what they may stand on. ground: nobody is under it.
    turns: (F,3,3) each frame's camera frame -> the first one's."""
    back = turns.swapaxes(1, 2)
    targets = repose_points((back[:, None] @ person.joints_m[..., None])[..., 0].astype(np.float32), intrinsics)
    correlated = max(CORRELATED_S / step_s(person.time_s), 1.0)
    sizes = root_sight(
        person.root_m.astype(np.float64), person.sure, max(SIZE_CORRELATED_S / step_s(person.time_s), 1.0)
    )
    straight_m = float(straight_leg_m(skeleton.rest(person.betas[None]))[0])
    placed = person
    for _ in range(2):
        stands = footing(placed, contact, planes, intrinsics.focal_px, person.soles_m)
        root, soles = placed.root_m.astype(np.float64), placed.soles_m.astype(np.float64)
        legs = footing_sight(stands.places_m, stands.weight, root, soles, correlated)
        known = sizes[0] + legs[0], sizes[1] + legs[1]
        if planes:
            above = balance_sight(stands.places_m, stands.weight, root, soles, straight_m, planes[0].up, correlated)
            known = known[0] + above[0], known[1] + above[1]
        root = smooth_root(person.time_s, person.root_m.astype(np.float64), *known)
        placed = _reposed(
            placed,
            person.pose,
            root.astype(np.float32),
            stands,
            lowest(planes, ground),
            targets,
            skeleton,
            intrinsics,
            turns,
        )
    return placed


def _reposed(
    person: PersonSeries,
    free_pose: F32,
    root_m: F32,
    stands: Footing,
    plane: Plane | None,
    targets_px: F32,
    skeleton: Skeleton,
    intrinsics: Intrinsics,
    turns: F32,
) -> PersonSeries:
    pose, root = person.pose.copy(), root_m.copy()
    rest = skeleton.rest(person.betas[None])
    every = np.repeat(rest, len(person), axis=0)
    _, soles = skeleton.place(pose, every, root)
    _, free = skeleton.place(free_pose, every, root)
    off_m = stands.places_m - soles
    up, height_m = (np.zeros(3), np.array(np.nan)) if plane is None else (plane.up, np.array(plane.height_m))
    correction, left = released(person.time_s, soles.astype(np.float64), off_m, stands.hold * in_reach(off_m))
    for begin in range(0, len(person), ROWS_AT_A_TIME):
        rows = slice(begin, begin + ROWS_AT_A_TIME)
        count = len(pose[rows])
        some = np.repeat(rest, count, axis=0)
        places, precision = held_soles(soles[rows], correction[rows], left[rows], up, height_m, free[rows])
        turn = turns[rows]
        back = turn.swapaxes(1, 2)
        held = Held(SOLE_CARRIER, skeleton.offsets, (back[:, None] @ places[..., None])[..., 0], precision)
        pose[rows, 0] = back @ pose[rows, 0]
        at = (back @ root[rows, :, None])[..., 0]
        pose[rows], transl = repose(pose[rows], some, at, targets_px[rows], intrinsics, held)
        pose[rows, 0] = turn @ pose[rows, 0]
        root[rows] = (turn @ (transl + rest[:, 0])[..., None])[..., 0]
    return PersonSeries.of(skeleton, person.time_s, pose, person.betas, root, person.seen, person.sure)


def upright_directions(person: PersonSeries) -> tuple[F32, NDArray[np.bool_]]:
    """(F,3) unit vectors from the ankles to the neck, camera frame, and (F,) whether legs and trunk are in one line, so
    that the person probably stands upright."""
    ankles = (person.joints_m[:, 7] + person.joints_m[:, 8]) / 2
    trunk = person.joints_m[:, 12] - person.root_m
    legs = person.root_m - ankles
    length = np.linalg.norm(trunk, axis=1) * np.linalg.norm(legs, axis=1)
    straight = (trunk * legs).sum(axis=1) > 0.95 * np.maximum(length, 1e-6)
    whole = trunk + legs
    size = np.maximum(np.linalg.norm(whole, axis=1, keepdims=True), 1e-6)
    return (whole / size).astype(np.float32), straight
