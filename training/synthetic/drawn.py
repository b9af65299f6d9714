"""What the atlas renderer draws: dressed people and things as one kind of mesh, its vertices tied to joints."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bodycast.hmr.body.body_model import BodyModel
from training.synthetic.garments.wardrobe import Cut, Layer, Material, Outfit, SkinLook
from training.synthetic.limb_coordinates import LimbCoordinates

if TYPE_CHECKING:
    from training.synthetic.avatars.avatar_file import Avatar
    from training.synthetic.garments.wardrobe import Wardrobe

F32 = NDArray[np.float32]
MAX_LAYERS = 10
ROWS_PER_LAYER = 7
VERTEX = np.dtype(
    [
        ("position", "f4", 3), ("normal", "f4", 3), ("canonical", "f4", 3), ("limb", "f4", 3), ("uv", "f4", 2),
        ("joint", "u1", 4), ("weight", "u1", 4), ("tag", "u1", 4),
    ]
)  # fmt: skip
VERTEX_FORMAT = "3f4 3f4 3f4 3f4 2f4 4u1 4f1 4u1"
VERTEX_NAMES = ("in_position", "in_normal", "in_canonical", "in_limb", "in_uv", "in_joint", "in_weight", "in_tag")


class Kind(IntEnum):
    """How a layer is coloured: see `shade` in atlas_shaders."""

    SKIN = 0  # a program of its own: the body's own layer, always the first
    CLOTH = 1
    PICTURE = 2
    SHADOW = 3  # shows nothing but the shadow that falls on it
    THING = 4  # like cloth, without wrinkles


@dataclass(frozen=True)
class Mesh:
    """A mesh at rest, ready for the GPU.

    vertices (V,) of VERTEX: `tag` holds part (joint + 1 of a body's skin, 0 of things) and layer. faces (F, 3) int32 to
    be seen, the first `skin_faces` of them skin; body_faces (G, 3) int32: the bare body alone, for the part map (a
    thing's are its faces). look (MAX_LAYERS * 7, 4) float32, see `layer_rows`. The first `shadowless` faces throw no
    shadow. `textured`: an avatar, all skin, coloured by rows of the renderer's pool `avatars`: its materials' textures.
    """

    vertices: NDArray[np.void]
    faces: NDArray[np.int32]
    skin_faces: int
    body_faces: NDArray[np.int32]
    look: F32
    shadowless: int = 0
    textured: bool = False


def layer_rows(kind: Kind, material: Material, cut: Cut | None = None, depth_bias_m: float = 0.0) -> F32:
    """(7, 4): one layer's numbers in the order that the shader reads them."""
    cut = cut or Cut()
    return np.array(
        [
            [*material.colours[0], material.texture],
            [*material.colours[1], material.scale],
            [*material.colours[2], material.angle_rad],
            [*material.shift, material.gloss, int(kind)],
            [cut.arm, cut.leg, cut.leg_from, cut.head],
            [cut.v_neck, material.print_index, 1.0 if material.print_front else 0.0, depth_bias_m],
            material.print_box,
        ],
        np.float32,
    )


def skin_rows(skin: SkinLook) -> F32:
    """(7, 4) of bare skin: the tone, and the painted head as its texture."""
    tone = np.tile(np.asarray(skin.tone, np.float32), (3, 1))
    return layer_rows(Kind.SKIN, Material(texture=skin.head, colours=tone, gloss=skin.gloss))


@dataclass(frozen=True)
class BareBody:
    """What is the same for every person of one body model: four joints a vertex, and normals at mean shape."""

    model: BodyModel
    limbs: LimbCoordinates
    vertices: NDArray[np.void]

    @staticmethod
    def of(model: BodyModel, limbs: LimbCoordinates) -> BareBody:
        """Prepare `model`."""
        rest = model.rest_vertices(np.zeros((1, 10), np.float32))[0]
        weights = np.asarray(model.weights)
        joint = np.argsort(-weights, axis=1)[:, :4]
        vertices = np.zeros(len(rest), VERTEX)
        vertices["normal"] = vertex_normals(rest, np.asarray(model.faces))
        vertices["canonical"] = limbs.canonical
        vertices["limb"] = np.column_stack([limbs.arm, limbs.leg, limbs.head])
        vertices["joint"] = joint
        vertices["weight"] = quantised(np.take_along_axis(weights, joint, 1))
        vertices["tag"][:, 0] = limbs.part + 1
        return BareBody(model, limbs, vertices)


def quantised(weights: F32) -> NDArray[np.uint8]:
    """(V, 4) weights as bytes; the shader divides by their sum."""
    return np.round(weights / weights.sum(1, keepdims=True) * 255).astype(np.uint8)


def joined_normals(vertices: F32, faces: NDArray[np.int32]) -> F32:
    """(V, 3) unit normals that vertices at one place share."""
    _, first, same = np.unique(vertices, axis=0, return_index=True, return_inverse=True)
    same = same.reshape(-1)
    return vertex_normals(vertices[first], same[faces].astype(np.int32))[same]


def vertex_normals(vertices: F32, faces: NDArray[np.int32]) -> F32:
    """(V, 3) unit normals, weighted by area."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    flat = np.cross(b - a, c - a)
    out = np.stack(
        [np.bincount(faces.ravel(), weights=np.repeat(flat[:, axis], 3), minlength=len(vertices)) for axis in range(3)],
        axis=1,
    )
    return (out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-12)).astype(np.float32)


def person_mesh(body: BareBody, betas: F32, outfit: Outfit, wardrobe: Wardrobe) -> Mesh:
    """Body and clothes of one person, shaped by betas (10,), as one mesh."""
    if len(outfit.layers) >= MAX_LAYERS:
        raise ValueError(f"an outfit holds at most {MAX_LAYERS - 1} layers, got {len(outfit.layers)}")
    skin = body.vertices.copy()
    skin["position"] = body.model.rest_vertices(betas[None])[0]
    body_faces = np.asarray(body.model.faces, np.int32)
    vertices, faces = [skin], [body_faces[~outfit.hidden_faces]]
    look = np.zeros((MAX_LAYERS * ROWS_PER_LAYER, 4), np.float32)
    look[:ROWS_PER_LAYER] = skin_rows(outfit.skin)
    start = len(skin)
    for number, layer in enumerate(outfit.layers, 1):
        worn = _worn(layer, betas, wardrobe, number)
        vertices.append(worn)
        faces.append(layer.faces + start)
        start += len(worn)
        kind = Kind.PICTURE if layer.material.picture else Kind.CLOTH
        rows = layer_rows(kind, layer.material, layer.cut, layer.depth_bias_m)
        look[number * ROWS_PER_LAYER : (number + 1) * ROWS_PER_LAYER] = rows
    # Skin first, as `skin_faces` says; then what is worn, from the outside in, so that it hides what comes after.
    ordered = np.concatenate([faces[0], *reversed(faces[1:])])
    return Mesh(np.concatenate(vertices), ordered, len(faces[0]), body_faces, look)


def avatar_mesh(avatar: Avatar, rows: list[int]) -> Mesh:
    """A rigged person as one mesh; rows: those of the renderer's pool `avatars` that hold their pictures."""
    vertices = np.zeros(len(avatar.vertices), VERTEX)
    vertices["position"] = vertices["canonical"] = avatar.vertices
    vertices["normal"] = joined_normals(avatar.vertices, avatar.faces)
    vertices["uv"] = avatar.uv
    vertices["joint"], vertices["weight"] = avatar.joint, avatar.weight
    vertices["tag"][:, 0] = np.take_along_axis(avatar.joint, avatar.weight.argmax(1)[:, None], 1)[:, 0] + 1
    vertices["tag"][:, 1] = avatar.picture
    look = np.zeros((MAX_LAYERS * ROWS_PER_LAYER, 4), np.float32)
    for number, row in enumerate(rows):
        material = Material(texture=row, colours=np.ones((3, 3), np.float32))
        look[number * ROWS_PER_LAYER : (number + 1) * ROWS_PER_LAYER] = layer_rows(Kind.PICTURE, material)
    return Mesh(vertices, avatar.faces, len(avatar.faces), avatar.faces, look, textured=True)


def _worn(layer: Layer, betas: F32, wardrobe: Wardrobe, number: int) -> NDArray[np.void]:
    garment = wardrobe.garments[layer.garment]
    out = np.zeros(len(garment.template), VERTEX)
    out["position"] = layer.rest_vertices(garment, betas)
    out["normal"] = garment.normals
    out["canonical"] = garment.template
    out["limb"] = garment.limbs
    out["uv"] = garment.uv
    out["joint"] = garment.joint_index
    out["weight"] = quantised(garment.joint_weight)
    out["tag"][:, 1] = number
    return out
