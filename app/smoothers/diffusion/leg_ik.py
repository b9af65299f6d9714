"""Two-bone inverse kinematics: bend knees and turn hips so that ankles are where they should be.

The law of cosines gives the knee's angle, the shortest turn the hip's (as in any animation package). The feet keep
their orientation. A leg is never stretched: what is out of its reach is approached as far as it goes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bodycast.app.records import F32
from bodycast.hmr.body.joints import Joint
from bodycast.hmr.geometry.rotations import axis_angle_to_matrix

HIPS = [int(Joint.LEFT_HIP), int(Joint.RIGHT_HIP)]
KNEES = [int(Joint.LEFT_KNEE), int(Joint.RIGHT_KNEE)]
ANKLES = [int(Joint.LEFT_ANKLE), int(Joint.RIGHT_ANKLE)]
FEET = [int(Joint.LEFT_FOOT), int(Joint.RIGHT_FOOT)]
_STRAIGHT = 0.998
"""Longest reach, in units of the leg's length, of a leg that was not as straight as that before."""

_NO_PLANE = 0.05
"""Sine of the knee's angle below which the leg's own plane is not told by its bend."""

_TINY = 1e-8


@dataclass(frozen=True, slots=True)
class Legs:
    """Both legs of N people: the root's rotation (N,3,3), rotations (N,2,3,3) and places (N,2,3), m, of hips, knees and
    ankles, and places of the feet, in the frame of root and translation."""

    root: F32
    hip: F32
    knee: F32
    ankle: F32
    hip_m: F32
    knee_m: F32
    ankle_m: F32
    foot_m: F32


def legs_of(pose: F32, rest_m: F32, transl_m: F32) -> Legs:
    """Forward kinematics of the legs alone. pose (N,24,3,3), rest joints (N,24,3), translations (N,3)."""
    root = pose[:, 0]
    both = root[:, None]
    hip = (both @ pose[:, HIPS]).astype(np.float32)
    knee = (hip @ pose[:, KNEES]).astype(np.float32)
    ankle = (knee @ pose[:, ANKLES]).astype(np.float32)
    pelvis = (rest_m[:, 0] + transl_m)[:, None]
    hip_m = pelvis + _turned(both, rest_m[:, HIPS] - rest_m[:, :1])
    knee_m = hip_m + _turned(hip, rest_m[:, KNEES] - rest_m[:, HIPS])
    ankle_m = knee_m + _turned(knee, rest_m[:, ANKLES] - rest_m[:, KNEES])
    foot_m = ankle_m + _turned(ankle, rest_m[:, FEET] - rest_m[:, ANKLES])
    return Legs(root, hip, knee, ankle, hip_m, knee_m, ankle_m, foot_m)


def reach(pose: F32, legs: Legs, move_m: F32) -> F32:
    """The pose (N,24,3,3) whose ankles are moved by (N,2,3) metres, as far as the legs go."""
    thigh, shin, to_ankle = legs.knee_m - legs.hip_m, legs.ankle_m - legs.knee_m, legs.ankle_m - legs.hip_m
    a, b, now = _length(thigh), _length(shin), _length(to_ankle)
    wanted = to_ankle + move_m
    longest = np.maximum(_STRAIGHT * (a + b), now)
    reached = np.clip(_length(wanted), np.abs(a - b) + 0.01 * a, longest)
    bend = axis_angle_to_matrix((_interior(a, b, now) - _interior(a, b, reached)) * _bend_axis(legs, thigh, shin))
    swing = _shortest_turn(thigh + _turned(bend, shin), wanted)
    hip, knee = swing @ legs.hip, swing @ bend @ legs.knee
    out = pose.copy()
    out[:, HIPS] = legs.root[:, None].swapaxes(-1, -2) @ hip
    out[:, KNEES] = hip.swapaxes(-1, -2) @ knee
    out[:, ANKLES] = knee.swapaxes(-1, -2) @ legs.ankle
    return out


def _interior(a: F32, b: F32, c: F32) -> F32:
    """Angle at the knee, of sides a and b opposite to c."""
    return np.arccos(np.clip((a * a + b * b - c * c) / np.maximum(2 * a * b, _TINY), -1, 1))


def _bend_axis(legs: Legs, thigh: F32, shin: F32) -> F32:
    """(N,2,3) axis about which the shin turns to bend the knee further. Of a straight leg, the knee's own: at rest the
    body faces z and its knees bend about x."""
    axis = np.cross(thigh, shin)
    size = _length(axis)
    along = thigh / np.maximum(_length(thigh), _TINY)
    own = legs.hip[..., 0]
    own = own - (own * along).sum(-1, keepdims=True) * along
    axis = np.where(size > _NO_PLANE * _length(thigh) * _length(shin), axis, own)
    return (axis / np.maximum(_length(axis), _TINY)).astype(np.float32)


def _shortest_turn(first: F32, second: F32) -> F32:
    """Rotations that take directions (N,2,3) to others, not opposite ones."""
    axis = np.cross(first, second)
    sine = _length(axis)
    angle = np.arctan2(sine, (first * second).sum(-1, keepdims=True))
    return axis_angle_to_matrix((axis / np.maximum(sine, _TINY) * angle).astype(np.float32))


def _turned(rotations: F32, vectors: F32) -> F32:
    return (rotations @ vectors[..., None])[..., 0]


def _length(vectors: F32) -> F32:
    return np.sqrt(np.square(vectors).sum(-1, keepdims=True))
