"""VMC: what a marionette gets, read with python-osc, and with vmcp where that is installed."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

pytest.importorskip("pythonosc", reason="python-osc is not installed (requirements/dev.txt)")

from bodycast.app.address import Address
from bodycast.app.senders.skeleton import BONES
from bodycast.app.senders.vmc import VmcSender
from tests.senders.receivers import (
    Messages,
    Reader,
    UnityBone,
    joints_in_world,
    on_floor,
    performer,
    play,
    unity_joints,
)

MIRROR = np.array([-1.0, 1.0, 1.0])


def bones_of(messages: Messages) -> dict[str, UnityBone]:
    return {
        str(values[0]): UnityBone(np.array(values[1:4], float), np.array(values[4:8], float))
        for address, values in messages
        if address == "/VMC/Ext/Bone/Pos"
    }


def frames_of(datagrams: list[Messages]) -> list[Messages]:
    """Messages by frame: each begins with /VMC/Ext/OK."""
    frames: list[Messages] = []
    for messages in datagrams:
        for message in messages:
            if message[0] == "/VMC/Ext/OK":
                frames.append([])
            frames[-1].append(message)
    return frames


def send(indices: range, hips: float | None = None) -> list[Messages]:
    reader = Reader()
    sender = VmcSender(reader.address, performer(hips=hips))
    for index in indices:
        sender.write(on_floor(index))
    sender.close()
    return frames_of(reader.close())


def test_a_frame_has_all_messages_of_a_performer_in_datagrams_that_fit() -> None:
    reader = Reader()
    sender = VmcSender(reader.address, performer())
    sender.write(on_floor(0))
    sender.close()
    frame = frames_of(reader.close())[0]
    assert max(map(len, reader.datagrams)) < 1472
    assert frame[0] == ("/VMC/Ext/OK", [1, 3, 0, 1])
    assert frame[1][0] == "/VMC/Ext/T" and frame[2] == ("/VMC/Ext/Root/Pos", ["root", 0, 0, 0, 0, 0, 0, 1])
    assert set(bones_of(frame)) == set(BONES) and len(frame) == 3 + len(BONES)
    for bone in bones_of(frame).values():
        assert np.linalg.norm(bone.turn) == pytest.approx(1, abs=1e-6)


def test_a_skeleton_in_unity_stands_as_the_person_does() -> None:
    """Rotations of every frame on the T-posed skeleton of the first one: the joints are ours within 5 mm."""
    frames = send(range(0, 60, 3))
    assert len(frames) == 20
    rest = bones_of(frames[0])
    origin = joints_in_world(on_floor(0))[0] * (1, 0, 1)
    worst = 0.0
    for index, frame in zip(range(0, 60, 3), frames, strict=True):
        sent = bones_of(frame)
        skeleton = {name: UnityBone(rest[name].place, sent[name].turn) for name in BONES}
        skeleton["Hips"].place = sent["Hips"].place
        found = unity_joints(skeleton)
        expected = (joints_in_world(on_floor(index))[: len(BONES)] - origin) * MIRROR
        worst = max(worst, max(np.linalg.norm(found[name] - at) for name, at in zip(BONES, expected, strict=True)))
    assert worst < 0.005


def test_the_t_pose_is_an_avatar_s_own() -> None:
    """Offsets are those of a T-pose: arms straight to the sides, legs straight down, left at Unity's -x."""
    rest = bones_of(send(range(1))[0])
    for bone, direction in (
        ("LeftLowerArm", (-1, 0, 0)),
        ("RightHand", (1, 0, 0)),
        ("LeftLowerLeg", (0, -1, 0)),
        ("RightFoot", (0, -1, 0)),
    ):
        np.testing.assert_allclose(rest[bone].place / np.linalg.norm(rest[bone].place), direction, atol=1e-6)


def test_avatar_hips_scale_the_way_and_keep_the_feet_on_the_floor() -> None:
    own, small = send(range(0, 40, 20)), send(range(0, 40, 20), hips=0.5)
    one, other = ([bones_of(frame)["Hips"].place for frame in frames] for frames in (own, small))
    ratio = other[0][1] / one[0][1]
    assert 0.4 < ratio < 0.7
    np.testing.assert_allclose(other[1] - other[0], (one[1] - one[0]) * ratio, atol=2e-3)


def test_nobody_there_costs_nothing_and_is_said_once() -> None:
    reader = Reader()
    address = reader.address
    reader.close()
    clock = iter(np.arange(0, 1000, 1e-4))
    sender = VmcSender(address, performer(), clock=lambda: float(next(clock)))
    results = [on_floor(index) for index in range(20)]
    for result in results:
        sender.write(result)
        time.sleep(0.001)
    begun = time.process_time()
    for result in results * 10:
        sender.write(result)
    cpu_ms = (time.process_time() - begun) / 200 * 1e3
    assert len(sender.warnings) == 1 and str(address) in sender.warnings[0] and "nobody listens" in sender.warnings[0]
    assert sender.latency_s is None
    assert cpu_ms < 0.02


