"""Addresses as users write them: HOST:PORT, and files."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass
from pathlib import Path
from urllib.request import url2pathname

from bodycast.app.errors import UsageError

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Address:
    """`host` is a name or a number without brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether it can be reached from this machine alone."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def parse_address(flag: str, text: str, default_port: int | None = None) -> Address:
    """`HOST:PORT`, `PORT` alone (this machine) or, with a default port, `HOST` alone. Raises: UsageError."""
    host, colon, port = text.strip().rpartition(":")
    if not colon:
        host, port = (LOOPBACK, port) if port.isdigit() or default_port is None else (port, str(default_port))
    host = host.removeprefix("[").removesuffix("]") or LOOPBACK
    if not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65535):
        raise UsageError(f"--{flag} {text}: expected HOST:PORT, or PORT alone for this machine; ports are 1 to 65535")
    return Address(host, int(port))


def udp_socket(flag: str, address: Address) -> socket.socket:
    """A UDP socket that sends to `address` and never waits. Raises: UsageError where the name is not known."""
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_DGRAM)
        family, kind, protocol, _, place = found[0]
        made = socket.socket(family, kind, protocol)
        made.setblocking(False)
        made.connect(place)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"--{flag} {address}: {reason}") from error
    return made


def local_path(spec: str) -> Path:
    """The path that a word for a file means: a `file://` address is one too."""
    scheme = "file://"
    return Path(url2pathname(spec[len(scheme) :]) if spec.lower().startswith(scheme) else spec)
