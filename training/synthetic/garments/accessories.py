"""Things made by code that follow the head: glasses, headphones, and shells of its own skin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from bodycast.hmr.body.body_model import BodyModel
from bodycast.hmr.body.joints import NUM_JOINTS, Joint
from training.synthetic.garments.mesh_tools import clip_mesh, rim_vertices, smooth, vertex_normals
from training.synthetic.limb_coordinates import limb_coordinates

Floats = NDArray[np.float64]
F32 = NDArray[np.float32]
Ints = NDArray[np.int64]
_EYE_VERTICES = {"left": (14598, 14669), "right": (14670, 14741)}  # of MakeHuman's base mesh


@dataclass(frozen=True)
class Accessory:
    """A mesh in the T-pose with all that a garment needs; arrays as in `wardrobe.Garment`, weights (V, 24)."""

    name: str
    kind: str
    template: Floats
    shapedirs: Floats
    faces: Ints
    uv: Floats
    weights: Floats


def eye_centres(body: BodyModel, makehuman_vertex: Ints) -> Floats:
    """(2, 3) middles of the left and the right eyeball's visible half, m, on the template."""
    template = body.arrays.v_template.astype(np.float64)
    rows = [(makehuman_vertex >= a) & (makehuman_vertex <= b) for a, b in _EYE_VERTICES.values()]
    return np.stack([template[r].mean(0) for r in rows])


def tube(path: Floats, radius: Floats | float, sides: int, closed: bool, flat: float = 1.0) -> tuple[Floats, Ints]:
    """Vertices and faces of a tube around `path` (K, 3); `flat` squeezes it along z."""
    count = len(path)
    following = np.roll(path, -1, 0) if closed else np.concatenate([path[1:], path[-1:]])
    before = np.roll(path, 1, 0) if closed else np.concatenate([path[:1], path[:-1]])
    tangent = following - before
    tangent /= np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-9)
    helper = np.where(np.abs(tangent[:, 1:2]) < 0.9, [[0.0, 1.0, 0.0]], [[1.0, 0.0, 0.0]])
    first = np.cross(tangent, helper)
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    second = np.cross(tangent, first)
    angle = np.arange(sides) * 2 * np.pi / sides
    ring = np.cos(angle)[None, :, None] * first[:, None] + np.sin(angle)[None, :, None] * second[:, None]
    ring[..., 2] *= flat
    vertices = path[:, None] + np.broadcast_to(np.asarray(radius), (count,))[:, None, None] * ring
    rows = np.arange(count if closed else count - 1)
    a = rows[:, None] * sides + np.arange(sides)
    b = ((rows + 1) % count)[:, None] * sides + np.arange(sides)
    a1, b1 = (rows[:, None] * sides + (np.arange(sides) + 1) % sides for rows in (rows, (rows + 1) % count))
    faces = np.concatenate([np.stack([a, b, a1], -1).reshape(-1, 3), np.stack([a1, b, b1], -1).reshape(-1, 3)])
    return vertices.reshape(-1, 3), faces


def _merge(meshes: list[tuple[Floats, Ints]]) -> tuple[Floats, Ints]:
    starts = np.cumsum([0] + [len(v) for v, _ in meshes])
    return np.concatenate([v for v, _ in meshes]), np.concatenate(
        [f + s for (_, f), s in zip(meshes, starts[:-1], strict=True)]
    )


def glasses(body: BodyModel, eyes: Floats, name: str, half_wh: tuple[float, float], roundness: float) -> Accessory:
    """A frame: two rims (superellipses), a bridge and two temples that end at the ears; no lenses."""
    plane = float(eyes[:, 2].mean()) + 0.019
    angle = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    power = 2.0 / roundness
    meshes: list[tuple[Floats, Ints]] = []
    for eye, side in zip(eyes, (1.0, -1.0), strict=True):
        c, s = np.cos(angle), np.sin(angle)
        x = eye[0] + side * 0.002 + half_wh[0] * np.sign(c) * np.abs(c) ** power
        y = eye[1] - 0.004 + half_wh[1] * np.sign(s) * np.abs(s) ** power
        curve = plane - 0.35 * np.maximum(side * (x - eye[0]), 0.0)
        meshes.append(tube(np.stack([x, y, curve], 1), 0.0021, 4, closed=True))
        hinge = np.array([eye[0] + side * (half_wh[0] + 0.002), eye[1] + 0.004, plane - 0.35 * half_wh[0]])
        ear = np.array([side * 0.073, eye[1] + 0.006, plane - 0.105])
        steps = np.linspace(0, 1, 6)[:, None]
        temple = hinge + steps * (ear - hinge) + np.array([side * 0.008, 0, 0]) * np.sin(np.pi * steps)
        meshes.append(tube(temple, 0.0017, 4, closed=False))
    inner = [eyes[k, 0] - s * (half_wh[0] - 0.002) for k, s in ((0, 1.0), (1, -1.0))]
    span = np.linspace(inner[0], inner[1], 6)
    top = float(eyes[:, 1].mean()) + 0.003
    lift = 0.003 * np.sin(np.linspace(0, np.pi, 6))
    meshes.append(tube(np.stack([span, top + lift, np.full(6, plane + 0.001)], 1), 0.0018, 4, closed=False))
    return _follow_head(body, name, "glasses", *_merge(meshes))


