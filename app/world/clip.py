"""Floor, contacts and trajectories of everybody in a whole clip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bodycast.app.records import F32, F64
from bodycast.app.world.contacts import contacts_of
from bodycast.app.world.floor_fit import FloorFit, FloorKnown, FloorSamples, fit_floor
from bodycast.app.world.person_series import NEAREST_M, PersonSeries
from bodycast.app.world.placing import upright_directions
from bodycast.app.world.standing import BEGINS, CORRELATED_S, Plane, Planes, step_s
from bodycast.hmr.geometry.ground import Floor

FIRST_UP: F64 = np.array([0.0, -1.0, 0.0])
MOST_SAMPLES = 400
"""Of each person, spread over time."""


@dataclass(frozen=True)
class ClipPlacement:
    """`fit`, and `contacts`: (F,4) of each series."""

    fit: FloorFit
    contacts: list[F32]

    @property
    def ground(self) -> Plane | None:
        """The floor."""
        return ground_of(self.fit.floor)

    def planes_of(self, person: int) -> Planes:
        """What a person may stand on."""
        return planes_of(self.fit.floor, float(self.fit.level_m[person]))


def ground_of(floor: Floor | None) -> Plane | None:
    """The floor as a plane."""
    return None if floor is None else Plane(floor.up, floor.height_m)


def planes_of(floor: Floor | None, level_m: float) -> Planes:
    """The level of somebody's own, where that is not the floor, and the floor. level_m NaN: neither."""
    if floor is None or not np.isfinite(level_m):
        return ()
    ground = Plane(floor.up, floor.height_m)
    return (ground,) if level_m == 0 else (Plane(floor.up, floor.height_m - level_m), ground)


def samples_of(
    series: Sequence[PersonSeries], contacts: Sequence[F32], owner: Sequence[int], size_spread: Sequence[float]
) -> FloorSamples:
    """The feet that stand, for the floor's fit. owner: number 0..K-1 of each series' person; size_spread (K,): see
    FloorSamples."""
    rays: list[F64] = []
    depth: list[F64] = []
    index: list[NDArray[np.intp]] = []
    weight: list[F64] = []
    people = len(size_spread)
    upright, upright_weight = np.zeros((people, 3)), np.zeros(people)
    for number, person, contact in zip(owner, series, contacts, strict=True):
        share = min(step_s(person.time_s) / CORRELATED_S, 1.0)
        stands = (contact > BEGINS) & (person.soles_m[..., 2] > NEAREST_M)
        rows = np.flatnonzero(stands.any(axis=1))
        thinned = rows[:: max(1, len(rows) // MOST_SAMPLES)]
        soles = person.soles_m[thinned].astype(np.float64)
        counted = (contact[thinned] * stands[thinned]).astype(np.float64)
        place = (soles * counted[..., None]).sum(axis=1) / np.maximum(counted.sum(axis=1), 1e-9)[:, None]
        rays.append((place / np.maximum(place[:, 2:], NEAREST_M)).astype(np.float64))
        depth.append(np.maximum(place[:, 2], NEAREST_M).astype(np.float64))
        index.append(np.full(len(thinned), number, np.intp))
        weight.append(counted.max(axis=1, initial=0) * share * (len(rows) / max(len(thinned), 1)))
        vectors, straight = upright_directions(person)
        counts = straight & (contact.max(axis=1) > BEGINS)
        upright[number] += vectors[counts].sum(axis=0) * share
        upright_weight[number] += float(counts.sum()) * share
    # One person's uprightness is one opinion, however long they stand.
    length = np.linalg.norm(upright, axis=1, keepdims=True)
    upright_weight = np.minimum(upright_weight, 1.0)
    upright = np.where(length > 0, upright / np.maximum(length, 1e-9), 0.0) * upright_weight[:, None]
    return FloorSamples(
        np.concatenate(rays) if rays else np.zeros((0, 3)),
        np.concatenate(depth) if depth else np.zeros(0),
        np.concatenate(index) if index else np.zeros(0, np.intp),
        np.concatenate(weight) if weight else np.zeros(0),
        upright,
        upright_weight,
        np.asarray(size_spread, np.float64),
    )


def judge_clip(
    series: Sequence[PersonSeries], owner: Sequence[int], size_spread: Sequence[float], known: FloorKnown
) -> ClipPlacement:
    """Floor and contacts of a clip's people. Contacts are judged twice: under a level camera, then under the floor."""
    contacts = [contacts_of(person, FIRST_UP) for person in series]
    fit = fit_floor(samples_of(series, contacts, owner, size_spread), known)
    if fit.floor is not None:
        up = fit.floor.up
        contacts = [contacts_of(person, up) for person in series]
        fit = fit_floor(samples_of(series, contacts, owner, size_spread), known)
    return ClipPlacement(fit, contacts)
