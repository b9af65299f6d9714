"""The VMC protocol (protocol.vmc.info): a humanoid avatar's bones over OSC, for VTuber programs, Unity and Blender.

We are its performer, which works out all bones, the receiver its marionette. Bones are turned relative to their parents
from the avatar's T-pose, in Unity's left-handed frame with y up, in metres.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from bodycast.app.address import Address
from bodycast.app.senders.avatar_sender import AvatarSender
from bodycast.app.senders.osc import Message, bundles
from bodycast.app.senders.performer import AvatarPose, Performer
from bodycast.app.senders.skeleton import BONES, UNITY_PLACE, UNITY_TURN

DEFAULT_PORT = 39539
LOADED, CALIBRATED, NORMAL_MODE = 1, 3, 0

_TRANSFORM = (0.0,) * 7
_LAYOUT: tuple[Message, ...] = (
    ("/VMC/Ext/OK", (LOADED, CALIBRATED, NORMAL_MODE, 1)),
    ("/VMC/Ext/T", (0.0,)),
    ("/VMC/Ext/Root/Pos", ("root", 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)),
    *(("/VMC/Ext/Bone/Pos", (bone, *_TRANSFORM)) for bone in BONES),
)
_ROOT = np.array([0, 0, 0, 0, 0, 0, 1.0])


class VmcSender(AvatarSender):
    """`Sender`: one person as an avatar."""

    def __init__(self, address: Address, performer: Performer, clock: Callable[[], float] = time.monotonic) -> None:
        """Raises: UsageError where the host is not known."""
        super().__init__("vmc", address, performer, clock)
        self._start_s = clock()
        self._bundles = bundles(_LAYOUT)

    def describe(self) -> str:
        """See `Sender`."""
        return f"VMC to {self._udp.address}"

    def _send_pose(self, pose: AvatarPose) -> bool:
        numbers, sent = _numbers(pose, self._clock() - self._start_s), True
        for bundle in self._bundles:
            ints = (LOADED, CALIBRATED, NORMAL_MODE, int(pose.seen)) if bundle is self._bundles[0] else None
            sent &= self._udp.send(bundle.packed(numbers[: bundle.float_count], ints))
            numbers = numbers[bundle.float_count :]
        return sent


def _numbers(pose: AvatarPose, time_s: float) -> np.ndarray:
    """All floats of `_LAYOUT`, in order."""
    bones = np.concatenate([pose.places_m * UNITY_PLACE, pose.rotations * UNITY_TURN], axis=1)
    return np.concatenate([[time_s], _ROOT, bones.reshape(-1)])