def lenses(body: BodyModel, eyes: Floats, name: str, half_wh: tuple[float, float]) -> Accessory:
    """Dark glasses: two filled, slightly domed lenses with a bar above."""
    plane = float(eyes[:, 2].mean()) + 0.018
    angle = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    meshes: list[tuple[Floats, Ints]] = []
    fan = np.stack([np.zeros(20), 1 + np.arange(20), 1 + (np.arange(20) + 1) % 20], 1).astype(np.int64)
    for eye, side in zip(eyes, (1.0, -1.0), strict=True):
        c, s = np.cos(angle), np.sin(angle)
        x = eye[0] + side * 0.002 + half_wh[0] * np.sign(c) * np.abs(c) ** 0.7
        y = eye[1] - 0.005 + half_wh[1] * np.sign(s) * np.abs(s) ** 0.7
        rim = np.stack([x, y, plane - 0.35 * np.maximum(side * (x - eye[0]), 0.0)], 1)
        centre = np.array([[eye[0], eye[1] - 0.005, plane + 0.004]])
        meshes.append((np.concatenate([centre, rim]), fan))
    frame = glasses(body, eyes, name, half_wh, 2.6)
    meshes.append((frame.template, frame.faces))
    return _follow_head(body, name, "glasses", *_merge(meshes))


def headphones(body: BodyModel, eyes: Floats) -> Accessory:
    """Two padded shells over the ears and a band across the crown."""
    template = body.arrays.v_template.astype(np.float64)
    crown = float(template[:, 1].max())
    ear = np.array([0.083, float(eyes[:, 1].mean()) - 0.02, float(eyes[:, 2].mean()) - 0.083])
    meshes: list[tuple[Floats, Ints]] = []
    for side in (1.0, -1.0):
        depth = np.array([-0.012, -0.008, 0.006, 0.02, 0.024, 0.025])
        radius = np.array([0.030, 0.037, 0.039, 0.034, 0.022, 0.001])
        path = np.stack([side * (ear[0] + depth), np.full(6, ear[1]), np.full(6, ear[2])], 1)
        meshes.append(tube(path, radius, 14, closed=False))
    angle = np.linspace(0.0, np.pi, 17)
    rise = crown + 0.016 - ear[1]
    band = np.stack([(ear[0] + 0.012) * np.cos(angle), ear[1] + rise * np.sin(angle), np.full(17, ear[2] + 0.004)], 1)
    meshes.append(tube(band, 0.011, 6, closed=False))
    return _follow_head(body, "headphones", "headphones", *_merge(meshes))


def _follow_head(body: BodyModel, name: str, kind: str, vertices: Floats, faces: Ints) -> Accessory:
    """Shape components of the skin nearby, averaged so widely that a rigid thing stays rigid; the head holds it."""
    template = body.arrays.v_template.astype(np.float64)
    shapedirs = body.arrays.shapedirs.astype(np.float64)
    head = np.nonzero(limb_coordinates(body).head > 0.3)[0]
    _, near = cKDTree(template[head]).query(vertices, k=150, workers=1)
    weights = np.zeros((len(vertices), NUM_JOINTS))
    weights[:, Joint.HEAD] = 1.0
    uv = vertices[:, :2] + vertices[:, 2:] * [1.0, 0.0]
    return Accessory(name, kind, vertices, shapedirs[head[near]].mean(1), faces, uv, weights)


