"""Things around people as meshes: rooms, desks, chairs, what hands hold, what stands in the way, shadowed floors."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from training.synthetic.drawn import MAX_LAYERS, ROWS_PER_LAYER, VERTEX, Kind, Mesh, layer_rows
from training.synthetic.garments.wardrobe import Material

F32 = NDArray[np.float32]
Rng = np.random.Generator
WORLD = 0  # the joint whose row holds the world's motion in a thing's table


@dataclass(frozen=True)
class Solid:
    """A unit solid: vertices (V, 3) in -0.5..0.5, normals (V, 3), uv (V, 2) in 0..1, faces (F, 3)."""

    vertices: F32
    normals: F32
    uv: F32
    faces: NDArray[np.int32]


def _cube() -> Solid:
    vertices, normals, uv, faces = [], [], [], []
    for axis in range(3):
        for sign in (-1.0, 1.0):
            start = len(vertices)
            for a, b in ((-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)):
                corner = np.zeros(3)
                corner[axis], corner[(axis + 1) % 3], corner[(axis + 2) % 3] = 0.5 * sign, a, b
                normal = np.zeros(3)
                normal[axis] = sign
                vertices.append(corner)
                normals.append(normal)
                # Pictures stand upright: rows of a texture run down, height runs up.
                uv.append(((b + 0.5, 0.5 - a), (b + 0.5, a + 0.5), (a + 0.5, 0.5 - b))[axis])
            faces += [(start, start + 1, start + 2), (start, start + 2, start + 3)]
    return _solid(vertices, normals, uv, faces)


def _turned(profile: list[tuple[float, float, float, float]], sides: int = 14) -> Solid:
    """A profile turned about y: radius, height, and the normal's parts outwards and upwards of each of its points."""
    vertices, normals, uv, faces = [], [], [], []
    for k, (radius, height, outwards, upwards) in enumerate(profile):
        for angle in np.linspace(0, 2 * np.pi, sides + 1):
            direction = np.array([np.cos(angle), 0.0, np.sin(angle)])
            vertices.append(direction * radius + [0, height, 0])
            normals.append(direction * outwards + [0, upwards, 0])
            uv.append((angle / (2 * np.pi), k / (len(profile) - 1)))
    row = sides + 1
    for k in range(len(profile) - 1):
        for s in range(sides):
            a = k * row + s
            faces += [(a, a + 1, a + row), (a + 1, a + row + 1, a + row)]
    return _solid(vertices, normals, uv, faces)


def _solid(vertices: list, normals: list, uv: list, faces: list) -> Solid:
    n = np.array(normals, np.float32)
    n /= np.maximum(np.linalg.norm(n, axis=1, keepdims=True), 1e-6)
    return Solid(np.array(vertices, np.float32), n, np.array(uv, np.float32), np.array(faces, np.int32))


CUBE = _cube()
CYLINDER = _turned(
    [(0.0, 0.5, 0, 1), (0.5, 0.5, 0, 1), (0.5, 0.5, 1, 0), (0.5, -0.5, 1, 0), (0.5, -0.5, 0, -1), (0.0, -0.5, 0, -1)]
)
BALL = _turned([(0.5 * np.sin(a), 0.5 * np.cos(a), np.sin(a), np.cos(a)) for a in np.linspace(0, np.pi, 9)])


@dataclass
class Things:
    """A mesh that grows thing by thing, each with a material of its own."""

    vertices: list[NDArray[np.void]] = field(default_factory=list)
    faces: list[NDArray[np.int32]] = field(default_factory=list)
    scenery: list[NDArray[np.int32]] = field(default_factory=list)  # faces that throw no shadow
    rows: list[F32] = field(default_factory=list)

    def add(
        self,
        solid: Solid,
        size: F32,
        place: F32,
        material: Material,
        *,
        kind: Kind | None = None,
        turn: F32 | None = None,
        joint: int = WORLD,
        casts: bool = True,
    ) -> None:
        """Add a solid scaled to `size` (3,) m, turned by (3, 3), at `place` (3,), in the rest space of `joint`.

        `casts`: it throws a shadow.
        """
        turn = np.eye(3, dtype=np.float32) if turn is None else turn
        out = np.zeros(len(solid.vertices), VERTEX)
        out["position"] = (solid.vertices * size) @ turn.T + place
        out["normal"] = solid.normals @ turn.T
        out["canonical"] = out["position"]
        kind = kind if kind is not None else Kind.PICTURE if material.picture else Kind.THING
        # Fabric counts in metres, pictures once over each side.
        stretch = np.array([1.0, 1.0]) if kind == Kind.PICTURE else np.sort(size)[[2, 1]]
        out["uv"] = solid.uv * stretch
        out["joint"][:, 0] = joint
        out["weight"][:, 0] = 255
        out["tag"][:, 1] = self._layer(layer_rows(kind, material))
        (self.faces if casts else self.scenery).append(solid.faces + sum(len(v) for v in self.vertices))
        self.vertices.append(out)

    def _layer(self, rows: F32) -> int:
        for number, known in enumerate(self.rows):
            if np.array_equal(known, rows):
                return number
        if len(self.rows) == MAX_LAYERS:
            return MAX_LAYERS - 1
        self.rows.append(rows)
        return len(self.rows) - 1

    def mesh(self) -> Mesh | None:
        """All things as one mesh, None where there is none."""
        if not self.vertices:
            return None
        look = np.zeros((MAX_LAYERS * ROWS_PER_LAYER, 4), np.float32)
        stacked = np.concatenate(self.rows)
        look[: len(stacked)] = stacked
        faces = np.concatenate([*self.scenery, *self.faces])
        seen_only = sum(len(part) for part in self.scenery)
        return Mesh(np.concatenate(self.vertices), faces, 0, faces, look, seen_only)


