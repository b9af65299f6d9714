"""VRChat's trackers, read with python-osc and turned back by Unity's rule for Euler angles."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("pythonosc", reason="python-osc is not installed (requirements/dev.txt)")

from bodycast.app.senders.vrchat import TRACKERS, VrchatSender, unity_angles
from bodycast.hmr.body.joints import Joint
from tests.senders.receivers import Reader, joints_in_world, on_floor, performer, play

JOINTS = {
    "1": Joint.PELVIS,
    "2": Joint.SPINE3,
    "3": Joint.LEFT_ANKLE,
    "4": Joint.RIGHT_ANKLE,
    "5": Joint.LEFT_KNEE,
    "6": Joint.RIGHT_KNEE,
    "7": Joint.LEFT_ELBOW,
    "8": Joint.RIGHT_ELBOW,
    "head": Joint.HEAD,
}


def about(axis: int, degrees: float) -> np.ndarray:
    """(3,3) turn about an axis."""
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    one, other = [(1, 2), (2, 0), (0, 1)][axis]
    turn = np.eye(3)
    turn[one, one] = turn[other, other] = cos
    turn[one, other], turn[other, one] = -sin, sin
    return turn


def sent(indices: range) -> list[dict[str, np.ndarray]]:
    reader = Reader()
    sender = VrchatSender(reader.address, performer())
    for index in indices:
        sender.write(on_floor(index))
    sender.close()
    frames = reader.close()
    assert max(map(len, reader.datagrams)) < 1472
    return [{address: np.array(values, float) for address, values in frame} for frame in frames]


def test_trackers_are_where_the_joints_are() -> None:
    indices = range(0, 40, 8)
    frames = sent(indices)
    assert len(frames) == len(indices)
    origin = joints_in_world(on_floor(0))[0] * (1, 0, 1)
    for index, frame in zip(indices, frames, strict=True):
        joints = (joints_in_world(on_floor(index)) - origin) * (-1, 1, 1)
        assert set(frame) == {
            f"/tracking/trackers/{name}/{what}" for name in JOINTS for what in ("position", "rotation")
        }
        for name, joint in JOINTS.items():
            np.testing.assert_allclose(frame[f"/tracking/trackers/{name}/position"], joints[joint], atol=5e-3)


def test_angles_are_unity_s() -> None:
    """z first, then x, then y: a tracker's own axes come out as the hips' are in the mirrored world."""
    frame = sent(range(7, 8))[0]
    x, y, z = frame["/tracking/trackers/1/rotation"]
    turn = about(1, y) @ about(0, x) @ about(2, z)
    result = on_floor(7)
    assert result.world is not None
    root = result.world.camera_to_world[:3, :3] @ result.estimates.pose[0, 0]
    mirror = np.diag([-1.0, 1.0, 1.0])
    np.testing.assert_allclose(turn, mirror @ root @ mirror, atol=1e-5)


def test_angles_of_known_turns() -> None:
    for angles in ((30, -70, 110), (-80, 10, 0), (0, 180, 0)):
        x, y, z = angles
        turn = about(1, y) @ about(0, x) @ about(2, z)
        back = unity_angles(turn[None])[0]
        np.testing.assert_allclose(about(1, back[1]) @ about(0, back[0]) @ about(2, back[2]), turn, atol=1e-9)


def test_there_are_eight_trackers_and_the_head() -> None:
    assert [name for name, _, _ in TRACKERS] == [*map(str, range(1, 9)), "head"]


@pytest.mark.slow
def test_1500_of_1500_frames_arrive_at_30_frames_a_second() -> None:
    """Timed: 50 s."""
    reader = Reader()
    cpu_s = play(VrchatSender(reader.address, performer()))
    frames = reader.close()
    print(f"{len(frames)} frames, {1000 * cpu_s:.2f} ms of CPU each")
    assert len(frames) == 1500 and all(len(frame) == 2 * len(JOINTS) for frame in frames)
