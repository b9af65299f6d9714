"""Motion files for the tests of exports, and readers of what was exported."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bodycast.app.files.motion_file import Motion, read_motion
from bodycast.app.sinks.motion import MotionSink
from tests.sinks.results import META, result_of

FPS = 30.0


def record(path: Path, times_s: list[float], people: dict[int, range]) -> Motion:
    """A motion file in which each person is seen in the given range of frames."""
    sink = MotionSink(path, META, FPS)
    for index, time_s in enumerate(times_s):
        sink.write(result_of(index, time_s, [person for person, frames in people.items() if index in frames]))
    sink.close()
    return read_motion(path)


def recorded(motion: Motion, person: int) -> np.ndarray:
    """(F,24,3) the recorded joints, y up, the camera at the origin and looking along -z."""
    return motion.of_person(person).joints_3d * np.array([1.0, -1.0, -1.0])


def origin_of(motion: Motion, people: Sequence[int] | None = None) -> np.ndarray:
    """(3,) the exporters' origin in that frame, for a motion without a floor.

    Below the pelvis of whoever of `people` (all, unless given) is seen first, where they are first seen; a hundredth of
    all frames have a joint lower than 2 cm above it.
    """
    people = motion.person_ids if people is None else people
    first = min(people, key=lambda one: (int(motion.frame[motion.person_id == one][0]), one))
    x, _, z = recorded(motion, first)[0, 0].tolist()
    lowest = np.sort(np.concatenate([recorded(motion, one)[..., 1].min(axis=1) for one in people]))
    at = 0.01 * (len(lowest) - 1)
    below, above = lowest[int(at)], lowest[min(int(at) + 1, len(lowest) - 1)]
    return np.array([x, below + (at - int(at)) * (above - below) - 0.02, z])


def world_joints(motion: Motion, person: int, people: Sequence[int] | None = None) -> np.ndarray:
    """(F,24,3) the recorded joints in the exporters' world."""
    return recorded(motion, person) - origin_of(motion, people)


def from_the_start(motion: Motion, person: int, people: Sequence[int] | None = None) -> np.ndarray:
    """The same from frame 0 of the clip, the first pose held until the person comes (BVH knows no absence)."""
    joints = world_joints(motion, person, people)
    return np.concatenate([np.repeat(joints[:1], motion.of_person(person).frame[0], axis=0), joints])


def rotation(axis: str, degrees: float) -> np.ndarray:
    """Rotation about one axis, from the definition."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return {
        "X": np.array([[1, 0, 0], [0, c, -s], [0, s, c]]),
        "Y": np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]),
        "Z": np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]),
    }[axis]


def read_bvh(path: Path) -> tuple[dict[str, np.ndarray], float]:
    """Joint name -> (F,3) places, and the frame time: a reader that only knows the format."""
    words = path.read_text().split()
    head, tail = words[: words.index("MOTION")], words[words.index("MOTION") :]
    joints: list[tuple[str, int, np.ndarray, list[str]]] = []
    stack: list[int] = []
    index = 1
    while index < len(head):
        word = head[index]
        if word in ("ROOT", "JOINT"):
            joints.append((head[index + 1], stack[-1] if stack else -1, np.zeros(3), []))
            stack.append(len(joints) - 1)
            index += 3
        elif word == "End":
            index += 3 + 4 + 1
        elif word == "OFFSET":
            joints[stack[-1]][2][:] = [float(value) for value in head[index + 1 : index + 4]]
            index += 4
        elif word == "CHANNELS":
            count = int(head[index + 1])
            joints[stack[-1]][3].extend(head[index + 2 : index + 2 + count])
            index += 2 + count
        else:
            assert word == "}"
            stack.pop()
            index += 1
    frames, frame_time = int(tail[2]), float(tail[5])
    values = np.array([float(value) for value in tail[6:]]).reshape(frames, -1)
    places = {name: np.zeros((frames, 3)) for name, _, _, _ in joints}
    for frame, row in enumerate(values):
        numbers = iter(row.tolist())
        turns: list[np.ndarray] = []
        for name, parent, offset, channels in joints:
            move, turn = np.zeros(3), np.eye(3)
            for channel in channels:
                value = next(numbers)
                if channel.endswith("position"):
                    move["XYZ".index(channel[0])] = value
                else:
                    turn = turn @ rotation(channel[0], value)
            base = np.eye(3) if parent < 0 else turns[parent]
            origin = np.zeros(3) if parent < 0 else places[joints[parent][0]][frame]
            places[name][frame] = origin + base @ (offset + move)
            turns.append(base @ turn)
    return places, frame_time
