"""The floor as the camera sees it, and the world frame that stands on it: y up, floor at 0, right-handed, metres.

The world's origin lies on the floor below the camera, which looks along -z.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bodycast.hmr.geometry.arrays import F64

LEAST_TILT_SIN = 0.05
"""A camera that looks straight down or up has no heading of its own: then the picture's top says where -z is."""


@dataclass(frozen=True, slots=True)
class Floor:
    """`up` (3,) float64 unit vector in the camera frame; `height_m` of the camera above the floor."""

    up: F64
    height_m: float

    @staticmethod
    def from_plane(plane: F64) -> Floor:
        """Of `floor` (4,) as motion.npz has it: n.x + d is the height of a camera-frame point, m."""
        return Floor(np.asarray(plane[:3], np.float64), float(plane[3]))

    @staticmethod
    def of_angles(pitch_rad: float, roll_rad: float, height_m: float) -> Floor:
        """pitch: the camera looks down by so much; roll: about its line of sight, clockwise."""
        return Floor(up_of(pitch_rad, roll_rad), height_m)

    @property
    def plane(self) -> F64:
        """(4,) n and d: n.x + d is the height of a camera-frame point, m."""
        return np.array([*self.up, self.height_m])

    @property
    def pitch_rad(self) -> float:
        """The camera looks down by so much."""
        return float(np.arcsin(np.clip(-self.up[2], -1, 1)))

    @property
    def roll_rad(self) -> float:
        """About the line of sight, clockwise."""
        return float(np.arctan2(self.up[0], -self.up[1]))

    def heights_m(self, points: F64) -> F64:
        """Heights (...) of camera-frame points (...,3)."""
        return points @ self.up + self.height_m

    def camera_to_world(self) -> F64:
        """(4,4) rigid: camera frame -> world."""
        return camera_to_world(self.up, self.height_m)


def up_of(pitch_rad: float, roll_rad: float) -> F64:
    """(3,) unit vector, camera frame (x right, y down, z forward)."""
    cos = np.cos(pitch_rad)
    return np.array([cos * np.sin(roll_rad), -cos * np.cos(roll_rad), -np.sin(pitch_rad)])


def camera_to_world(up: F64, height_m: float) -> F64:
    """(4,4) rigid: camera frame -> the world whose y axis is `up` (3,), its floor `height_m` below the camera."""
    forward = np.array([0.0, 0.0, 1.0])
    level = forward - up * (up @ forward)
    if np.linalg.norm(level) < LEAST_TILT_SIN:
        top = np.array([0.0, -1.0, 0.0])
        level = top - up * (up @ top)
    back = -level / np.linalg.norm(level)
    matrix = np.eye(4)
    right = up[[1, 2, 0]] * back[[2, 0, 1]] - up[[2, 0, 1]] * back[[1, 2, 0]]  # np.cross costs ten times as much
    matrix[0, :3], matrix[1, :3], matrix[2, :3] = right, up, back
    matrix[1, 3] = height_m
    return matrix


LEVEL = camera_to_world(np.array([0.0, -1.0, 0.0]), 0.0)
"""(4,4) the world of a clip without a floor: a level camera at its origin."""
