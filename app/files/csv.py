"""Comma-separated values: one row per person per frame, world frame, for spreadsheets and scripts."""

from __future__ import annotations

import numpy as np

from bodycast.app.files.person_motion import PersonMotion
from bodycast.hmr.body.joints import JOINT_NAMES, NUM_JOINTS
from bodycast.hmr.geometry.rotations import matrix_to_axis_angle


def header() -> list[str]:
    """Column names: the joints' places in metres, then their rotations relative to the parent as axis-angle."""
    places = [f"{joint}_{axis}_m" for joint in JOINT_NAMES for axis in "xyz"]
    turns = [f"{joint}_r{axis}_rad" for joint in JOINT_NAMES for axis in "xyz"]
    return ["frame", "time_s", "person_id", "score", *places, *turns]


def encode(people: list[PersonMotion]) -> bytes:
    """The file's content, rows sorted by frame, then person."""
    rows: list[tuple[int, int, str]] = []
    for person in people:
        angles = matrix_to_axis_angle(person.rotations).reshape(-1, NUM_JOINTS * 3)
        values = np.concatenate([person.joints_m().reshape(-1, NUM_JOINTS * 3), angles], axis=1).tolist()
        for index, numbers in enumerate(values):
            frame = int(person.frame[index])
            start = f"{frame},{person.time_s[index]:.6f},{person.person_id},{person.score[index]:.4f}"
            rows.append((frame, person.person_id, ",".join([start, *(f"{number:.6f}" for number in numbers)])))
    lines = [",".join(header()), *(text for _, _, text in sorted(rows))]
    return ("\n".join(lines) + "\n").encode("ascii")
