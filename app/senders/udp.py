"""Datagrams to a program that may not be there."""

from __future__ import annotations

import time
from collections.abc import Callable

from bodycast.app.address import Address, udp_socket

RETRY_S = 1.0
"""After a refusal nothing is made or sent for so long: a receiver that is not there costs nothing."""


class UdpSender:
    """Sends datagrams and never waits. What goes wrong is said once, in `warnings`."""

    def __init__(self, flag: str, address: Address, clock: Callable[[], float] = time.monotonic) -> None:
        """flag: for messages. Raises: UsageError where the host is not known."""
        self.warnings: list[str] = []
        self.address = address
        self._flag = flag
        self._clock = clock
        self._socket = udp_socket(flag, address)
        self._quiet_until_s = float("-inf")
        self._closed = False

    @property
    def ready(self) -> bool:
        """False for a second after the receiver was found missing: nothing need be made for it."""
        return not self._closed and self._clock() >= self._quiet_until_s

    def send(self, datagram: bytes) -> bool:
        """Send one; False where the system did not take it."""
        if not self.ready:
            return False
        try:
            self._socket.send(datagram)
        except BlockingIOError:
            return False  # the system's buffer is full: this frame is lost, the next one is newer
        except ConnectionRefusedError:
            self._pause("nobody listens there yet; the run goes on, and sending begins when somebody does")
            return False
        except OSError as error:
            self._pause(f"cannot be sent ({error.strerror or error}); the run goes on, and it is tried again")
            return False
        return True

    def close(self) -> None:
        """May be called twice."""
        self._closed = True
        self._socket.close()

    def _pause(self, why: str) -> None:
        self._quiet_until_s = self._clock() + RETRY_S
        if not self.warnings:
            self.warnings.append(f"--{self._flag} {self.address}: {why}")