def turn_y(angle: float) -> F32:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]], np.float32)


def add_shadow_floor(things: Things, floor_y: float, strength: float) -> None:
    """A floor that shows nothing but shadow, for people before a photograph."""
    material = Material(texture=0, colours=np.zeros((3, 3), np.float32), scale=strength)
    things.add(
        CUBE, np.array([9, 0.002, 9]), np.array([0, floor_y - 0.004, 0]), material, kind=Kind.SHADOW, casts=False
    )


def add_room(things: Things, rng: Rng, floor_y: float, materials: Materials, eye: F32) -> None:
    """Floor, walls, ceiling and pictures on the walls around a person at the origin and a camera at `eye` (3,), which
    is somewhere towards +z."""
    back, left, right, height = (
        -rng.uniform(0.7, 3.5),
        -rng.uniform(1.4, 3.5),
        rng.uniform(1.4, 3.5),
        rng.uniform(2.3, 3),
    )
    turn = turn_y(float(rng.normal(0, 0.3)))
    inside = turn.T @ eye
    left, right = min(left, inside[0] - 0.4), max(right, inside[0] + 0.4)
    floor_y = min(floor_y, inside[1] - 0.15)
    height, depth = max(height, inside[1] - floor_y + 0.3), max(6.0, inside[2] - back + 1.0)

    def slab(size: tuple[float, float, float], place: tuple[float, float, float], material: Material) -> None:
        things.add(CUBE, np.array(size), turn @ np.array(place), material, turn=turn, casts=False)

    middle, width = floor_y + height / 2, right - left
    wall = materials.wall()
    slab((width, 0.02, depth), ((left + right) / 2, floor_y - 0.012, back + depth / 2), materials.floor())
    slab((width, height, 0.02), ((left + right) / 2, middle, back), wall)
    slab((0.02, height, depth), (left, middle, back + depth / 2), wall if rng.random() < 0.6 else materials.wall())
    slab((0.02, height, depth), (right, middle, back + depth / 2), wall)
    slab((width, 0.02, depth), ((left + right) / 2, floor_y + height, back + depth / 2), materials.plain(0.8))
    for _ in range(rng.integers(0, 5)):
        w, h = rng.uniform(0.3, 1.4), rng.uniform(0.3, 1.1)
        x, y = rng.uniform(left + w / 2, right - w / 2), floor_y + rng.uniform(1.0, 1.8)
        slab((w, h, 0.03), (x, y, back + 0.02), materials.picture())
    if rng.random() < 0.5:  # a shelf, a cupboard, a bed
        w, h, d = rng.uniform(0.5, 1.8), rng.uniform(0.4, 2.0), rng.uniform(0.3, 0.6)
        slab((w, h, d), (rng.uniform(left, right), floor_y + h / 2, back + d / 2), materials.thing())


def add_desk(things: Things, rng: Rng, top_y: float, front_z: float, yaw: float, materials: Materials) -> None:
    """A table whose edge is `front_z` m before the person (who looks along `yaw`), with a few things on it."""
    turn, depth = turn_y(yaw), float(rng.uniform(0.5, 0.9))
    desk = materials.wood() if rng.random() < 0.7 else materials.thing()
    width = rng.uniform(1.2, 2.2)
    things.add(
        CUBE, np.array([width, 0.035, depth]), turn @ np.array([rng.normal(0, 0.2), top_y, front_z + depth / 2]), desk,
        turn=turn,
    )  # fmt: skip
    for _ in range(rng.integers(0, 4)):
        solid = (CUBE, CYLINDER, CUBE)[rng.integers(3)]
        size = np.array([rng.uniform(0.05, 0.3), rng.uniform(0.02, 0.25), rng.uniform(0.05, 0.25)])
        place = np.array([rng.normal(0, 0.4), top_y + size[1] / 2 + 0.018, front_z + rng.uniform(0.1, depth)])
        things.add(solid, size, turn @ place, materials.thing(), turn=turn @ turn_y(rng.normal(0, 0.5)))


def add_chair(things: Things, rng: Rng, yaw: float, materials: Materials) -> None:
    """The back of a chair behind a sitting person, sometimes as high as the head, and its seat."""
    turn, material = turn_y(yaw), materials.thing()
    top = rng.uniform(0.2, 0.75)
    lean = rng.uniform(-0.24, -0.16)
    back = np.array([rng.uniform(0.38, 0.55), top + 0.15, 0.07])
    things.add(CUBE, back, turn @ np.array([0, top / 2 - 0.07, lean]), material, turn=turn)
    things.add(CUBE, np.array([0.48, 0.06, 0.45]), turn @ np.array([0, -0.17, 0.05]), material, turn=turn)


