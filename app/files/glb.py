"""glTF 2.0 binary (.glb): a skinned mesh, its skeleton and an animation per person, with the true time stamps.

Written by hand from the glTF 2.0 specification (Khronos): sections 3.6 (accessors), 3.7.3 (skins), 3.11 (animations)
and 4.4 (binary container). glTF's frame is ours: y up, right-handed, metres. Pose-dependent corrections of the surface
(SMPL's posedirs) have no place in a skin and are left out.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bodycast.app.files.person_motion import PersonMotion
from bodycast.hmr.body.body_model import BodyModel
from bodycast.hmr.body.joints import JOINT_NAMES, NUM_JOINTS, PARENTS
from bodycast.hmr.geometry.rotations import matrix_to_quaternion

Floats = NDArray[np.float64]
Json = dict[str, object]

_MAGIC, _VERSION, _JSON_CHUNK, _BINARY_CHUNK = 0x46546C67, 2, 0x4E4F534A, 0x004E4942
_COMPONENT_TYPES = {"uint8": 5121, "uint16": 5123, "uint32": 5125, "float32": 5126}
_ELEMENT_TYPES = {(): "SCALAR", (2,): "VEC2", (3,): "VEC3", (4,): "VEC4", (4, 4): "MAT4"}
_VERTEX_DATA, _INDEX_DATA = 34962, 34963

INFLUENCES = 4
"""Joints that move one vertex: what glTF viewers are bound to support."""

COLOURS = ((0.65, 0.74, 0.86), (0.87, 0.62, 0.49), (0.62, 0.80, 0.60), (0.83, 0.70, 0.87), (0.88, 0.82, 0.55))


FLOOR_M = 5.0
"""Half the side of the floor."""

ABSENT_S = 0.5
"""Somebody who was not seen for longer is not shown in between."""


class Asset:
    """The growing document: every list of the glTF JSON, and the one binary buffer."""

    def __init__(self) -> None:
        self.lists: dict[str, list[Json]] = {}
        self.binary = bytearray()

    def add(self, kind: str, **entry: object) -> int:
        """Append an entry to the list `kind`; returns its index."""
        entries = self.lists.setdefault(kind, [])
        entries.append(entry)
        return len(entries) - 1

    def add_array(self, array: NDArray[np.generic], target: int | None = None, bounds: bool = False) -> int:
        """Store (N, ...) numbers; returns the accessor's index."""
        self.binary += b"\0" * (-len(self.binary) % 4)
        view: Json = {"buffer": 0, "byteOffset": len(self.binary), "byteLength": array.nbytes}
        if target is not None:
            view["target"] = target
        self.binary += np.ascontiguousarray(array).tobytes()
        accessor: Json = {
            "bufferView": self.add("bufferViews", **view),
            "componentType": _COMPONENT_TYPES[array.dtype.name],
            "count": len(array),
            "type": _ELEMENT_TYPES[array.shape[1:]],
        }
        if bounds:
            rows = array.reshape(len(array), -1).astype(np.float32)
            accessor["min"], accessor["max"] = rows.min(axis=0).tolist(), rows.max(axis=0).tolist()
        return self.add("accessors", **accessor)

    def add_image(self, content: bytes, mime: str) -> int:
        """Store an encoded picture; returns the image's index."""
        self.binary += b"\0" * (-len(self.binary) % 4)
        view = self.add("bufferViews", buffer=0, byteOffset=len(self.binary), byteLength=len(content))
        self.binary += content
        return self.add("images", bufferView=view, mimeType=mime)

    def encode(self, extensions: Json | None = None) -> bytes:
        """The .glb file: header, JSON chunk, binary chunk, each padded to four bytes."""
        self.binary += b"\0" * (-len(self.binary) % 4)
        document: Json = {
            "asset": {"version": "2.0", "generator": "Bodycast"},
            "scene": 0,
            **({"extensions": extensions, "extensionsUsed": sorted(extensions)} if extensions else {}),
            **self.lists,
            "buffers": [{"byteLength": len(self.binary)}],
        }
        text = json.dumps(document, separators=(",", ":")).encode("utf-8")
        text += b" " * (-len(text) % 4)
        total = 12 + 8 + len(text) + 8 + len(self.binary)
        return b"".join(
            (
                struct.pack("<III", _MAGIC, _VERSION, total),
                struct.pack("<II", len(text), _JSON_CHUNK),
                text,
                struct.pack("<II", len(self.binary), _BINARY_CHUNK),
                bytes(self.binary),
            )
        )