def test_a_receiver_that_comes_later_gets_frames() -> None:
    reader = Reader()
    address = reader.address
    reader.close()
    now = [0.0]
    sender = VmcSender(address, performer(), clock=lambda: now[0])
    for index in range(5):
        sender.write(on_floor(index))
        time.sleep(0.002)
    import socket

    late = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    late.bind((address.host, address.port))
    late.settimeout(1.0)
    now[0] = 5.0
    for index in range(3):  # the first may still meet the old refusal
        sender.write(on_floor(index))
        now[0] += 2.0
    assert late.recv(2000).startswith(b"#bundle")
    late.close()
    sender.close()


def test_vmcp_reads_the_same_bones() -> None:
    """A second implementation of the protocol takes each message apart: names, places, rotations, state, time."""
    pytest.importorskip("vmcp", reason="vmcp is not installed (AGPL-3.0, for this test only)")
    from vmcp.events import BoneTransformEvent, RelativeTimeEvent, RootTransformEvent, StateEvent

    frame = send(range(1))[0]
    bones = bones_of(frame)
    kinds = {
        "/VMC/Ext/OK": StateEvent,
        "/VMC/Ext/T": RelativeTimeEvent,
        "/VMC/Ext/Root/Pos": RootTransformEvent,
        "/VMC/Ext/Bone/Pos": BoneTransformEvent,
    }
    seen = 0
    for address, values in frame:
        event = kinds[address].from_message_data("reader", address, tuple(values))
        if isinstance(event, BoneTransformEvent):
            sent = bones[event.joint.value]
            place, turn = event.position, event.rotation
            np.testing.assert_allclose((place.x, place.y, place.z), sent.place, atol=1e-6)
            np.testing.assert_allclose((turn.x, turn.y, turn.z, turn.w), sent.turn, atol=1e-6)
            seen += 1
    assert seen == len(BONES)


@pytest.mark.slow
def test_1500_of_1500_frames_arrive_at_30_frames_a_second() -> None:
    """Timed: 50 s. Nothing is lost on loopback, and a frame costs less than half a millisecond of CPU."""
    reader = Reader()
    cpu_s = play(VmcSender(reader.address, performer()))
    frames = frames_of(reader.close())
    assert len(frames) == 1500 and all(len(frame) == 3 + len(BONES) for frame in frames)
    assert cpu_s < 0.0005


@pytest.mark.slow
def test_vmcp_gets_1500_of_1500_frames() -> None:
    """Timed: 50 s. vmcp with the OSC library that it brings an adapter for."""
    pytest.importorskip("vmcp", reason="vmcp is not installed (AGPL-3.0, for this test only)")
    pytest.importorskip("osc4py3", reason="osc4py3 is not installed (for this test only)")
    from vmcp.events import BoneTransformEvent, RelativeTimeEvent
    from vmcp.facades import on_receive
    from vmcp.osc import OSC
    from vmcp.osc.backend.osc4py3 import as_eventloop

    place = Reader()
    address = place.address
    place.close()
    counts, playing = {"times": 0, "bones": 0}, threading.Event()

    def count(what: str) -> None:
        counts[what] += 1

    with OSC(as_eventloop).open() as osc:
        receiver = osc.create_receiver(address.host, address.port, "reader").open()
        on_receive(receiver, RelativeTimeEvent, lambda event: count("times"))
        on_receive(receiver, BoneTransformEvent, lambda event: count("bones"))
        thread = threading.Thread(target=lambda: (play(VmcSender(address, performer())), playing.set()))
        thread.start()
        while not playing.is_set():
            osc.run()
            time.sleep(0.002)
        for _ in range(50):
            osc.run()
    assert counts == {"times": 1500, "bones": 1500 * len(BONES)}


def test_a_frame_costs_less_than_half_a_millisecond() -> None:
    reader = Reader()
    sender = VmcSender(reader.address, performer())
    results = [on_floor(index) for index in range(20)]
    times = []
    for result in results * 5:
        before = time.thread_time()
        sender.write(result)
        times.append(time.thread_time() - before)
    sender.close()
    reader.close()
    assert np.median(times) < 0.0005


def test_an_address_that_cannot_be_is_one_line() -> None:
    from bodycast.app.address import parse_address
    from bodycast.app.errors import UsageError

    assert str(parse_address("vmc", "39539")) == "127.0.0.1:39539"
    assert parse_address("vmc", "studio.local", 39539) == Address("studio.local", 39539)
    assert parse_address("vmc", "[::1]:9") == Address("::1", 9)
    for text in ("host:0", "host:70000", "host:x", "", "a:-1"):
        with pytest.raises(UsageError, match="HOST:PORT"):
            parse_address("vmc", text)
