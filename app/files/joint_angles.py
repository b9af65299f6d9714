"""Joint angles in degrees as biomechanics names them: a row per person and frame (.csv), and what the viewer plots.

The names are those of OpenSim's full-body models, in the spirit of the ISB's recommendations (Wu et al., J. Biomech. 35
and 38, 2002 and 2005): flexion, adduction and internal rotation are positive, also on the right. They are Cardan angles
X-Z-Y of SMPL's joints from its T-pose, whose axes lie in the body, not in anatomical landmarks: compare trends, not
degrees with another laboratory's.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bodycast.app.files.person_motion import PersonMotion, forward_kinematics
from bodycast.hmr.body.joints import PARENTS, Joint

Floats = NDArray[np.float64]


def angles_deg(person: PersonMotion) -> dict[str, Floats]:
    """Name -> (F,) degrees."""
    _, turns = forward_kinematics(person.rotations, person.offsets_m, person.root_m)
    return angles_from(turns)


def angles_from(turns: Floats) -> dict[str, Floats]:
    """Name -> (F,) degrees, of the joints' global rotations (F,24,3,3), y up. `trunk_lean`: of the chest's long axis
    from the vertical, whichever way."""
    # Relative to the parent; the root's is not used.
    rotations = turns[:, PARENTS].swapaxes(2, 3) @ turns
    found: dict[str, Floats] = {}
    x, z, y = _cardan(turns[:, Joint.PELVIS])
    found |= {"pelvis_tilt": x, "pelvis_list": z, "pelvis_rotation": y}
    pelvis, chest, head = (turns[:, joint] for joint in (Joint.PELVIS, Joint.SPINE3, Joint.HEAD))
    x, z, y = _cardan(pelvis.swapaxes(1, 2) @ chest)
    found |= {"lumbar_flexion": x, "lumbar_bending": z, "lumbar_rotation": y}
    x, z, y = _cardan(chest.swapaxes(1, 2) @ head)
    found |= {"neck_flexion": x, "neck_bending": z, "neck_rotation": y}
    up = chest[..., 1]
    found["trunk_lean"] = np.rad2deg(np.arctan2(np.hypot(up[:, 0], up[:, 2]), up[:, 1]))
    for side, letter, sign in (("LEFT", "l", -1.0), ("RIGHT", "r", 1.0)):
        x, z, y = _cardan(rotations[:, Joint[f"{side}_HIP"]])
        found |= {f"hip_flexion_{letter}": -x, f"hip_adduction_{letter}": sign * z, f"hip_rotation_{letter}": sign * y}
        found[f"knee_flexion_{letter}"] = _cardan(rotations[:, Joint[f"{side}_KNEE"]])[0]
        found[f"ankle_dorsiflexion_{letter}"] = -_cardan(rotations[:, Joint[f"{side}_ANKLE"]])[0]
        # In the T-pose the arm lies along x: away from the hanging arm by a right angle, in the frontal plane.
        arm = (chest.swapaxes(1, 2) @ turns[:, Joint[f"{side}_SHOULDER"]])[..., 0] * -sign
        found[f"shoulder_elevation_{letter}"] = np.rad2deg(np.arccos(np.clip(-arm[:, 1], -1, 1)))
        found[f"shoulder_plane_{letter}"] = np.rad2deg(np.arctan2(arm[:, 2], -sign * arm[:, 0]))
        bend = rotations[:, Joint[f"{side}_ELBOW"]][..., 0] * -sign
        found[f"elbow_flexion_{letter}"] = np.rad2deg(np.arccos(np.clip(-sign * bend[:, 0], -1, 1)))
    return found


def encode(people: list[PersonMotion]) -> bytes:
    """The file's content, rows sorted by frame, then person; the header has the unit in every name."""
    rows: list[tuple[int, int, str]] = []
    names: list[str] = []
    for person in people:
        angles = angles_deg(person)
        names = list(angles)
        table = np.stack(list(angles.values()), axis=1).tolist()
        for index, numbers in enumerate(table):
            frame = int(person.frame[index])
            start = f"{frame},{person.time_s[index]:.6f},{person.person_id}"
            rows.append((frame, person.person_id, ",".join([start, *(f"{number:.3f}" for number in numbers)])))
    header = ",".join(["frame", "time_s", "person_id", *(f"{name}_deg" for name in names)])
    return ("\n".join([header, *(text for _, _, text in sorted(rows))]) + "\n").encode("ascii")


def _cardan(matrix: Floats) -> tuple[Floats, Floats, Floats]:
    """(F,3,3) = Rx @ Rz @ Ry -> x, z, y (F,) degrees."""
    z = np.arcsin(np.clip(-matrix[:, 0, 1], -1, 1))
    x = np.arctan2(matrix[:, 2, 1], matrix[:, 1, 1])
    y = np.arctan2(matrix[:, 0, 2], matrix[:, 0, 0])
    return np.rad2deg(x), np.rad2deg(z), np.rad2deg(y)
