"""A body in SMPL's layout, posed by linear blend skinning, in numpy.

SMPL, Loper et al., SIGGRAPH Asia 2015, section 3. The same conventions as the `smplx` package: shape first, then
pose correctives, then skinning; the root turns about its own rest location; the translation is added last. Hence
`transl` is *not* the place of the pelvis unless the body's rest pelvis is at the origin, as the embedded body's is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bodycast.hmr.body.body_files import BodyArrays, load_body_arrays
from bodycast.hmr.body.joints import MIRROR, NUM_BETAS, NUM_JOINTS, PARENTS

Floats = NDArray[np.float32]

# Rows of the skinning product that go to BLAS at a time: 800 x 24 x 12 stays below the size from which OpenBLAS
# shares one product among threads. On a machine whose cores are busy that sharing turns 0.05 ms into 20 ms.
_ROWS_PER_PRODUCT = 800

EMBEDDED_BODY = Path(__file__).resolve().parents[2] / "assets" / "body" / "bodycast-adult.npz"


Joints = slice | NDArray[np.int64]


def _generations() -> list[tuple[Joints, Joints, Joints]]:
    """The joints whose parents are the root, then their children, and so on; their parents; the joints less one, as
    bones are counted."""
    found: list[tuple[Joints, Joints, Joints]] = []
    before = np.array([0])
    while len(joints := np.flatnonzero(np.isin(PARENTS, before))):
        found.append((_range(joints), _range(PARENTS[joints]), _range(joints - 1)))
        before = joints
    return found


def _range(joints: NDArray[np.int64]) -> Joints:
    """The same as a slice where that can be: a view costs less than a copy."""
    begin, end = int(joints[0]), int(joints[-1]) + 1
    return slice(begin, end) if np.array_equal(joints, np.arange(begin, end)) else joints


_GENERATIONS = _generations()


@dataclass(frozen=True)
class BodyOutput:
    """Posed bodies: `vertices` (N,V,3) and `joints` (N,24,3), float32, metres, in the frame of pose and translation."""

    vertices: Floats
    joints: Floats


def check_shape(name: str, array: NDArray[np.generic], expected: tuple[int, ...]) -> None:
    """Raise ValueError unless `array` has the `expected` shape, in which -1 stands for any length."""
    fits = array.ndim == len(expected) and all(
        want in (-1, have) for want, have in zip(expected, array.shape, strict=True)
    )
    if not fits:
        wanted = ", ".join("N" if want == -1 else str(want) for want in expected)
        raise ValueError(f"{name}: expected shape ({wanted}), got {array.shape}")


def mirror_pose(pose: ArrayLike) -> Floats:
    """The pose seen in a mirror (x -> -x): joints swap sides and rotations are conjugated by diag(-1, 1, 1).

    Takes and gives (...,24,3,3) rotation matrices. A left-right symmetric body in the mirrored pose is the mirror
    image of the body in the pose; this is the pose half of flip augmentation.
    """
    rotations = np.asarray(pose, dtype=np.float32)
    if rotations.shape[-3:] != (NUM_JOINTS, 3, 3):
        raise ValueError(f"pose: expected shape (..., {NUM_JOINTS}, 3, 3), got {rotations.shape}")
    sign = np.array([-1.0, 1.0, 1.0], dtype=np.float32)
    mirrored = rotations[..., MIRROR, :, :] * (sign[:, None] * sign[None, :])
    return mirrored.astype(np.float32, copy=False)


def forward_kinematics(pose: Floats, joints_rest: Floats) -> tuple[Floats, Floats]:
    """Global rotations and places of the joints.

    pose: (N,24,3,3) rotation of each joint relative to its parent. joints_rest: (N,24,3) or (1,24,3), metres.
    Returns rotations (N,24,3,3) and places (N,24,3); the root stays at its rest place.
    """
    check_shape("pose", pose, (-1, NUM_JOINTS, 3, 3))
    check_shape("joints_rest", joints_rest, (-1, NUM_JOINTS, 3))
    if joints_rest.shape[0] not in (1, pose.shape[0]):
        raise ValueError(f"joints_rest: expected 1 or {pose.shape[0]} rows, got {joints_rest.shape[0]}")
    rotations = np.empty_like(pose)
    places = np.empty((*pose.shape[:2], 3), dtype=pose.dtype)
    rotations[:, 0] = pose[:, 0]
    places[:, 0] = joints_rest[:, 0]
    offsets = joints_rest[:, 1:] - joints_rest[:, PARENTS[1:]]
    # One product for each generation, not for each joint: most of a few bodies' cost is in the calls.
    for joints, parents, _ in _GENERATIONS:
        rotations[:, joints] = rotations[:, parents] @ pose[:, joints]
    bones = (rotations[:, PARENTS[1:]] @ offsets[..., None])[..., 0]
    for joints, parents, own in _GENERATIONS:
        places[:, joints] = places[:, parents] + bones[:, own]
    return rotations, places


@dataclass(frozen=True)
class BodyModel:
    """A body in SMPL's layout. Make one with `BodyModel.load(path)` or `BodyModel.from_arrays(arrays)`.

    Calling it poses it; `joints(betas)` gives the rest skeleton. Not tied to a thread: two threads may call one model.
    """

    arrays: BodyArrays
    joints_template: Floats = field(repr=False)  # (24,3)
    joint_shapedirs: Floats = field(repr=False)  # (72,10)
    shapedirs: Floats = field(repr=False)  # (10,3V)
    posedirs: Floats | None = field(repr=False)  # (207,3V), or None where the file's are all zero
    weight_blocks: Floats = field(repr=False)  # (B,800,24), the weights padded with zero rows

    @classmethod
    def load(cls, path: str | Path = EMBEDDED_BODY) -> BodyModel:
        """Read a body from `.npz` or from SMPL's published `.pkl` (nothing in it is executed).

        Raises `BodyFileError` (a ValueError), one line that names what is wrong with the file.
        """
        return cls.from_arrays(load_body_arrays(Path(path)))

    @classmethod
    def from_arrays(cls, arrays: BodyArrays) -> BodyModel:
        """Precompute what is the same for every person: the skeleton as a linear function of the betas."""
        vertex_count = len(arrays.v_template)
        regressor = arrays.J_regressor.astype(np.float64)
        joint_shapedirs = np.einsum("jv,vck->jck", regressor, arrays.shapedirs.astype(np.float64))
        blocks = -(-vertex_count // _ROWS_PER_PRODUCT)
        padded = np.zeros((blocks * _ROWS_PER_PRODUCT, NUM_JOINTS), dtype=np.float32)
        padded[:vertex_count] = arrays.weights
        posedirs = arrays.posedirs
        return cls(
            arrays=arrays,
            joints_template=(regressor @ arrays.v_template).astype(np.float32),
            joint_shapedirs=joint_shapedirs.reshape(NUM_JOINTS * 3, NUM_BETAS).astype(np.float32),
            shapedirs=_columns(arrays.shapedirs),
            posedirs=None if posedirs is None else _columns(posedirs),
            weight_blocks=padded.reshape(blocks, _ROWS_PER_PRODUCT, NUM_JOINTS),
        )

    @property
    def name(self) -> str:
        """Name of the body; betas only mean something together with it."""
        return self.arrays.name

    @property
    def faces(self) -> NDArray[np.int32]:
        """(F,3) triangles, counter-clockwise seen from outside."""
        return self.arrays.faces

    @property
    def weights(self) -> Floats:
        """(V,24) skinning weights, rows sum to 1."""
        return self.arrays.weights

    @property
    def vertex_count(self) -> int:
        return len(self.arrays.v_template)

    def joints(self, betas: ArrayLike) -> Floats:
        """(N,24,3) joints of the rest pose, metres, for betas (N,10)."""
        shape = np.asarray(betas, dtype=np.float32)
        check_shape("betas", shape, (-1, NUM_BETAS))
        joints = self.joints_template + (shape @ self.joint_shapedirs.T).reshape(-1, NUM_JOINTS, 3)
        return joints.astype(np.float32, copy=False)

    def rest_vertices(self, betas: ArrayLike) -> Floats:
        """(N,V,3) vertices of the rest pose, metres, for betas (N,10)."""
        shape = np.asarray(betas, dtype=np.float32)
        check_shape("betas", shape, (-1, NUM_BETAS))
        vertices = self.arrays.v_template + (shape @ self.shapedirs).reshape(-1, self.vertex_count, 3)
        return vertices.astype(np.float32, copy=False)

    def __call__(
        self, pose: ArrayLike, betas: ArrayLike, transl: ArrayLike, rest_vertices: Floats | None = None
    ) -> BodyOutput:
        """Pose N bodies; N may be 0.

        pose: (N,24,3,3) rotation matrices relative to the parent joint. betas: (N,10). transl: (N,3), metres.
        rest_vertices: what `rest_vertices(betas)` gave, for callers whose betas stay the same from frame to frame.
        """
        rotations = np.asarray(pose, dtype=np.float32)
        shape = np.asarray(betas, dtype=np.float32)
        move = np.asarray(transl, dtype=np.float32)
        count = len(rotations)
        check_shape("pose", rotations, (-1, NUM_JOINTS, 3, 3))
        check_shape("betas", shape, (count, NUM_BETAS))
        check_shape("transl", move, (count, 3))
        if rest_vertices is None:
            shaped = self.rest_vertices(shape)
        else:
            check_shape("rest_vertices", rest_vertices, (count, self.vertex_count, 3))
            shaped = rest_vertices
        joints_rest = self.joints(shape)
        if self.posedirs is not None:
            bend = (rotations[:, 1:] - np.eye(3, dtype=np.float32)).reshape(count, 9 * (NUM_JOINTS - 1))
            shaped = shaped + (bend @ self.posedirs).reshape(shaped.shape)
        turns, places = forward_kinematics(rotations, joints_rest)
        shifts = places - (turns @ joints_rest[..., None])[..., 0] + move[:, None]
        vertices = np.empty(shaped.shape, dtype=np.float32)
        for row in range(count):
            vertices[row] = self._skin(shaped[row], turns[row], shifts[row])
        return BodyOutput(vertices, places + move[:, None])

    def _skin(self, shaped: Floats, turns: Floats, shifts: Floats) -> Floats:
        """Linear blend skinning of one body: (V,3) vertices, (24,3,3) and (24,3) per-joint rigid motions."""
        motions = np.concatenate([turns.reshape(NUM_JOINTS, 9), shifts], axis=1)
        blended = (self.weight_blocks @ motions).reshape(-1, 12)[: self.vertex_count]
        turned = np.einsum("vij,vj->vi", blended[:, :9].reshape(-1, 3, 3), shaped)
        turned += blended[:, 9:]
        return turned


def _columns(directions: Floats) -> Floats:
    """(V,3,K) blend shapes as (K,3V): one contiguous row per coefficient."""
    return np.ascontiguousarray(directions.reshape(-1, directions.shape[-1]).T)