def add_held(things: Things, rng: Rng, side: str, hand_rest: F32, materials: Materials) -> None:
    """A phone, cup, bottle, stick or bat in a hand, whose joint rests at `hand_rest` (3,)."""
    sign = 1.0 if side == "left" else -1.0
    joint = 22 if side == "left" else 23
    palm = hand_rest + np.array([0.02 * sign, -0.03, 0.01])
    kind = rng.integers(4)
    if kind == 0:
        solid, size = CUBE, np.array([0.15, 0.012, 0.075])
    elif kind == 1:
        solid, size, palm = CYLINDER, np.array([0.08, 0.1, 0.08]), palm + np.array([0, -0.035, 0])
    elif kind == 2:
        solid, size, palm = BALL, np.full(3, rng.uniform(0.07, 0.24)), palm + np.array([0, -0.07, 0])
    else:
        solid, size = CUBE, np.array([0.03, 0.03, rng.uniform(0.4, 1.0)])
        palm = palm + np.array([0, 0, rng.uniform(-0.1, 0.4)])
    things.add(solid, size, palm, materials.thing(), joint=joint)


def add_obstacle(
    things: Things, rng: Rng, target: F32, towards_camera: F32, distance: float, materials: Materials
) -> None:
    """Something between `target` (3,) and the camera, which is `distance` m away along the unit vector towards it."""
    share = rng.uniform(0.3, 0.85)
    spread = 0.35 * (1 - share)
    place = target + towards_camera * distance * share + rng.normal(0, 1, 3) * spread * np.array([1.0, 1.2, 0.3])
    solid = (CUBE, CYLINDER, BALL, CUBE)[rng.integers(4)]
    size = np.exp(rng.normal(np.log(0.22), 0.5, 3)) * (1 - share * 0.75)
    if rng.random() < 0.3:
        size[rng.integers(3)] *= 4
    turn = turn_y(rng.uniform(0, 2 * np.pi))
    things.add(solid, size, place.astype(np.float32), materials.thing(), turn=turn)


@dataclass(frozen=True)
class Materials:
    """Random surfaces: `cloths` and `pictures` are how many fabrics and photographs there are, from `first_picture`."""

    rng: Rng
    cloths: int
    first_picture: int
    pictures: int

    def _colour(self, saturation: float, low: float, high: float) -> F32:
        grey = self.rng.uniform(low, high)
        tint = np.clip(self.rng.normal(0, saturation, 3), -0.4, 0.4)
        return np.clip(grey * (1 + tint), 0.02, 0.98).astype(np.float32)

    def _woven(self, colour: F32, contrast: float, scale: float, gloss: float) -> Material:
        colours = np.clip(colour * (1 + self.rng.normal(0, contrast, (3, 1))), 0, 1)
        angle = float(self.rng.choice([0.0, np.pi / 2]))
        return Material(int(self.rng.integers(self.cloths)), colours.astype(np.float32), scale, angle, gloss=gloss)

    def plain(self, level: float) -> Material:
        """Painted in about this level of grey."""
        return self._woven(self._colour(0.03, level * 0.9, min(level * 1.1, 1.0)), 0.01, 1.0, 0.0)

    def wall(self) -> Material:
        """Paint, often white, or wallpaper."""
        light = self.rng.random() < 0.65
        colour = self._colour(0.05, 0.6, 0.92) if light else self._colour(0.2, 0.15, 0.7)
        return self._woven(colour, 0.015 if self.rng.random() < 0.75 else 0.15, self.rng.uniform(0.4, 2), 0.02)

    def floor(self) -> Material:
        """Wood, carpet, tiles."""
        return self.wood() if self.rng.random() < 0.5 else self._woven(self._colour(0.08, 0.15, 0.7), 0.1, 1.0, 0.1)

    def wood(self) -> Material:
        """Brown boards."""
        colour = np.array([1.0, 0.72, 0.48]) * self.rng.uniform(0.25, 0.8)
        return self._woven(colour.astype(np.float32), 0.12, self.rng.uniform(0.5, 2), float(self.rng.uniform(0, 0.4)))

    def picture(self) -> Material:
        """A photograph, else a plain surface."""
        if not self.pictures:
            return self.thing()
        row = self.first_picture + int(self.rng.integers(self.pictures))
        return Material(row, np.zeros((3, 3), np.float32), 0.5, picture=True)

    def thing(self) -> Material:
        """Anything: painted, woven, printed."""
        if self.pictures and self.rng.random() < 0.35:
            return self.picture()
        return self._woven(
            self._colour(0.3, 0.05, 0.9), float(self.rng.choice([0.03, 0.3])), float(self.rng.uniform(0.3, 3)),
            float(self.rng.uniform(0, 0.6)),
        )  # fmt: skip
