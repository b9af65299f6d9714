"""A rigged person made to rest like the body model, and the shape of the body that lies in them.

Betas come from least squares: lengths of the limbs' bones, width of the shoulders, length of the trunk, soles, and the
skin's distance to the person's surface (iterated closest points, Besl and McKay, PAMI 1992), with the shapes' own
prior. Then each limb is turned, stretched and moved onto the body's: the person's skeleton is the body's, so that the
label is exact, and what the betas cannot say is a change of their looks by some per cent. Moving and fitting alternate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from bodycast.hmr.body.body_model import BodyModel
from bodycast.hmr.body.joints import NUM_BETAS, NUM_JOINTS, PARENTS, Joint
from training.synthetic.avatars.rig import Rigged

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
# A joint and the one its bone ends in. Trunk, neck, head and feet keep their directions: their joints are conventions.
TRUNK = (0, 3, 6, 9, 12, 13, 14)
BONES = {1: 4, 2: 5, 4: 7, 5: 8, 13: 16, 14: 17, 16: 18, 17: 19, 18: 20, 19: 21, 20: 22, 21: 23}
LIMBS = {1: 4, 2: 5, 4: 7, 5: 8, 16: 18, 17: 19, 18: 20, 19: 21}
SNAPPED = (1, 2, 4, 5, 7, 8, 16, 17, 18, 19, 20, 21)
ROUNDS = 5
_BONE_M, _SPAN_M, _SOLE_M, _SURFACE_M = 0.01, 0.02, 0.02, 0.03  # one standard deviation of a good fit
_SURFACE_POINTS, _SURFACE_WORTH, _REACH_M = 1500, 120, 0.06
MAX_BETA = 3.0


@dataclass(frozen=True)
class FittedRig:
    """vertices (V, 3) at the body's rest, pelvis at the origin, metres; betas (10,), whose body has the same joints.

    bone_error_m (8,): the person's limb bones (LIMBS), their own length less the body's; moved_m: the farthest that a
    shoulder, hip or (upwards) the head was moved; surface_error_m: median distance of the body's skin to the person.
    """

    vertices: F32
    betas: F32
    bone_error_m: F64
    moved_m: float
    surface_error_m: float


def fit_body(rigged: Rigged, body: BodyModel) -> FittedRig:
    """Let a person rest like `body`, and find the betas (10,) of the body in them."""
    solver = _Solver(body)
    own = rigged.joints.astype(np.float64)
    betas, shift, target = np.zeros(NUM_BETAS), np.zeros(3), solver.joints(np.zeros(NUM_BETAS))
    # The trunk is laid on the body's by its hips at first, then by its surface.
    shift = own[[1, 2]].mean(0) - target[[1, 2]].mean(0)
    for _ in range(ROUNDS):
        vertices = _moved(rigged, target + shift)
        betas, shift = solver.solve(betas, shift, own, vertices)
        target = solver.joints(betas)
    vertices = _moved(rigged, target + shift) - shift
    lengths = [np.linalg.norm(places[list(LIMBS.values())] - places[list(LIMBS)], axis=1) for places in (own, target)]
    roots = [1, 2, 16, 17]
    after = target + shift
    gap = np.append(np.linalg.norm(own[roots] - after[roots], axis=1), abs(own[15, 1] - after[15, 1]))
    return FittedRig(
        (vertices - target[0]).astype(np.float32), betas.astype(np.float32), lengths[0] - lengths[1],
        float(gap.max()),
        float(np.median(cKDTree(vertices).query(solver.skin(betas))[0])),
    )  # fmt: skip


def _moved(rigged: Rigged, target: F64) -> F64:
    """Vertices (V, 3) once the limbs lie on the joints `target` (24, 3)."""
    rest = rigged.joints.astype(np.float64)
    turns, places = np.tile(np.eye(3), (NUM_JOINTS, 1, 1)), rest.copy()
    hips, ends = rest[[1, 2]].mean(0), (rest[Joint.HEAD, 1], target[Joint.HEAD, 1])
    # The trunk is stretched upwards from the hips until the head is as high as the body's; it moves nowhere else.
    upward = np.diag([1, (ends[1] - target[[1, 2], 1].mean()) / (ends[0] - hips[1]), 1])
    turns[list(TRUNK)] = upward
    places[0] = [rest[0, 0], target[[1, 2], 1].mean() + (upward @ (rest[0] - hips))[1], rest[0, 2]]
    for joint in range(1, NUM_JOINTS):
        parent = int(PARENTS[joint])
        places[joint] = places[parent] + turns[parent] @ (rest[joint] - rest[parent])
        if joint in SNAPPED:
            places[joint] = target[joint]
        if joint in BONES:
            end = target[BONES[joint]]
            start = places[joint] if BONES[joint] in SNAPPED else target[joint]
            turns[joint] = _between(rest[BONES[joint]] - rest[joint], end - start, stretch=BONES[joint] in SNAPPED)
    shifts = places - (turns @ rest[..., None])[..., 0]
    vertices = np.zeros((len(rigged.vertices), 3))
    for column in range(rigged.joint.shape[1]):
        joint, weight = rigged.joint[:, column], rigged.weight[:, column, None]
        vertices += weight * ((turns[joint] @ rigged.vertices[..., None])[..., 0] + shifts[joint])
    return vertices


def _between(start: F64, end: F64, *, stretch: bool) -> F64:
    """(3, 3) the smallest rotation that turns bone `start` to `end`, after a stretch along the bone to its length."""
    a, b = start / np.linalg.norm(start), end / np.linalg.norm(end)
    axis, cosine = np.cross(a, b), float(a @ b)
    x, y, z = axis
    skew = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    turn = np.eye(3) + skew + skew @ skew / max(1 + cosine, 1e-6)
    longer = np.linalg.norm(end) / np.linalg.norm(start) if stretch else 1.0
    return turn @ (np.eye(3) + (longer - 1) * np.outer(a, a))


def _span(**weights: float) -> F64:
    out = np.zeros(NUM_JOINTS)
    for name, weight in weights.items():
        out[Joint[name]] = weight
    return out


_SHOULDERS = _span(LEFT_SHOULDER=1, RIGHT_SHOULDER=-1)
_TRUNK = _span(LEFT_SHOULDER=0.5, RIGHT_SHOULDER=0.5, LEFT_HIP=-0.5, RIGHT_HIP=-0.5)
_HEAD = _span(HEAD=1, LEFT_HIP=-0.5, RIGHT_HIP=-0.5)
_SPANS = ((_SHOULDERS, 0), (_TRUNK, 1), (_HEAD, 1))  # and the axis along which the joints' weighted sum counts


class _Solver:
    """Linear least squares for betas and a shift."""

    def __init__(self, body: BodyModel) -> None:
        zero, units = np.zeros((1, NUM_BETAS), np.float32), np.eye(NUM_BETAS, dtype=np.float32)
        self._joints = body.joints(zero)[0].astype(np.float64)
        self._joint_dirs = np.moveaxis(body.joints(units) - body.joints(zero), 0, -1).astype(np.float64)
        rest = body.rest_vertices(zero)[0].astype(np.float64)
        dirs = np.moveaxis(body.rest_vertices(units) - rest.astype(np.float32), 0, -1).astype(np.float64)
        part = np.asarray(body.weights).argmax(1)
        self._sole = int(rest[:, 1].argmin())
        # Hair hides the head, and hands are held otherwise.
        use = np.flatnonzero(~np.isin(part, [Joint.HEAD, Joint.LEFT_HAND, Joint.RIGHT_HAND]))
        use = use[:: max(1, len(use) // _SURFACE_POINTS)]
        self._skin, self._skin_dirs = rest[use], dirs[use]
        self._sole_place, self._sole_dirs = rest[self._sole], dirs[self._sole]

    def joints(self, betas: F64) -> F64:
        """(24, 3) the body's."""
        return self._joints + self._joint_dirs @ betas

    def skin(self, betas: F64) -> F64:
        """(K, 3) points of the body's skin."""
        return self._skin + self._skin_dirs @ betas

    def solve(self, betas: F64, shift: F64, own: F64, vertices: F64) -> tuple[F64, F64]:
        """Better betas (10,), and the shift (3,) from body to person; own (24, 3): the person's joints."""
        rows, right = [np.hstack([np.eye(NUM_BETAS), np.zeros((NUM_BETAS, 3))])], [np.zeros(NUM_BETAS)]

        def ask(dirs: F64, gap: F64, sigma: float, *, placed: bool) -> None:
            rows.append(np.hstack([dirs, np.eye(3) * placed]) / sigma)
            right.append(gap / sigma)

        current = self.joints(betas)
        for start, end in LIMBS.items():
            bone = current[end] - current[start]
            length = np.linalg.norm(own[end] - own[start]) / np.linalg.norm(bone)
            gap = bone * length - (self._joints[end] - self._joints[start])
            ask(self._joint_dirs[end] - self._joint_dirs[start], gap, _BONE_M, placed=False)
        for weights, axis in _SPANS:
            dirs, gap = np.tensordot(weights, self._joint_dirs, 1), weights @ (own - self._joints)
            rows.append(np.append(dirs[axis], np.zeros(3))[None] / _SPAN_M)
            right.append(gap[axis : axis + 1] / _SPAN_M)
        rows.append(np.append(self._sole_dirs[1], [0, 1, 0])[None] / _SOLE_M)
        right.append(np.array([vertices[:, 1].min() - self._sole_place[1]]) / _SOLE_M)
        distance, nearest = cKDTree(vertices).query(self.skin(betas) + shift)
        close = np.flatnonzero(distance < _REACH_M)
        sigma = _SURFACE_M * np.sqrt(max(len(close), 1) / _SURFACE_WORTH)
        for point in close:
            ask(self._skin_dirs[point], vertices[nearest[point]] - self._skin[point], sigma, placed=True)
        found = np.linalg.lstsq(np.vstack(rows), np.concatenate(right), rcond=None)[0]
        return found[:NUM_BETAS].clip(-MAX_BETA, MAX_BETA), found[NUM_BETAS:]
