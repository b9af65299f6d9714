"""Marker trajectories for motion-capture programs (.c3d), by ezc3d: the 24 joints of one person, millimetres, z up."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from bodycast.app.errors import require
from bodycast.app.files.person_motion import Z_UP, PersonMotion
from bodycast.hmr.body.joints import JOINT_NAMES

MILLIMETRES = 1000.0


def encode(person: PersonMotion, fps: float) -> bytes:
    """The file's content. `person` must be at a steady rate of `fps`. Raises: UsageError where ezc3d is missing."""
    require("ezc3d", "biomechanics.txt")
    import ezc3d  # pyright: ignore[reportMissingImports, reportMissingTypeStubs]

    document: Any = ezc3d.c3d()  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    places = person.joints_m() @ Z_UP.T * MILLIMETRES
    document["parameters"]["POINT"]["RATE"]["value"] = [fps]
    document["parameters"]["POINT"]["UNITS"]["value"] = ["mm"]
    document["parameters"]["POINT"]["LABELS"]["value"] = list(JOINT_NAMES)
    points = np.ones((4, len(JOINT_NAMES), len(person)))
    points[:3] = places.transpose(2, 1, 0)
    document["data"]["points"] = points
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "motion.c3d"
        document.write(str(path))
        return path.read_bytes()
