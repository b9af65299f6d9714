"""Interpolation of a smoother's outputs, for frames at times that it gave none for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bodycast.app.records import BodyEstimates
from bodycast.hmr.geometry.rotations import interpolate_rotations


def interpolate_bodies(earlier: BodyEstimates, later: BodyEstimates, share: float) -> BodyEstimates:
    """`later`'s rows as they were when `share` (0..1) of the time from `earlier` to it had passed: joints turned at a
    constant speed, shape and root translation in a straight line. Who is not in `earlier` is as in `later`."""
    if share >= 1:
        return later
    row_of = {person: row for row, person in enumerate(earlier.id.tolist())}
    known = np.array([person in row_of for person in later.id.tolist()], np.bool_)
    if not known.any():
        return later
    source = [row_of[person] for person in later.id[known].tolist()]
    pose, betas, transl_m = later.pose.copy(), later.betas.copy(), later.transl_m.copy()
    pose[known] = interpolate_rotations(earlier.pose[source], pose[known], share)
    for after, before in ((betas, earlier.betas), (transl_m, earlier.transl_m)):
        after[known] = before[source] + np.float32(share) * (after[known] - before[source])
    return replace(later, pose=pose, betas=betas, transl_m=transl_m)
