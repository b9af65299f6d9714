"""A rigged person from a glTF file, in metres, its skeleton reduced to SMPL's 24 joints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bodycast.hmr.body.joints import NUM_JOINTS, Joint
from training.synthetic.avatars.glb import Glb, GlbError

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
HIDDEN_MESHES = ("Teeth", "gland")  # inside mouth and eyelids: many triangles that no crop shows
_SIDED = {
    "UpLeg": "HIP", "Leg": "KNEE", "Foot": "ANKLE", "ToeBase": "FOOT", "Shoulder": "COLLAR", "Arm": "SHOULDER",
    "ForeArm": "ELBOW", "Hand": "WRIST", "FingerBase": "HAND",
}  # fmt: skip
JOINT_OF_NODE = {
    "Hips": Joint.PELVIS, "Spine": Joint.SPINE1, "Spine1": Joint.SPINE2, "Spine2": Joint.SPINE3, "Neck": Joint.NECK,
    "Head": Joint.HEAD,
    **{f"{s}{node}": Joint[f"{s.upper()}_{joint}"] for s in ("Left", "Right") for node, joint in _SIDED.items()},
}  # fmt: skip
"""Names of nodes (VALID's, Mixamo's) -> the joint; every other node belongs to its nearest ancestor that is named."""


@dataclass(frozen=True)
class Rigged:
    """A person at rest (T-pose, y up, facing +z), metres.

    vertices (V, 3); uv (V, 2), v down; joint (V, 4) uint8 and weight (V, 4), sum 1; picture (V,) uint8: row of
    `pictures`, each (h, w, 3) RGB; faces (F, 3) int32; joints (24, 3) places of the nodes.
    """

    vertices: F32
    uv: F32
    joint: U8
    weight: F32
    picture: U8
    faces: NDArray[np.int32]
    joints: F32
    pictures: tuple[U8, ...]


def read_rigged(path: Path) -> Rigged:
    """Read a person. Raises GlbError, MeshoptError, and OSError where the file cannot be read."""
    glb = Glb(path)
    worlds, owner = glb.worlds(), _owners(glb)
    joints = np.zeros((NUM_JOINTS, 3), np.float32)
    for node, entry in enumerate(glb.json["nodes"]):
        if entry.get("name") in JOINT_OF_NODE:
            joints[JOINT_OF_NODE[entry["name"]]] = worlds[node][:3, 3]
    pieces: list[tuple[Any, ...]] = []
    textures: list[int] = []
    start = 0
    for node in glb.json["nodes"]:
        if "mesh" not in node or "skin" not in node:
            continue
        mesh, skin = glb.json["meshes"][node["mesh"]], glb.json["skins"][node["skin"]]
        if any(word in mesh.get("name", "") for word in HIDDEN_MESHES):
            continue
        for primitive in mesh["primitives"]:
            piece = _piece(glb, primitive, skin, worlds, owner)
            texture = _texture(glb, primitive)
            if texture not in textures:
                textures.append(texture)
            count = len(piece[0])
            faces = glb.accessor(primitive["indices"]).astype(np.int32).reshape(-1, 3) + start
            pieces.append((*piece, np.full(count, textures.index(texture), np.uint8), faces))
            start += count
    if not pieces:
        raise GlbError(f"{path}: no skinned mesh")
    columns = [np.concatenate(column) for column in zip(*pieces, strict=True)]
    return Rigged(*columns, joints, tuple(glb.picture(texture) for texture in textures))


def _owners(glb: Glb) -> dict[int, int]:
    """The joint that each node of the skeleton belongs to. Raises GlbError where the skeleton lacks one."""
    names = [node.get("name", "") for node in glb.json["nodes"]]
    missing = sorted(set(JOINT_OF_NODE) - set(names))
    if missing:
        raise GlbError(f"{glb.path}: the skeleton has no {missing[0]} ({len(missing)} of its joints are missing)")
    parents, out = glb.parents(), {}
    for node in range(len(names)):
        at: int | None = node
        while at is not None and names[at] not in JOINT_OF_NODE:
            at = parents.get(at)
        out[node] = int(JOINT_OF_NODE[names[at]]) if at is not None else 0
    return out


def _texture(glb: Glb, primitive: dict[str, Any]) -> int:
    try:
        material = glb.json["materials"][primitive["material"]]
        return material["pbrMetallicRoughness"]["baseColorTexture"]["index"]
    except KeyError:
        raise GlbError(f"{glb.path}: a mesh has no colour texture") from None


def _piece(
    glb: Glb, primitive: dict[str, Any], skin: dict[str, Any], worlds: NDArray[np.float64], owner: dict[int, int]
) -> tuple[F32, F32, U8, F32]:
    """Vertices in the scene, uv, joint and weight of a primitive."""
    attributes: dict[str, int] = primitive["attributes"]
    place, uv, joint, weight = (
        glb.accessor(attributes[name]) for name in ("POSITION", "TEXCOORD_0", "JOINTS_0", "WEIGHTS_0")
    )
    inverse = glb.accessor(skin["inverseBindMatrices"]).reshape(-1, 4, 4).swapaxes(1, 2).astype(np.float64)
    nodes: Sequence[int] = skin["joints"]
    motion = worlds[list(nodes)] @ inverse
    weight = weight / np.maximum(weight.sum(1, keepdims=True), 1e-6)
    blended = np.einsum("vk,vkij->vij", weight, motion[joint])
    vertices = (blended[:, :3, :3] @ place[..., None])[..., 0] + blended[:, :3, 3]
    owners = np.array([owner[node] for node in nodes])
    dense = np.zeros((len(place), NUM_JOINTS))
    for column in range(joint.shape[1]):
        np.add.at(dense, (np.arange(len(place)), owners[joint[:, column]]), weight[:, column])
    top = np.argsort(-dense, axis=1, kind="stable")[:, :4]
    merged = np.take_along_axis(dense, top, 1)
    return (
        vertices.astype(np.float32), np.asarray(uv, np.float32), top.astype(np.uint8),
        (merged / merged.sum(1, keepdims=True)).astype(np.float32),
    )  # fmt: skip
