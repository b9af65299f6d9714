"""Programs at the other end: UDP readers with python-osc, and a skeleton as Unity has it."""

from __future__ import annotations

import socket
import threading
import time
from dataclasses import dataclass, replace

import numpy as np
from pythonosc.osc_bundle import OscBundle

from bodycast.app.address import Address
from bodycast.app.records import FrameResult, FrameWorld
from bodycast.app.senders.base import Sender
from bodycast.app.senders.performer import Performer
from bodycast.app.senders.skeleton import BONE_PARENTS, BONES
from tests.sinks.results import embedded_body, result_of

Messages = list[tuple[str, list[object]]]


class Reader:
    """Listens at a port of its own; every datagram is kept, and taken apart by python-osc when asked for."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(0.05)
        self.datagrams: list[bytes] = []
        self._open = True
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    @property
    def address(self) -> Address:
        return Address("127.0.0.1", self._socket.getsockname()[1])

    def _read(self) -> None:
        while self._open:
            try:
                self.datagrams.append(self._socket.recv(65536))
            except TimeoutError:
                continue

    def close(self) -> list[Messages]:
        """Stop; the messages of each datagram."""
        threading.Event().wait(0.1)
        self._open = False
        self._thread.join(2)
        self._socket.close()
        return [messages_of(datagram) for datagram in self.datagrams]


def messages_of(datagram: bytes) -> Messages:
    """Of one OSC bundle, by python-osc."""
    assert OscBundle.dgram_is_bundle(datagram)
    return [(message.address, list(message.params)) for message in OscBundle(datagram)]


@dataclass
class UnityBone:
    """A transform as Unity has it: local place and rotation (x, y, z, w), left-handed, y up."""

    place: np.ndarray
    turn: np.ndarray


def unity_joints(bones: dict[str, UnityBone]) -> dict[str, np.ndarray]:
    """Places of all bones in Unity's world, by its own rule: world = parent's turn applied to the local place."""
    places: dict[str, np.ndarray] = {}
    turns: dict[str, np.ndarray] = {}
    for bone, parent in zip(BONES, BONE_PARENTS, strict=True):
        local = bones[bone]
        if parent < 0:
            places[bone], turns[bone] = local.place, local.turn
        else:
            above = BONES[parent]
            places[bone] = places[above] + rotated(turns[above], local.place)
            turns[bone] = multiplied(turns[above], local.turn)
    return places


def multiplied(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Product of quaternions x, y, z, w; the algebra is the same in left-handed frames."""
    v, w, u, s = one[:3], one[3], other[:3], other[3]
    return np.array([*(w * u + s * v + np.cross(v, u)), w * s - v @ u])


def rotated(turn: np.ndarray, point: np.ndarray) -> np.ndarray:
    """A point turned by a quaternion x, y, z, w."""
    v, w = turn[:3], turn[3]
    return point + 2 * np.cross(v, np.cross(v, point) + w * point)


def rest_joints() -> np.ndarray:
    """(24,3) of the embedded body at rest."""
    pose = np.tile(np.eye(3, dtype=np.float32), (1, 24, 1, 1))
    return embedded_body()(pose, np.zeros((1, 10), np.float32), np.zeros((1, 3), np.float32)).joints[0]


def performer(person: str = "largest", hips: float | None = None, clock: object = None) -> Performer:
    """A performer that knows the embedded body."""
    return Performer(person, rest_joints(), hips, **({} if clock is None else {"clock": clock}))  # type: ignore[arg-type]


def on_floor(index: int, people: tuple[int, ...] = (1,), time_s: float | None = None) -> FrameResult:
    """A frame whose camera looks 12 degrees down; the floor is known, and person 1 of frame 0 stands on it."""
    result = result_of(index, time_s, people=people)
    pitch = np.deg2rad(-12.0)
    turn = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
    to_world = np.eye(4)
    to_world[:3, :3] = turn @ np.diag([1.0, -1.0, -1.0])
    to_world[1, 3] = 0.02 - float((result_of(0, people=[1]).bodies.joints[0] @ to_world[1, :3]).min())
    floor = to_world[1].copy()
    contacts = np.tile(np.array([0.9, 0.8, 0.1, 0.2], np.float32), (len(people), 1))
    return replace(result, world=FrameWorld(contacts, floor, to_world))


def joints_in_world(result: FrameResult, row: int = 0) -> np.ndarray:
    """(24,3) joints of a person in the frame's world, y up, right-handed."""
    assert result.world is not None
    to_world = result.world.camera_to_world
    return result.bodies.joints[row] @ to_world[:3, :3].T + to_world[:3, 3]


def play(sender: Sender) -> float:
    """1,500 frames at 30 frames a second; CPU seconds per frame."""
    results = [on_floor(index) for index in range(30)]
    begun, cpu_s = time.perf_counter(), 0.0
    for index in range(1500):
        time.sleep(max(0.0, begun + index / 30 - time.perf_counter()))
        before = time.thread_time()
        sender.write(results[index % 30])
        cpu_s += time.thread_time() - before
    sender.close()
    return cpu_s / 1500
