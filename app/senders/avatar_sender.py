"""What the senders of an avatar over UDP have in common: one pose a frame, rest without one, newest first."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from bodycast.app.address import Address
from bodycast.app.records import FrameResult
from bodycast.app.senders.performer import AvatarPose, Performer
from bodycast.app.senders.udp import UdpSender


class AvatarSender(ABC):
    """A `Sender`; `_send_pose` says what goes out."""

    needs_picture = False

    def __init__(
        self,
        name: str,
        address: Address,
        performer: Performer,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raises: UsageError where the host is not known."""
        self._udp = UdpSender(name, address, clock)
        self._name = name
        self._performer = performer
        self._clock = clock
        self._latency_s: float | None = None

    @abstractmethod
    def _send_pose(self, pose: AvatarPose) -> bool:
        """Send it; whether everything went out."""

    @abstractmethod
    def describe(self) -> str:
        """See `Sender`."""

    @property
    def name(self) -> str:
        """For messages."""
        return self._name

    @property
    def warnings(self) -> Sequence[str]:
        """See `Sender`."""
        return self._udp.warnings

    @property
    def latency_s(self) -> float | None:
        """See `Sender`."""
        return self._latency_s

    def write(self, result: FrameResult) -> None:
        """Send one frame."""
        self._latency_s = self._clock() - result.frame.time_s if self._send(result) else None

    def idle(self) -> None:
        """Without frames the avatar comes to rest."""
        self._send(None)

    def recentre(self) -> None:
        """See `Sender`."""
        self._performer.recentre()

    def close(self) -> None:
        """May be called twice."""
        self._udp.close()

    def _send(self, result: FrameResult | None) -> bool:
        return self._udp.ready and self._send_pose(self._performer.follow(result))
