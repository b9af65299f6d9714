"""Curves of a person's motion: joint angles, heights of the feet, speed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bodycast.app.files.joint_angles import angles_from
from bodycast.app.files.person_motion import Floats
from bodycast.app.viewer.scene import ScenePerson
from bodycast.hmr.body.joints import Joint
from bodycast.hmr.body.soles import sole_points

SPEED_WINDOW_S = 0.2
"""Speed is the way over so much time: from frame to frame it would show the estimate's noise."""


@dataclass(frozen=True)
class Curve:
    """`values` (F,) float32, one for each frame of the person; `group` says what is plotted together."""

    group: str
    name: str
    unit: str
    values: NDArray[np.float32]


GROUPS = ("knees and hips", "arms", "trunk", "foot heights", "speed")


def curves_of(person: ScenePerson) -> list[Curve]:
    """All curves of one person of a scene."""
    return curves_from(person.motion.time_s, *person.bones, person.soles)


def curves_from(time_s: Floats, places: Floats, turns: Floats, sole_offsets: NDArray[np.float32]) -> list[Curve]:
    """All curves of one person: time_s (F,), places (F,24,3) and global rotations (F,24,3,3) of the joints, y up,
    floor at 0, and `sole_offsets` (4,3) (hmr/body/soles.py).

    Angles, in degrees, are those of `convert --format angles` (app/files/joint_angles.py). Foot height: of the lower of
    heel and toe of the sole above the floor, m. Speed: of the pelvis along the floor, m/s.
    """
    soles = sole_points(turns.astype(np.float32), places.astype(np.float32), sole_offsets)
    angles = angles_from(turns)
    found: list[Curve] = []

    def angle(group: str, name: str, angle_name: str) -> None:
        found.append(Curve(group, name, "°", angles[angle_name].astype(np.float32)))

    for number, side in enumerate(("left", "right")):
        angle(GROUPS[0], f"{side} knee", f"knee_flexion_{side[0]}")
        angle(GROUPS[0], f"{side} hip", f"hip_flexion_{side[0]}")
        angle(GROUPS[1], f"{side} elbow", f"elbow_flexion_{side[0]}")
        angle(GROUPS[1], f"{side} shoulder", f"shoulder_elevation_{side[0]}")
        foot = soles[:, 2 * number : 2 * number + 2, 1]
        found.append(Curve(GROUPS[3], f"{side} foot", "m", foot.min(axis=1)))
    angle(GROUPS[2], "trunk from vertical", "trunk_lean")
    found.append(Curve(GROUPS[4], "speed", "m/s", _speed(time_s, places[:, Joint.PELVIS])))
    return sorted(found, key=lambda curve: GROUPS.index(curve.group))


def _speed(time_s: Floats, places: Floats) -> NDArray[np.float32]:
    """(F,) seconds, (F,3) -> (F,) m/s in the plane of the floor; 0 for a single frame."""
    first = np.searchsorted(time_s, time_s - SPEED_WINDOW_S / 2 - 1e-9)
    last = np.searchsorted(time_s, time_s + SPEED_WINDOW_S / 2 + 1e-9, side="right") - 1
    way = np.linalg.norm((places[last] - places[first])[:, [0, 2]], axis=1)
    seconds = time_s[last] - time_s[first]
    return np.divide(way, seconds, out=np.zeros(len(way)), where=seconds > 0).astype(np.float32)