def encode(
    people: list[PersonMotion],
    body: BodyModel,
    start_s: float,
    names: Sequence[str] = JOINT_NAMES,
    *,
    floor: bool = False,
) -> bytes:
    """The file's content. Animation time 0 is `start_s` of the clip, for all people. names: (24,) of the bones. floor:
    draw one at y = 0."""
    asset = Asset()
    roots: list[int] = [_add_floor(asset)] if floor else []
    channels: list[Json] = []
    samplers: list[Json] = []
    for number, person in enumerate(people):
        joints_rest = body.joints(person.betas[None])[0].astype(np.float64)
        nodes = add_skeleton(asset, person, joints_rest, names)
        mesh = _add_mesh(asset, person, body, COLOURS[number % len(COLOURS)])
        # One armature a person: their bones are below one node, and need no name of their own.
        name = f"person_{person.person_id}"
        armature = asset.add("nodes", name=name, children=[nodes[0]])
        skin = _add_skin(asset, nodes, joints_rest)
        # The mesh is not a child of the skeleton: a skin alone places its vertices.
        roots += [armature, asset.add("nodes", name=f"{name}_body", mesh=mesh, skin=skin)]
        add_animation(asset, person, nodes, start_s, samplers, channels)
        _add_presence(asset, person, nodes[0], start_s, samplers, channels)
    asset.add("animations", name="motion", samplers=samplers, channels=channels)
    asset.add("scenes", nodes=roots)
    return asset.encode()


def add_skeleton(asset: Asset, person: PersonMotion, joints_rest: Floats, names: Sequence[str]) -> list[int]:
    """A node for each name, of SMPL's joints in their order; joints_rest: their places. Returns the nodes' indices."""
    first = len(asset.lists.get("nodes", []))
    for joint in range(len(names)):
        parent = int(PARENTS[joint])
        offset = person.root_m[0] if joint == 0 else joints_rest[joint] - joints_rest[parent]
        node: Json = {"name": names[joint], "translation": offset.tolist()}
        children = [first + child for child in range(len(names)) if PARENTS[child] == joint]
        if children:
            node["children"] = children
        asset.add("nodes", **node)
    return list(range(first, first + len(names)))


def _add_floor(asset: Asset) -> int:
    """A grey square at y = 0; returns its node."""
    corners = np.array([[-1, 0, -1], [-1, 0, 1], [1, 0, 1], [1, 0, -1]], np.float32) * np.float32(FLOOR_M)
    attributes = {
        "POSITION": asset.add_array(corners, _VERTEX_DATA, bounds=True),
        "NORMAL": asset.add_array(np.tile(np.array([0, 1, 0], np.float32), (4, 1)), _VERTEX_DATA),
    }
    grey = {"baseColorFactor": [0.55, 0.55, 0.55, 1.0], "metallicFactor": 0.0, "roughnessFactor": 1.0}
    material = asset.add("materials", name="floor", pbrMetallicRoughness=grey)
    indices = asset.add_array(np.array([0, 1, 2, 0, 2, 3], np.uint32), _INDEX_DATA)
    primitive: Json = {"attributes": attributes, "indices": indices, "material": material}
    return asset.add("nodes", name="floor", mesh=asset.add("meshes", name="floor", primitives=[primitive]))


def _add_mesh(asset: Asset, person: PersonMotion, body: BodyModel, colour: tuple[float, float, float]) -> int:
    vertices = body.rest_vertices(person.betas[None])[0]
    joints, weights = strongest_influences(body.weights)
    attributes = {
        "POSITION": asset.add_array(vertices.astype(np.float32), _VERTEX_DATA, bounds=True),
        "NORMAL": asset.add_array(vertex_normals(vertices, body.faces), _VERTEX_DATA),
        "TEXCOORD_0": asset.add_array(around_the_body(vertices), _VERTEX_DATA),
        "JOINTS_0": asset.add_array(joints, _VERTEX_DATA),
        "WEIGHTS_0": asset.add_array(weights, _VERTEX_DATA),
    }
    image = asset.add_image(plain_png(colour), "image/png")
    material = asset.add(
        "materials",
        name=f"person_{person.person_id}",
        pbrMetallicRoughness={
            "baseColorTexture": {"index": asset.add("textures", source=image)},
            "metallicFactor": 0.0,
            "roughnessFactor": 0.8,
        },
    )
    indices = asset.add_array(body.faces.reshape(-1).astype(np.uint32), _INDEX_DATA)
    primitive: Json = {"attributes": attributes, "indices": indices, "material": material}
    return asset.add("meshes", name=f"person_{person.person_id}", primitives=[primitive])


def around_the_body(vertices: NDArray[np.float32]) -> NDArray[np.float32]:
    """(V,2) texture coordinates of the rest pose: the angle about the vertical, and the height from the top, 0..1. A
    start for a texture of one's own; seams are at the back."""
    centre = vertices.mean(axis=0)
    angle = np.arctan2(vertices[:, 0] - centre[0], vertices[:, 2] - centre[2]) / (2 * np.pi) + 0.5
    top, bottom = vertices[:, 1].max(), vertices[:, 1].min()
    return np.stack([angle, (top - vertices[:, 1]) / (top - bottom)], axis=1).astype(np.float32)


