"""Marker trajectories for OpenSim and pose2sim (.trc): the 24 joints of one person as markers, metres, y up."""

from __future__ import annotations

from bodycast.app.files.person_motion import PersonMotion
from bodycast.hmr.body.joints import JOINT_NAMES


def encode(person: PersonMotion, fps: float, name: str) -> bytes:
    """The file's content. `person` must be at a steady rate of `fps`. name: the file's, for its first line."""
    joints = person.joints_m()
    count, markers = len(person), len(JOINT_NAMES)
    lines = [
        f"PathFileType\t4\t(X/Y/Z)\t{name}",
        "DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits\tOrigDataRate\tOrigDataStartFrame\tOrigNumFrames",
        f"{fps:.6f}\t{fps:.6f}\t{count}\t{markers}\tm\t{fps:.6f}\t1\t{count}",
        "Frame#\tTime\t" + "\t\t\t".join(JOINT_NAMES) + "\t\t",
        "\t\t" + "\t".join(f"{axis}{number}" for number in range(1, markers + 1) for axis in "XYZ"),
        "",
    ]
    for row, places in enumerate(joints.reshape(count, -1).tolist()):
        numbers = "\t".join(f"{value:.6f}" for value in places)
        lines.append(f"{row + 1}\t{person.time_s[row] - person.time_s[0]:.6f}\t{numbers}")
    return ("\n".join(lines) + "\n").encode("ascii")
