"""Analytic inverse kinematics: joint positions and bone twists -> SMPL rotations, and back.

Sources: HybrIK (Li et al. 2021, arXiv 2011.14672), written from its description: a joint's rotation is a swing, the
minimal rotation that takes its rest bone to the wanted bone, after a twist about the rest bone. FastHMR (Mehraban et
al. 2025, arXiv 2510.10868) decodes its motion latents to exactly these joints and twists.

Runs on numpy arrays and on torch tensors alike (torch is never imported for numpy; with torch it is differentiable and
keeps device and dtype), batched over any leading axes, float32 or float64.

The 29-joint skeleton is SMPL's 24 joints and five points that fix the orientation of the leaf joints. All 24 joints
then have exactly one bone but the root, whose rotation comes from three (spine and both hips). As in HybrIK's released
code, the third spine joint points at the neck.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from bodycast.hmr.body.joints import PARENTS, Joint
from bodycast.hmr.geometry.nearest_rotation import nearest_rotation, nearest_rotation_svd

if TYPE_CHECKING:
    from torch import Tensor

    ArrayT = TypeVar("ArrayT", NDArray[np.float32], NDArray[np.float64], Tensor)
else:
    ArrayT = TypeVar("ArrayT")

# Inside, an array is whatever supports the operators that numpy and torch share.
Array: TypeAlias = Any
Rule = Literal["adaptive", "naive"]
RootFit = Literal["closed_form", "svd"]

SKELETON_29_PARENTS: tuple[int, ...] = (
    *(int(parent) for parent in PARENTS),
    *(Joint.HEAD, Joint.LEFT_HAND, Joint.RIGHT_HAND, Joint.LEFT_FOOT, Joint.RIGHT_FOOT),
)
"""SMPL's 24, then head (24), left and right middle finger tip (25, 26), left and right big toe (27, 28)."""

BONE_CHILD: tuple[int, ...] = (
    *(3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 27, 28, 15, 16, 17, 24, 18, 19, 20, 21, 22, 23, 25, 26),
)
"""For each of the 24 joints the joint that its bone points at. The root's entry is its spine."""

# Joints whose parents are done when a level starts, so that a level is one batched step.
_LEVELS: tuple[tuple[int, ...], ...] = (
    (1, 2, 3),
    (4, 5, 6),
    (7, 8, 9),
    (10, 11, 12, 13, 14),
    (15, 16, 17),
    (18, 19),
    (20, 21),
    (22, 23),
)
ADAPTIVE_LIMIT_M = 0.015
_GUARD = 1e-8


def inverse_kinematics(
    rest_joints: ArrayT,
    target_joints: ArrayT,
    twists: ArrayT,
    rule: Rule = "adaptive",
    root_fit: RootFit = "closed_form",
    root_rotation: ArrayT | None = None,
    guard_m2: float = 0.0,
) -> ArrayT:
    """Parent-relative rotations (..., 24, 3, 3) that bring a rest skeleton to target joints.

    Args:
        rest_joints: (..., 29, 3) m, the rest pose of the person's own shape.
        target_joints: (..., 29, 3) m, in any position; the root's place does not matter.
        twists: (..., 23, 2) cos and sin of each bone's twist, entry j - 1 for joint j, any non-zero length.
        rule: "adaptive" aims every bone from where its joint has actually come to lie, so that errors of bone length do
            not add up along a limb; where that differs by more than 15 mm from the target's own bone, the target's bone
            is used. "naive" always uses the target's bones.
        root_fit: how the adaptive root is fitted to its three bones: in closed form or by SVD. The naive root follows
            the spine first and turns about it to the hips.
        root_rotation: (..., 3, 3) takes the place of the fitted root.
        guard_m2: added to every product of bone lengths before dividing by it. HybrIK's released code adds 1e-8 m2,
            which bends rotations by up to 5e-4 where bones are short or opposite; 0 gives exact rotations.

    Raises ValueError for shapes that do not fit.
    """
    xp = _namespace(rest_joints)
    rest, target, phi = _checked(rest_joints, target_joints, twists)
    if root_rotation is not None:
        root: Array = root_rotation
    elif rule == "naive":
        root = _root_spine_first(xp, rest, target, guard_m2)
    else:
        root = _root_least_squares(xp, rest, target, root_fit)
    twist_matrices = _twist_matrices(xp, rest, phi)
    rotations: list[Array] = [None] * 24
    world: list[Array] = [None] * 24
    posed: list[Array] = [None] * 24
    rotations[0] = world[0] = root
    posed[0] = target[..., 0, :]
    for level in _LEVELS:
        joints = list(level)
        parents = [SKELETON_29_PARENTS[j] for j in joints]
        children = [BONE_CHILD[j] for j in joints]
        frame = xp.stack([world[p] for p in parents], -3)
        origin = xp.stack([posed[p] for p in parents], -2)
        here = origin + _apply(frame, rest[..., joints, :] - rest[..., parents, :])
        bone = rest[..., children, :] - rest[..., joints, :]
        wanted = target[..., children, :] - target[..., joints, :]
        if rule == "adaptive":
            wanted = _adaptive_bone(xp, bone, wanted, target[..., children, :] - here)
        wanted = _apply(frame.swapaxes(-1, -2), wanted)
        local = _swing(xp, bone, wanted, guard_m2) @ twist_matrices[..., [j - 1 for j in joints], :, :]
        turned = frame @ local
        for k, j in enumerate(joints):
            rotations[j], world[j], posed[j] = local[..., k, :, :], turned[..., k, :, :], here[..., k, :]
    return xp.stack(rotations, -3)