def shell(body: BodyModel, name: str, kind: str, inside: F32, off_m: float, rounds: int) -> Accessory:
    """The skin where the field `inside` (V,) is positive, `off_m` away from it, smoothed `rounds` times: a beanie."""
    count = body.vertex_count
    values = np.concatenate(
        [body.arrays.v_template, body.arrays.shapedirs.reshape(count, 30), body.weights], axis=1
    ).astype(np.float64)  # fmt: skip
    values, faces = clip_mesh(values, body.faces.astype(np.int64), inside.astype(np.float64))
    even = smooth(values[:, :33], faces, rounds)
    near_rim = np.zeros(len(values))
    near_rim[rim_vertices(faces)] = 1.0
    near_rim = np.clip(3.0 * smooth(near_rim[:, None], faces, 4), 0.0, 1.0)
    even = near_rim * values[:, :33] + (1.0 - near_rim) * even  # smoothing would fray the straight cut
    vertices = even[:, :3] + vertex_normals(even[:, :3], faces) * off_m
    uv = np.stack([np.arctan2(vertices[:, 0], vertices[:, 2] - 0.06) * 0.095, vertices[:, 1]], 1)
    return Accessory(name, kind, vertices, even[:, 3:].reshape(-1, 3, 10), faces, uv, values[:, 33:])


def head_shells(body: BodyModel, eyes: Floats) -> list[Accessory]:
    """What is cut from the skin of the head: a beanie, a cap with its visor, a scarf around the face, a face mask."""
    limbs = limb_coordinates(body)
    head, (x, y, z) = limbs.head, limbs.canonical.T
    angle = np.abs(np.arctan2(x, z - 0.06))
    eye = float(eyes[0, 1])
    beanie = head - 0.62 - 0.9 * np.clip(z - 0.03, -0.09, 0.08)
    dome = head - 0.68 - 0.5 * np.clip(z - 0.05, -0.1, 0.06)
    opening = (angle / 0.92) ** 2 + ((y - eye + 0.027) / 0.083) ** 2 - 1.0
    scarf = np.minimum(head + 0.1, np.where(z > 0.05, opening, 1.0))
    mask = np.minimum.reduce([0.1 * (1.12 - angle), eye - 0.026 - y - 0.02 * angle, y - eye + 0.125])
    mask = np.where(z > 0.0, mask, -1.0)
    cap = shell(body, "cap", "hat", dome, 0.009, 4)
    return [
        shell(body, "beanie", "hat", beanie, 0.010, 6),
        _with_visor(body, cap, front_m=float(eye + 0.056)),
        shell(body, "headscarf", "hat", scarf, 0.012, 10),
        shell(body, "face-mask", "mask", mask, 0.009, 40),
    ]


def _with_visor(body: BodyModel, cap: Accessory, front_m: float) -> Accessory:
    """Add the visor: it leaves the forehead at height `front_m`, 7 cm long, bent down at its sides."""
    template = body.arrays.v_template.astype(np.float64)
    ring = template[(np.abs(template[:, 1] - front_m) < 0.012) & (template[:, 2] > 0.06)]
    around = np.arctan2(ring[:, 0], ring[:, 2] - 0.06)
    order = np.argsort(around)
    angle = np.linspace(-0.85, 0.85, 15)
    radius = np.interp(angle, around[order], np.hypot(ring[:, 0], ring[:, 2] - 0.06)[order]) + 0.006
    out = np.linspace(0.0, 1.0, 5)[:, None]
    reach = radius + 0.072 * out * np.cos(angle * 1.7) ** 0.6
    drop = 0.012 * out + 0.010 * (angle / 0.85) ** 2
    vertices = np.stack([reach * np.sin(angle), front_m - drop, 0.06 + reach * np.cos(angle)], -1).reshape(-1, 3)
    a = (np.arange(4)[:, None] * 15 + np.arange(14)).ravel()
    faces = np.concatenate([np.stack([a, a + 15, a + 1], 1), np.stack([a + 1, a + 15, a + 16], 1)])
    visor = _follow_head(body, cap.name, cap.kind, vertices, faces)
    start = len(cap.template)
    return Accessory(
        cap.name, cap.kind, np.concatenate([cap.template, visor.template]),
        np.concatenate([cap.shapedirs, visor.shapedirs]), np.concatenate([cap.faces, visor.faces + start]),
        np.concatenate([cap.uv, visor.uv]), np.concatenate([cap.weights, visor.weights]),
    )  # fmt: skip
