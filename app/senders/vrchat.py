"""VRChat's OSC trackers: eight places on the body, and the head, which its space is aligned to.

Places in metres and Euler angles in degrees, in Unity's left-handed frame; angles are applied in the order z, x, y.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from bodycast.app.address import Address
from bodycast.app.senders.avatar_sender import AvatarSender
from bodycast.app.senders.osc import Bundle, Message
from bodycast.app.senders.performer import AvatarPose, Performer
from bodycast.app.senders.skeleton import BONES, UNITY_PLACE, bones_in_world, matrices
from bodycast.hmr.geometry.arrays import F64

DEFAULT_PORT = 9000

TRACKERS: tuple[tuple[str, str, str], ...] = (
    ("1", "Hips", "Hips"),
    ("2", "UpperChest", "UpperChest"),
    ("3", "LeftFoot", "LeftFoot"),
    ("4", "RightFoot", "RightFoot"),
    ("5", "LeftLowerLeg", "LeftUpperLeg"),
    ("6", "RightLowerLeg", "RightUpperLeg"),
    ("7", "LeftLowerArm", "LeftUpperArm"),
    ("8", "RightLowerArm", "RightUpperArm"),
    ("head", "Head", "Head"),
)
"""Tracker, the bone at whose beginning it sits (knee, elbow), and the bone that it turns with (thigh, upper arm)."""

_AT = np.array([BONES.index(at) for _, at, _ in TRACKERS])
_WITH = np.array([BONES.index(turning) for _, _, turning in TRACKERS])
_MIRROR = np.outer(UNITY_PLACE, UNITY_PLACE)
_LAYOUT: tuple[Message, ...] = tuple(
    (f"/tracking/trackers/{tracker}/{what}", (0.0, 0.0, 0.0))
    for tracker, _, _ in TRACKERS
    for what in ("position", "rotation")
)


class VrchatSender(AvatarSender):
    """`Sender`: one person as trackers. Nothing is scaled: VRChat knows its user's height."""

    def __init__(self, address: Address, performer: Performer, clock: Callable[[], float] = time.monotonic) -> None:
        """Raises: UsageError where the host is not known."""
        super().__init__("vrchat", address, performer, clock)
        self._bundle = Bundle(_LAYOUT)

    def describe(self) -> str:
        """See `Sender`."""
        return f"VRChat's trackers to {self._udp.address}"

    def _send_pose(self, pose: AvatarPose) -> bool:
        places, angles = trackers(pose)
        return self._udp.send(self._bundle.packed(np.concatenate([places, angles], axis=1).reshape(-1)))


def trackers(pose: AvatarPose) -> tuple[F64, F64]:
    """(9,3) places, m, and (9,3) Euler angles, degrees, in Unity's frame, in the order of TRACKERS."""
    turns, places = bones_in_world(matrices(pose.rotations), pose.places_m)
    return places[_AT] * UNITY_PLACE, unity_angles(turns[_WITH] * _MIRROR)


def unity_angles(turns: F64) -> F64:
    """(N,3,3) rotations -> (N,3) x, y, z in degrees with turn = Ry Rx Rz, as Unity's inspector has them."""
    x = np.arcsin(np.clip(-turns[:, 1, 2], -1, 1))
    y = np.arctan2(turns[:, 0, 2], turns[:, 2, 2])
    z = np.arctan2(turns[:, 1, 0], turns[:, 1, 1])
    return np.rad2deg(np.stack([x, y, z], axis=1))