def forward_kinematics(rest_joints: ArrayT, rotations: ArrayT) -> ArrayT:
    """Joints (..., 29, 3) m of a rest skeleton (..., 29, 3) under rotations (..., 24, 3, 3); the root stays put."""
    xp = _namespace(rest_joints)
    rest: Array = rest_joints
    world: list[Array] = []
    posed: list[Array] = []
    for j, parent in enumerate(SKELETON_29_PARENTS):
        if parent < 0:
            world.append(rotations[..., 0, :, :])
            posed.append(rest[..., 0, :])
            continue
        posed.append(posed[parent] + _apply(world[parent], rest[..., j, :] - rest[..., parent, :]))
        world.append(world[parent] @ rotations[..., j, :, :] if j < 24 else world[parent])
    return xp.stack(posed, -2)


def bone_twists(rest_joints: ArrayT, rotations: ArrayT) -> ArrayT:
    """Twists (..., 23, 2), cos and sin, of rotations (..., 24, 3, 3): what `inverse_kinematics` takes.

    The rest bone and its image fix the swing; what is left of the rotation is the twist.
    """
    xp = _namespace(rest_joints)
    rest: Array = rest_joints
    R: Array = rotations
    joints = list(range(1, 24))
    bone = rest[..., [BONE_CHILD[j] for j in joints], :] - rest[..., joints, :]
    local = R[..., 1:, :, :]
    twist = _swing(xp, bone, _apply(local, bone)).swapaxes(-1, -2) @ local
    axis = bone / _length(bone)
    cosine = 0.5 * (twist[..., 0, 0] + twist[..., 1, 1] + twist[..., 2, 2] - 1)
    spin = xp.stack(
        [
            twist[..., 2, 1] - twist[..., 1, 2],
            twist[..., 0, 2] - twist[..., 2, 0],
            twist[..., 1, 0] - twist[..., 0, 1],
        ],
        -1,
    )
    return xp.stack([cosine, 0.5 * (axis * spin).sum(-1)], -1)


def _namespace(array: object) -> ModuleType:
    """numpy, or torch where it was given a tensor (and is therefore loaded)."""
    if isinstance(array, np.ndarray):
        return np
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(array, torch.Tensor):
        raise TypeError(f"expected a numpy array or a torch tensor, got {type(array).__name__}")
    return torch


def _checked(rest: Array, target: Array, twists: Array) -> tuple[Array, Array, Array]:
    for name, array, last in (
        ("rest_joints", rest, (29, 3)),
        ("target_joints", target, (29, 3)),
        ("twists", twists, (23, 2)),
    ):
        if tuple(array.shape[-2:]) != last:
            raise ValueError(f"{name} must have shape (..., {last[0]}, {last[1]}), got {tuple(array.shape)}")
    return rest, target, twists


