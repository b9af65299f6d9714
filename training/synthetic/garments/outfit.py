"""What one person wears: garments, their cuts and materials, and the skin. See wardrobe.py for how to draw it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
NO_CUT = 9.0


@dataclass(frozen=True)
class Garment:
    """A baked garment: V vertices, F triangles.

    template (V, 3) m; shapedirs (V, 3, 10) m per standard deviation; normals (V, 3) unit; spread (V,) 0..1, how much of
    the looseness each vertex takes; faces (F, 3); uv (V, 2) metres of cloth (hair: 0..1); limbs (V, 3) arm, leg and
    head coordinates (see limb_coordinates); joint_index (V, 4), joint_weight (V, 4) sum 1; part (V,) joint that holds
    most of the vertex; covers (body V,) body vertices that lie under it, its rim left out; body_vertex (V,) the body's
    nearest vertex.
    """

    name: str
    kind: str  # one of KINDS
    order: int  # inner to outer: legs, then top, then jacket, then hair, then hat
    held_out: bool  # only in the test split
    template: F32
    shapedirs: F32
    normals: F32
    spread: F32
    faces: NDArray[np.int32]
    uv: F32
    limbs: F32
    joint_index: NDArray[np.int32]
    joint_weight: F32
    part: NDArray[np.int32]
    covers: NDArray[np.bool_]
    body_vertex: NDArray[np.int32]


@dataclass(frozen=True)
class Cut:
    """Where cloth ends, in limb coordinates. A fragment is dropped beyond any of them; NO_CUT leaves it whole.

    arm: sleeve (0 shoulder, 1 elbow, 2 wrist); leg: trouser leg or lower hem (0 hip, 1 knee, 2 ankle); leg_from: upper
    hem of what is worn on the legs; head: neckline (0 neck joint), on the torso only; v_neck: how far it dips in front.
    """

    arm: float = NO_CUT
    leg: float = NO_CUT
    leg_from: float = -NO_CUT
    head: float = NO_CUT
    v_neck: float = 0.0

    def as_row(self) -> F32:
        """(5,) arm, leg, leg_from, head, v_neck: the uniform of a shader."""
        return np.array([self.arm, self.leg, self.leg_from, self.head, self.v_neck], np.float32)

    def discards(self, limbs: F32, canonical: F32) -> NDArray[np.bool_]:
        """(V,) whether cloth at these limb coordinates (V, 3) and rest positions (V, 3) is cut away."""
        arm, leg, head = limbs[..., 0], limbs[..., 1], limbs[..., 2]
        dip = np.where(canonical[..., 2] > 0.0, self.v_neck * np.exp(-((canonical[..., 0] / 0.06) ** 2)), 0.0)
        torso = arm <= 0.0
        low = torso & ((leg > self.leg) | (leg < self.leg_from))
        return (arm > self.arm) | low | (torso & (head > self.head - dip))


@dataclass(frozen=True)
class Material:
    """Colour of cloth (or hair) at a fragment.

    p = rotate(uv, angle_rad) * scale / CLOTH_M + shift; t = cloth[texture](p), repeated, 0..1 each channel.
    albedo = mix(mix(colours[0], colours[1], t.r), colours[2], t.g) * (0.75 + 0.5 * t.b). Where `print_index` >= 0, the
    picture prints[print_index] lies over the fabric, by its alpha, inside `print_box` (centre x, y, half width, half
    height, in metres of rest position; in front if `print_front`, else on the back). `picture` (all-over photograph):
    use prints[texture] at p instead of the three colours. `gloss` 0..1: leather and satin high, wool 0.
    """

    texture: int
    colours: F32  # (3, 3) sRGB 0..1
    scale: float = 1.0
    angle_rad: float = 0.0
    shift: tuple[float, float] = (0.0, 0.0)
    gloss: float = 0.1
    picture: bool = False
    print_index: int = -1
    print_box: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    print_front: bool = True


@dataclass(frozen=True)
class Layer:
    """One garment as worn. `garment` indexes `Wardrobe.garments`; `faces` (F', 3): those that no layer above hides."""

    garment: int
    material: Material
    cut: Cut
    looseness_m: float
    depth_bias_m: float
    faces: NDArray[np.int32]

    def rest_vertices(self, garment: Garment, betas: F32) -> F32:
        """(V, 3) float32 m, T-pose, for betas (10,)."""
        pushed = garment.template + garment.normals * (self.looseness_m * garment.spread)[:, None]
        return (pushed + garment.shapedirs @ betas.astype(np.float32)).astype(np.float32)


@dataclass(frozen=True)
class SkinLook:
    """Bare skin. `tone` (3,) sRGB 0..1; `head` row of `Wardrobe.heads`, painted for this very tone.

    A head is an RGBA picture around the head: u = 0.5 + atan2(x - axis x, z - axis z) / (2 pi) across, and
    v = (HEAD_TOP_M - y) / (HEAD_TOP_M - HEAD_LOW_M) down, with x, y, z the rest position on the template (`canonical`)
    and the constants of head_chart.py; laid over `tone` by its alpha: eyes, brows, lips, beard, hair on the scalp.
    """

    tone: F32
    head: int
    gloss: float


@dataclass(frozen=True)
class Outfit:
    """Everything about how one person looks. `layers` inner to outer; `hidden_faces` (body F,) bool."""

    layers: tuple[Layer, ...]
    skin: SkinLook
    hidden_faces: NDArray[np.bool_]
