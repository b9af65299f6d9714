"""Curves of a person's motion: joint angles, heights of the feet, speed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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

    Angles are plain angles between two directions, in degrees:
    knee, elbow: 0 is straight; hip: between the thigh and the pelvis's downward axis; shoulder: between the upper arm
    and the trunk's downward axis; trunk: of pelvis to neck from the vertical. Foot height: of the lower of heel and toe
    of the sole above the floor, m. Speed: of the pelvis along the floor, m/s.
    """
    trunk_down = places[:, Joint.PELVIS] - places[:, Joint.NECK]
    pelvis_down = -turns[:, Joint.PELVIS, :, 1]
    soles = sole_points(turns.astype(np.float32), places.astype(np.float32), sole_offsets)
    found: list[Curve] = []

    def angle(group: str, name: str, one: Floats, other: Floats) -> None:
        found.append(Curve(group, name, "°", _angle_deg(one, other)))

    def bone(joint: str, side: str, end: str) -> Floats:
        return places[:, Joint[f"{side}_{end}"]] - places[:, Joint[f"{side}_{joint}"]]

    for side in ("LEFT", "RIGHT"):
        word = side.lower()
        thigh = bone("HIP", side, "KNEE")
        upper_arm = bone("SHOULDER", side, "ELBOW")
        angle(GROUPS[0], f"{word} knee", thigh, bone("KNEE", side, "ANKLE"))
        angle(GROUPS[0], f"{word} hip", thigh, pelvis_down)
        angle(GROUPS[1], f"{word} elbow", upper_arm, bone("ELBOW", side, "WRIST"))
        angle(GROUPS[1], f"{word} shoulder", upper_arm, trunk_down)
        first = 0 if side == "LEFT" else 2
        found.append(Curve(GROUPS[3], f"{word} foot", "m", soles[:, first : first + 2, 1].min(axis=1)))
    angle(GROUPS[2], "trunk from vertical", -trunk_down, np.broadcast_to([0.0, 1.0, 0.0], trunk_down.shape))
    found.append(Curve(GROUPS[4], "speed", "m/s", _speed(time_s, places[:, Joint.PELVIS])))
    return sorted(found, key=lambda curve: GROUPS.index(curve.group))


def _angle_deg(one: Floats, other: Floats) -> NDArray[np.float32]:
    """(F,3), (F,3) -> (F,). By atan2, which is exact near 0 and 180 degrees too."""
    sine = np.linalg.norm(np.cross(one, other), axis=1)
    return np.degrees(np.arctan2(sine, (one * other).sum(axis=1))).astype(np.float32)


def _speed(time_s: Floats, places: Floats) -> NDArray[np.float32]:
    """(F,) seconds, (F,3) -> (F,) m/s in the plane of the floor; 0 for a single frame."""
    first = np.searchsorted(time_s, time_s - SPEED_WINDOW_S / 2 - 1e-9)
    last = np.searchsorted(time_s, time_s + SPEED_WINDOW_S / 2 + 1e-9, side="right") - 1
    way = np.linalg.norm((places[last] - places[first])[:, [0, 2]], axis=1)
    seconds = time_s[last] - time_s[first]
    return np.divide(way, seconds, out=np.zeros(len(way)), where=seconds > 0).astype(np.float32)