def _length(vectors: Array) -> Array:
    """(..., 3) -> (..., 1), never zero; differentiable at zero."""
    return ((vectors * vectors).sum(-1)[..., None] + _GUARD**2) ** 0.5


def _apply(matrices: Array, vectors: Array) -> Array:
    return (matrices @ vectors[..., None])[..., 0]


def _cross(xp: ModuleType, a: Array, b: Array) -> Array:
    return xp.stack(
        [
            a[..., 1] * b[..., 2] - a[..., 2] * b[..., 1],
            a[..., 2] * b[..., 0] - a[..., 0] * b[..., 2],
            a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0],
        ],
        -1,
    )


def _skew(xp: ModuleType, v: Array) -> Array:
    zero = v[..., 0] * 0
    rows = (
        xp.stack([zero, -v[..., 2], v[..., 1]], -1),
        xp.stack([v[..., 2], zero, -v[..., 0]], -1),
        xp.stack([-v[..., 1], v[..., 0], zero], -1),
    )
    return xp.stack(rows, -2)


def _identity(xp: ModuleType, like: Array) -> Array:
    """(3, 3) of the type and on the device of `like`."""
    return xp.eye(3, dtype=like.dtype) if xp is np else xp.eye(3, dtype=like.dtype, device=like.device)


def _rotation_about(xp: ModuleType, axis: Array, cosine: Array, sine: Array) -> Array:
    """Rodrigues: unit axes (..., 3), cosine and sine (...) -> (..., 3, 3)."""
    K = _skew(xp, axis)
    return _identity(xp, axis) + sine[..., None, None] * K + (1 - cosine)[..., None, None] * (K @ K)


def _guarded_swing(xp: ModuleType, source: Array, target: Array, guard_m2: float) -> Array:
    """`_swing` with the rounding guard of HybrIK's released code: nearly a rotation."""
    v = _cross(xp, source, target)
    sine = (v * v).sum(-1) ** 0.5
    lengths = (_length(source) * _length(target))[..., 0] + guard_m2
    return _rotation_about(xp, v / (sine + guard_m2)[..., None], (source * target).sum(-1) / lengths, sine / lengths)


def _swing(xp: ModuleType, source: Array, target: Array, guard_m2: float = 0.0) -> Array:
    """Minimal rotation from the direction of `source` to that of `target`, (..., 3) twice -> (..., 3, 3).

    For opposite directions, where any half turn is minimal, the axis is the coordinate direction least along `source`.
    """
    if guard_m2:
        return _guarded_swing(xp, source, target, guard_m2)
    a, b = source / _length(source), target / _length(target)
    v = _cross(xp, a, b)
    cosine = (a * b).sum(-1)
    opposite = cosine < -1 + 1e-6
    # 1 / (1 + cos) is sin^2-free Rodrigues: (1 - cos) k k^T with k = v / sin.
    factor = 1 / xp.where(opposite, xp.ones_like(cosine), 1 + cosine)
    K = _skew(xp, v)
    regular = _identity(xp, a) + K + factor[..., None, None] * (K @ K)
    if not bool(opposite.any()):
        return regular
    least = _identity(xp, a)[abs(a).argmin(-1)]
    axis = _cross(xp, a, least)
    axis = axis / _length(axis)
    half_turn = 2 * axis[..., :, None] * axis[..., None, :] - _identity(xp, a)
    return xp.where(opposite[..., None, None], half_turn, regular)


def _twist_matrices(xp: ModuleType, rest: Array, twists: Array) -> Array:
    """(..., 23, 3, 3) rotations about the rest bones of joints 1..23."""
    joints = list(range(1, 24))
    bone = rest[..., [BONE_CHILD[j] for j in joints], :] - rest[..., joints, :]
    unit = twists / _length(twists)
    return _rotation_about(xp, bone / _length(bone), unit[..., 0], unit[..., 1])


