"""Run a command where every address leads back to this machine, and note whom it, or any process it starts, turns to.

`unshare -rnm python network_watch.py REPORT COMMAND ...`: in the empty network namespace that this makes, all of IPv4
and IPv6 is routed to the loopback device and every packet on it is read. Native code is seen as Python is; nothing gets
out. REPORT: JSON, `{"exit_code": int, "contacts": ["dns some.host", "tcp 192.0.2.7:443", ...]}`. Linux only.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
import threading
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

PROTOCOLS = {6: "tcp", 17: "udp"}
RESOLVERS = ("/run/systemd/resolve", "/run/nscd", "/var/run/nscd")
"""Resolvers of the machine that are asked over files, not over the network."""


def hide_resolvers() -> None:
    """Put an empty folder over each: names are then asked for over the network, which is watched."""
    for folder in RESOLVERS:
        if os.path.isdir(folder):
            subprocess.run(["mount", "-t", "tmpfs", "none", folder], check=True)


def route_everything_to_loopback() -> None:
    """Loopback up, with an address that looks like a network's, and all of IPv4 and IPv6 as addresses of its own."""
    set_address, get_flags, set_flags = 0x8916, 0x8913, 0x8914
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        flags = fcntl.ioctl(any_socket, get_flags, struct.pack("16sh14x", b"lo", 0))
        up = struct.unpack("16sh14x", flags)[1] | 1
        fcntl.ioctl(any_socket, set_flags, struct.pack("16sh14x", b"lo", up))
        # A machine with loopback addresses alone counts as offline, and libraries would not even ask.
        address = struct.pack("16sHH4s8x", b"lo:1", socket.AF_INET, 0, socket.inet_aton("192.0.2.1"))
        fcntl.ioctl(any_socket, set_address, address)
    for family in (socket.AF_INET, socket.AF_INET6):
        add_local_route(family)


def add_local_route(family: int) -> None:
    """`ip route add local default dev lo`, for IPv4 or IPv6; a machine without IPv6 is left without it."""
    new_route, request_ack_create = 24, 0x1 | 0x4 | 0x400
    table_local, by_administrator, scope_host, type_local, attribute_device = 255, 3, 254, 2, 4
    body = struct.pack("=8BI", family, 0, 0, 0, table_local, by_administrator, scope_host, type_local, 0)
    body += struct.pack("=HHI", 8, attribute_device, socket.if_nametoindex("lo"))
    message = struct.pack("=IHHII", 16 + len(body), new_route, request_ack_create, 1, 0) + body
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as link:
        link.send(message)
        error = struct.unpack_from("=i", link.recv(4096), 16)[0]
    if error and family == socket.AF_INET:
        raise OSError(-error, os.strerror(-error))


def contact(frame: bytes) -> str | None:
    """Whom one Ethernet frame is for, or None where it stays on the machine by its address."""
    kind = int.from_bytes(frame[12:14], "big")
    target: IPv4Address | IPv6Address
    if kind == 0x0800:
        protocol, target, payload = frame[23], ip_address(frame[30:34]), frame[14 + 4 * (frame[14] & 15) :]
    elif kind == 0x86DD:
        protocol, target, payload = frame[20], ip_address(frame[38:54]), frame[54:]
    else:
        return None
    if protocol not in PROTOCOLS or len(payload) < 8:
        return None
    port = int.from_bytes(payload[2:4], "big")
    if protocol == 6 and (len(payload) < 14 or payload[13] & 0x12 != 0x02):
        return None  # TCP, but no first packet: answers go to the port that a caller happens to have
    if protocol == 17 and port == 53:
        return f"dns {question(payload[20:])}"
    return None if target.is_loopback else f"{PROTOCOLS[protocol]} {target}:{port}"


def question(body: bytes) -> str:
    """The name that a DNS query asks for."""
    labels: list[str] = []
    while body and body[0]:
        labels.append(body[1 : 1 + body[0]].decode("ascii", "replace"))
        body = body[1 + body[0] :]
    return ".".join(labels)


def listen(raw: socket.socket, contacts: set[str]) -> None:
    """Read packets until the program ends."""
    while True:
        found = contact(raw.recv(65535))
        if found is not None:
            contacts.add(found)


def main(report: str, command: list[str]) -> int:
    """Set up, run, report."""
    hide_resolvers()
    route_everything_to_loopback()
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    raw.bind(("lo", 0))
    contacts: set[str] = set()
    threading.Thread(target=listen, args=(raw, contacts), daemon=True).start()
    done = subprocess.run(command, check=False)
    result = {"exit_code": done.returncode, "contacts": sorted(contacts)}
    Path(report).write_text(json.dumps(result), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