def plain_png(colour: tuple[float, float, float], side: int = 4) -> bytes:
    """A PNG of one colour, linear 0..1 as materials have it."""
    srgb = [round(255 * (1.055 * value ** (1 / 2.4) - 0.055)) for value in colour]
    rows = (b"\0" + bytes(srgb) * side) * side

    def chunk(kind: bytes, content: bytes) -> bytes:
        checked = kind + content
        return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def _add_skin(asset: Asset, nodes: list[int], joints_rest: Floats) -> int:
    to_joint = np.tile(np.eye(4, dtype=np.float32), (NUM_JOINTS, 1, 1))
    to_joint[:, 3, :3] = -joints_rest  # column-major: the translation is the last row of the stored array
    return asset.add("skins", joints=nodes, skeleton=nodes[0], inverseBindMatrices=asset.add_array(to_joint))


def add_animation(
    asset: Asset, person: PersonMotion, nodes: list[int], start_s: float, samplers: list[Json], channels: list[Json]
) -> None:
    """The place of the first node and the rotations of all."""
    times = asset.add_array((person.time_s - start_s).astype(np.float32), bounds=True)

    def animate(node: int, path: str, values: NDArray[np.float32]) -> None:
        samplers.append({"input": times, "output": asset.add_array(values), "interpolation": "LINEAR"})
        channels.append({"sampler": len(samplers) - 1, "target": {"node": node, "path": path}})

    animate(nodes[0], "translation", person.root_m.astype(np.float32))
    quaternions = continuous_quaternions(person.rotations)
    for joint, node in enumerate(nodes):
        animate(node, "rotation", np.ascontiguousarray(quaternions[:, joint]))


def _add_presence(
    asset: Asset, person: PersonMotion, root: int, start_s: float, samplers: list[Json], channels: list[Json]
) -> None:
    """Who is not there yet, or between two appearances, has no size: glTF's own animations know no visibility."""
    time_s = person.time_s - start_s
    # Between neighbouring frames nobody is missed, however far apart they are.
    gaps = np.flatnonzero((np.diff(time_s) > ABSENT_S) & (np.diff(person.frame) > 1))
    late = float(time_s[0]) > 1e-3
    if not late and not len(gaps):
        return
    changes = [(0.0, 0.0), (float(time_s[0]), 1.0)] if late else [(0.0, 1.0)]
    step = float(np.median(np.diff(time_s))) if len(time_s) > 1 else 0.0
    for gap in gaps.tolist():
        changes += [(float(time_s[gap]) + step, 0.0), (float(time_s[gap + 1]), 1.0)]
    times = asset.add_array(np.array([time for time, _ in changes], np.float32), bounds=True)
    sizes = asset.add_array(np.array([[size] * 3 for _, size in changes], np.float32))
    samplers.append({"input": times, "output": sizes, "interpolation": "STEP"})
    channels.append({"sampler": len(samplers) - 1, "target": {"node": root, "path": "scale"}})


def continuous_quaternions(rotations: Floats) -> NDArray[np.float32]:
    """(F,J,3,3) -> (F,J,4) float32 in glTF's order x, y, z, w, signs chosen so that neighbours lie close together."""
    quaternions = matrix_to_quaternion(rotations)[..., [1, 2, 3, 0]]
    flips = np.sign(np.sum(quaternions[1:] * quaternions[:-1], axis=-1))
    quaternions[1:] *= np.cumprod(np.where(flips < 0, -1.0, 1.0), axis=0)[..., None]
    return quaternions.astype(np.float32)


def strongest_influences(weights: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """(V,24) skinning weights -> the four strongest: joints (V,4) uint8, weights (V,4) float32 that sum to 1."""
    joints = np.argsort(-weights, axis=1, kind="stable")[:, :INFLUENCES]
    strongest = np.take_along_axis(weights, joints, axis=1).astype(np.float64)
    strongest /= strongest.sum(axis=1, keepdims=True)
    joints[strongest == 0] = 0  # the specification wants joint 0 where the weight is 0
    return joints.astype(np.uint8), strongest.astype(np.float32)


def vertex_normals(vertices: NDArray[np.float32], faces: NDArray[np.int32]) -> NDArray[np.float32]:
    """(V,3) unit normals, faces weighted by area; vertices without a face point up."""
    corners = vertices[faces].astype(np.float64)
    face_normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.zeros((len(vertices), 3))
    for corner in range(3):
        np.add.at(normals, faces[:, corner], face_normals)
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    return np.where(length > 1e-12, normals / np.maximum(length, 1e-12), [0.0, 1.0, 0.0]).astype(np.float32)