def _adaptive_bone(xp: ModuleType, rest_bone: Array, target_bone: Array, from_posed: Array) -> Array:
    """The bone to aim for: from the posed joint, or the target's own (at rest length) where they disagree."""
    own = target_bone * (_length(rest_bone) / _length(target_bone))
    difference = ((from_posed - own) * (from_posed - own)).sum(-1)[..., None]
    return xp.where(difference > ADAPTIVE_LIMIT_M**2, own, from_posed)


def _root_bones(rest: Array, target: Array) -> tuple[Array, Array]:
    children = [Joint.SPINE1, Joint.LEFT_HIP, Joint.RIGHT_HIP]
    return rest[..., children, :] - rest[..., [0], :], target[..., children, :] - target[..., [0], :]


def _root_least_squares(xp: ModuleType, rest: Array, target: Array, fit: RootFit) -> Array:
    """Rotation that best takes the root's three rest bones to the target's (Kabsch)."""
    rest_bones, target_bones = _root_bones(rest, target)
    M = target_bones.swapaxes(-1, -2) @ rest_bones
    if xp is np:
        solve = nearest_rotation_svd if fit == "svd" else nearest_rotation
        return solve(cast("NDArray[np.float64]", M))
    return _torch_nearest_rotation_svd(xp, M) if fit == "svd" else _torch_nearest_rotation(xp, M)


def _root_spine_first(xp: ModuleType, rest: Array, target: Array, guard_m2: float) -> Array:
    """Closed-form root: swing the spine, then turn about it until the middle of the hips agrees."""
    rest_bones, target_bones = _root_bones(rest, target)
    spine = target_bones[..., 0, :]
    swing = _swing(xp, rest_bones[..., 0, :], spine, guard_m2)
    axis = spine / _length(spine)
    source = _apply(swing, 0.5 * (rest_bones[..., 1, :] + rest_bones[..., 2, :]))
    wanted = 0.5 * (target_bones[..., 1, :] + target_bones[..., 2, :])
    source = source - (source * axis).sum(-1)[..., None] * axis
    wanted = wanted - (wanted * axis).sum(-1)[..., None] * axis
    return _swing(xp, source, wanted, guard_m2) @ swing


def _torch_nearest_rotation(xp: ModuleType, M: Array) -> Array:
    """The closed form of hmr/geometry/nearest_rotation.py in torch operations that have useful gradients.

    The largest root comes from Newton steps downhill from its upper bound; only the last step carries the gradient,
    which by the implicit function theorem is the root's own.
    """
    wide = M.double()
    scale = (wide * wide).sum((-1, -2))[..., None, None] ** 0.5
    A = wide / (scale + _GUARD)
    a, b, c = A[..., 0, :], A[..., 1, :], A[..., 2, :]
    cofactors = xp.stack([_cross(xp, b, c), _cross(xp, c, a), _cross(xp, a, b)], -2)
    determinant = (a * cofactors[..., 0, :]).sum(-1)
    adjugate_norm = (cofactors * cofactors).sum((-1, -2))
    size = (A * A).sum((-1, -2))

    def newton(root: Array, size: Array, determinant: Array, adjugate_norm: Array) -> Array:
        gap = root * root - size
        value = gap * gap - 8 * root * determinant - 4 * adjugate_norm
        return root - value / (4 * root * gap - 8 * determinant).clamp(min=_GUARD)

    root = xp.full_like(determinant, 3.0**0.5)
    with xp.no_grad():
        for _ in range(30):
            root = newton(root, size, determinant, adjugate_norm)
    root = newton(root, size, determinant, adjugate_norm)
    kappa = 0.5 * (root * root - size)
    zeta = (kappa * root - determinant).clamp(min=_GUARD)
    numerator = (kappa + size)[..., None, None] * A + root[..., None, None] * cofactors - A @ A.swapaxes(-1, -2) @ A
    return (numerator / zeta[..., None, None]).to(M.dtype)


def _torch_nearest_rotation_svd(xp: ModuleType, M: Array) -> Array:
    U, _, Vt = xp.linalg.svd(M)
    sign = xp.linalg.det(U @ Vt)
    return xp.cat([U[..., :2], U[..., 2:] * sign[..., None, None]], -1) @ Vt
