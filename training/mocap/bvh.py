"""Reader for BVH motion clips, plain or gzipped.

Format: Biovision hierarchy, as described by Meredith and Maddock, "Motion Capture File Formats Explained",
University of Sheffield CS-01-11. Angles are degrees; rotations of a joint multiply in the order in which its
channels are declared.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_AXES = {"X": 0, "Y": 1, "Z": 2}


class BvhError(ValueError):
    """A BVH file that cannot be read; the message is one line that says why."""


@dataclass(frozen=True)
class BvhClip:
    """A motion clip. Lengths are in the file's own unit.

    names: J joints, a parent before its children. parents (J,) int64, -1 for the root. offsets (J,3): place in the
    parent's frame at rest. end_offsets: joint index -> offset of the bone's end, for joints with an End Site.
    rotations (T,J,3,3): relative to the parent. positions (T,3): place of the root, its offset included. fps:
    frames per second.
    """

    names: tuple[str, ...]
    parents: NDArray[np.int64]
    offsets: NDArray[np.float64]
    end_offsets: dict[int, NDArray[np.float64]]
    rotations: NDArray[np.float64]
    positions: NDArray[np.float64]
    fps: float

    def rest_places(self) -> NDArray[np.float64]:
        """(J,3) places of the joints at rest, root at its offset."""
        places = self.offsets.copy()
        for joint, parent in enumerate(self.parents):
            if parent >= 0:
                places[joint] += places[parent]
        return places


def load_bvh(path: Path, moving_bones: bool = False) -> BvhClip:
    """Read `.bvh` or `.bvh.gz`. Raises BvhError when the file is damaged, and OSError when it cannot be opened.

    moving_bones: accept bones with positions of their own, as MakeHuman writes them, and pass over these positions.
    """
    try:
        if path.suffix == ".gz":
            with gzip.open(path, "rt", encoding="utf-8") as stream:
                text = stream.read()
        else:
            text = path.read_text(encoding="utf-8")
    except (gzip.BadGzipFile, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise BvhError(f"{path}: not a readable text or gzip file ({error})") from error
    try:
        return parse_bvh(text, moving_bones)
    except BvhError as error:
        raise BvhError(f"{path}: {error}") from error


def parse_bvh(text: str, moving_bones: bool = False) -> BvhClip:
    """The clip that a BVH text describes. Raises BvhError."""
    hierarchy, found, motion = text.partition("MOTION")
    if not found:
        raise BvhError("expected a MOTION section, found none")
    skeleton = _parse_hierarchy(iter(hierarchy.split()))
    frames, frame_time_s = _parse_motion(motion, len(skeleton.channels))
    rotations = np.broadcast_to(np.eye(3), (len(frames), len(skeleton.names), 3, 3)).copy()
    positions = np.broadcast_to(skeleton.offsets[0], (len(frames), 3)).copy()
    for column, (joint, channel) in enumerate(skeleton.channels):
        axis = _AXES[channel[0]]
        if channel.endswith("rotation"):
            rotations[:, joint] = rotations[:, joint] @ axis_rotation(axis, np.deg2rad(frames[:, column]))
        elif joint == 0:
            positions[:, axis] += frames[:, column]
        elif not moving_bones:
            raise BvhError(f"joint {skeleton.names[joint]} moves by {channel}; only the root may have positions")
    return BvhClip(
        names=tuple(skeleton.names),
        parents=np.array(skeleton.parents, dtype=np.int64),
        offsets=np.array(skeleton.offsets),
        end_offsets=skeleton.end_offsets,
        rotations=rotations,
        positions=positions,
        fps=1.0 / frame_time_s,
    )


def axis_rotation(axis: int, angle_rad: NDArray[np.float64]) -> NDArray[np.float64]:
    """(T,3,3) rotations by `angle_rad` (T,) about the coordinate axis 0, 1 or 2."""
    rotation = np.zeros((len(angle_rad), 3, 3))
    second, third = (axis + 1) % 3, (axis + 2) % 3
    rotation[:, axis, axis] = 1.0
    rotation[:, second, second] = rotation[:, third, third] = np.cos(angle_rad)
    rotation[:, third, second] = np.sin(angle_rad)
    rotation[:, second, third] = -np.sin(angle_rad)
    return rotation


class _Skeleton:
    """What the HIERARCHY section fills in, word by word."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.parents: list[int] = []
        self.offsets: list[NDArray[np.float64]] = []
        self.end_offsets: dict[int, NDArray[np.float64]] = {}
        self.channels: list[tuple[int, str]] = []  # (joint, e.g. "Zrotation"), in the order of the numbers of a frame


def _parse_hierarchy(words: Iterator[str]) -> _Skeleton:
    skeleton = _Skeleton()
    open_joints: list[int] = []
    pending = -1  # the joint, or the owner of the End Site, that the next brace opens
    in_end_site = False
    try:
        for word in words:
            if word in ("ROOT", "JOINT"):
                skeleton.parents.append(open_joints[-1] if open_joints else -1)
                skeleton.names.append(next(words))
                skeleton.offsets.append(np.zeros(3))
                pending = len(skeleton.names) - 1
            elif word == "End":
                next(words)  # "Site"
                pending, in_end_site = open_joints[-1], True
            elif word == "{":
                open_joints.append(pending)
            elif word == "}":
                open_joints.pop()
                in_end_site = False
            elif word == "OFFSET":
                offset = np.array([float(next(words)) for _ in range(3)])
                if in_end_site:
                    skeleton.end_offsets[open_joints[-1]] = offset
                else:
                    skeleton.offsets[open_joints[-1]] = offset
            elif word == "CHANNELS":
                for _ in range(int(next(words))):
                    skeleton.channels.append((open_joints[-1], _channel(next(words))))
            elif word != "HIERARCHY":
                raise BvhError(f"expected a keyword of the hierarchy, got '{word}'")
    except (StopIteration, IndexError) as error:
        raise BvhError("the hierarchy ends early or has a brace too many") from error
    except BvhError:
        raise
    except ValueError as error:
        raise BvhError(f"expected a number in the hierarchy ({error})") from error
    if open_joints or not skeleton.names:
        raise BvhError("the hierarchy holds no joint or a brace that is not closed")
    return skeleton


def _channel(word: str) -> str:
    if word[:1] not in _AXES or word[1:] not in ("rotation", "position"):
        raise BvhError(f"expected a channel such as Zrotation, got '{word}'")
    return word


def _parse_motion(text: str, channel_count: int) -> tuple[NDArray[np.float64], float]:
    """(T,C) numbers of the frames, and the seconds between two of them."""
    lines = [line for line in text.splitlines() if line.strip()]
    try:
        declared = int(lines[0].split(":")[1])
        frame_time_s = float(lines[1].split(":")[1])
        numbers = np.array(" ".join(lines[2:]).split(), dtype=np.float64)
    except (IndexError, ValueError) as error:
        raise BvhError(f"expected 'Frames:', 'Frame Time:' and numbers after MOTION ({error})") from error
    if frame_time_s <= 0.0:
        raise BvhError(f"expected a positive frame time, got {frame_time_s}")
    if channel_count == 0 or numbers.size != declared * channel_count:
        raise BvhError(f"expected {declared} frames of {channel_count} numbers, got {numbers.size} numbers")
    return numbers.reshape(declared, channel_count), frame_time_s
