"""One frame for WebSocket clients, as JSON and as a compact binary message (docs/live_output.md has the schema).

The world: y up, right-handed, metres, floor at 0. Joints are SMPL's 24, in its order; rotations are those of SMPL's
pose, relative to the parent joint, the root's to the world, as quaternions x, y, z, w.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bodycast.app.records import FrameResult, FrameWorld
from bodycast.app.senders.skeleton import quaternions
from bodycast.hmr.geometry.arrays import F64

VERSION = 1
MAGIC = b"BCW1"
FLOOR_KNOWN = 1
"""Flag of the binary message: y = 0 is the floor; without it, the height of the camera."""

HEADER = np.dtype([("magic", "S4"), ("frame", "<u4"), ("time_s", "<f8"), ("people", "<u2"), ("flags", "<u2")])
PERSON = np.dtype(
    [
        ("id", "<i4"),
        ("score", "<f4"),
        ("contacts", "<f4", 4),
        ("rotations", "<i2", (24, 4)),
        ("joints_m", "<f4", (24, 3)),
    ]
)
ONE = 32767
"""What 1.0 is in `rotations`."""


@dataclass(frozen=True, slots=True)
class WorldFrame:
    """N people of a frame: `rotations` (N,24,4), `joints_m` (N,24,3), float64; the rest is the frame's own."""

    result: FrameResult
    floor_known: bool
    rotations: F64
    joints_m: F64
    contacts: NDArray[np.float32]


def world_frame(result: FrameResult) -> WorldFrame:
    """The people of a frame in the world."""
    people = len(result.estimates)
    world = result.world or FrameWorld.unknown(people)
    to_world = world.camera_to_world
    if not np.isfinite(to_world).all():
        to_world = FrameWorld.unknown(0).camera_to_world
    pose = result.estimates.pose.astype(np.float64)
    pose[:, 0] = to_world[:3, :3] @ pose[:, 0]
    joints = result.bodies.joints @ to_world[:3, :3].T + to_world[:3, 3]
    rotations = quaternions(pose.reshape(-1, 3, 3)).reshape(people, 24, 4)
    return WorldFrame(result, bool(np.isfinite(world.floor).all()), rotations, joints, world.contacts)


def as_json(frame: WorldFrame) -> str:
    """The frame as JSON; numbers to a tenth of a millimetre, what is not known is null."""
    estimates = frame.result.estimates
    people = [
        {
            "id": int(person),
            "score": round(float(score), 3),
            "contacts": [None if math.isnan(value) else round(value, 2) for value in contacts.tolist()],
            "rotations": rotations.tolist(),
            "joints_m": joints.tolist(),
        }
        for person, score, contacts, rotations, joints in zip(
            estimates.id,
            estimates.score,
            frame.contacts,
            frame.rotations.round(4),
            frame.joints_m.round(4),
            strict=True,
        )
    ]
    message = {
        "version": VERSION,
        "frame": frame.result.frame.index,
        "time_s": frame.result.frame.time_s,
        "floor": frame.floor_known,
        "people": people,
    }
    return json.dumps(message, separators=(",", ":"), allow_nan=False)


def as_binary(frame: WorldFrame) -> bytes:
    """The frame as bytes, little-endian: HEADER, then a PERSON for each."""
    estimates = frame.result.estimates
    header = np.array(
        (MAGIC, frame.result.frame.index, frame.result.frame.time_s, len(estimates), FLOOR_KNOWN * frame.floor_known),
        HEADER,
    )
    people = np.empty(len(estimates), PERSON)
    people["id"], people["score"], people["contacts"] = estimates.id, estimates.score, frame.contacts
    people["rotations"], people["joints_m"] = np.rint(frame.rotations * ONE), frame.joints_m
    return header.tobytes() + people.tobytes()
