"""The people who act in a few chunks of crops: bodies, outfits, meshes, made once because that is what costs most."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bodycast.hmr.body.body_model import BodyModel
from training.synthetic.atlas_renderer import AtlasRenderer, UploadedMesh
from training.synthetic.avatars.avatar_file import Avatar
from training.synthetic.drawn import BareBody, avatar_mesh, person_mesh
from training.synthetic.garments.wardrobe import Wardrobe

F32 = NDArray[np.float32]
Rng = np.random.Generator
SKIN_POINTS = 900


@dataclass(frozen=True)
class Member:
    """One person: betas (10,), rest joints (24, 3), rest places (K, 3) of some skin points, and the dressed mesh."""

    betas: F32
    joints_rest: F32
    points_rest: F32
    mesh: UploadedMesh


@dataclass(frozen=True)
class SkinPoints:
    """Vertices that stand for a whole skin when boxes are measured. index (K,); weights (K, 24)."""

    index: NDArray[np.intp]
    weights: F32

    @staticmethod
    def of(body: BodyModel) -> SkinPoints:
        """Every n-th vertex, and those farthest out in many directions."""
        rest = body.rest_vertices(np.zeros((1, 10), np.float32))[0]
        directions = np.random.default_rng(0).normal(0, 1, (200, 3))
        extremes = (rest @ directions.T).argmax(0)
        index = np.union1d(np.arange(0, len(rest), max(1, len(rest) // SKIN_POINTS)), extremes)
        return SkinPoints(index, np.ascontiguousarray(np.asarray(body.weights)[index]))

    def posed(self, rest: F32, turns: F32, shifts: F32) -> F32:
        """(K, 3) skin points resting at (K, 3), moved by the joints' rotations (24, 3, 3) and shifts (24, 3)."""
        blended = self.weights @ np.concatenate([turns.reshape(24, 9), shifts], axis=1)
        return np.einsum("kij,kj->ki", blended[:, :9].reshape(-1, 3, 3), rest) + blended[:, 9:]


def sample_betas(rng: Rng) -> F32:
    """(10,) a body shape: standard normal, cut at 2.5."""
    return rng.normal(0, 1, 10).clip(-2.5, 2.5).astype(np.float32)


def make_cast(
    rng: Rng, count: int, body: BareBody, points: SkinPoints, wardrobe: Wardrobe, renderer: AtlasRenderer
) -> list[Member]:
    """Draw and upload `count` people."""
    cast = []
    for _ in range(count):
        betas = sample_betas(rng)
        mesh = person_mesh(body, betas, wardrobe.draw(rng), wardrobe)
        rest = body.model.rest_vertices(betas[None])[0]
        cast.append(Member(betas, body.model.joints(betas[None])[0], rest[points.index], renderer.upload(mesh)))
    return cast


def cast_avatars(
    rng: Rng, count: int, avatars: tuple[Avatar, ...], body: BareBody, points: SkinPoints, renderer: AtlasRenderer
) -> list[Member]:
    """Upload `count` rigged people, different ones as far as there are, and the pool of their pictures."""
    order = np.concatenate([rng.permutation(len(avatars)) for _ in range(-(-count // len(avatars)))])[:count]
    chosen = [avatars[i] for i in order]
    pictures = [avatar.pictures() for avatar in chosen]
    renderer.set_textures("avatars", np.concatenate([np.stack(own) for own in pictures]))
    cast, row = [], 0
    for avatar, own in zip(chosen, pictures, strict=True):
        mesh = avatar_mesh(avatar, list(range(row, row + len(own))))
        row += len(own)
        rest = body.model.rest_vertices(avatar.betas[None])[0]
        joints = body.model.joints(avatar.betas[None])[0]
        cast.append(Member(avatar.betas, joints, rest[points.index], renderer.upload(mesh)))
    return cast
