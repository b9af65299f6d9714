"""Biovision hierarchy (.bvh): skeleton and Euler angles in degrees at a steady rate, for one person.

Channel order Z, X, Y: a rotation is Rz @ Rx @ Ry, each joint's relative to its parent.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bodycast.app.files.person_motion import PersonMotion
from bodycast.hmr.body.joints import JOINT_NAMES, NUM_JOINTS, PARENTS

Floats = NDArray[np.float64]

END_BONE_SHARE = 0.6
"""Length of the bone that ends a limb, relative to the bone before it; BVH wants one, the skeleton has none."""

_GIMBAL = 1e-6


def encode(person: PersonMotion, fps: float, centimetres: bool = False, names: Sequence[str] = JOINT_NAMES) -> bytes:
    """The file's content. `person` must be at a steady rate of `fps`. names: (24,) of the joints."""
    scale = 100.0 if centimetres else 1.0
    order: list[int] = []
    lines = ["HIERARCHY"]
    _add_joint(0, 0, person.offsets_m * scale, lines, order, names)
    lines += ["MOTION", f"Frames: {len(person)}", f"Frame Time: {1.0 / fps:.9f}"]
    angles = np.rad2deg(np.unwrap(matrix_to_euler_zxy(person.rotations), axis=0))[:, order]
    table = np.concatenate([person.root_m * scale, angles.reshape(len(person), -1)], axis=1)
    lines += [" ".join(f"{value:.6f}" for value in row) for row in table.tolist()]
    return ("\n".join(lines) + "\n").encode("ascii")


def matrix_to_euler_zxy(matrix: Floats) -> Floats:
    """(...,3,3) -> (...,3) radians z, x, y with matrix = Rz @ Rx @ Ry; y is 0 where x is a right angle."""
    cosine_x = np.hypot(matrix[..., 2, 0], matrix[..., 2, 2])
    x = np.arctan2(matrix[..., 2, 1], cosine_x)
    locked = cosine_x < _GIMBAL
    y = np.where(locked, 0.0, np.arctan2(-matrix[..., 2, 0], matrix[..., 2, 2]))
    z = np.where(
        locked,
        np.arctan2(matrix[..., 1, 0], matrix[..., 0, 0]),
        np.arctan2(-matrix[..., 0, 1], matrix[..., 1, 1]),
    )
    return np.stack([z, x, y], axis=-1)


def _add_joint(
    joint: int, depth: int, offsets: Floats, lines: list[str], order: list[int], names: Sequence[str]
) -> None:
    """Append this joint and those below it; `order` collects the joints in the order of the motion's columns."""
    indent, inner = "  " * depth, "  " * (depth + 1)
    order.append(joint)
    kind = "ROOT" if depth == 0 else "JOINT"
    places = "6 Xposition Yposition Zposition" if depth == 0 else "3"
    lines += [
        f"{indent}{kind} {names[joint]}",
        f"{indent}{{",
        f"{inner}OFFSET {_numbers(offsets[joint])}",
        f"{inner}CHANNELS {places} Zrotation Xrotation Yrotation",
    ]
    children = [child for child in range(NUM_JOINTS) if PARENTS[child] == joint]
    for child in children:
        _add_joint(child, depth + 1, offsets, lines, order, names)
    if not children:
        end = offsets[joint] * END_BONE_SHARE
        lines += [f"{inner}End Site", f"{inner}{{", f"{inner}  OFFSET {_numbers(end)}", f"{inner}}}"]
    lines.append(f"{indent}}}")


def _numbers(vector: Floats) -> str:
    return " ".join(f"{value:.6f}" for value in vector.tolist())
