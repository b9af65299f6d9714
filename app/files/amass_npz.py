"""AMASS's npz of one person (Mahmood et al., ICCV 2019): SMPL-H's 52 joints, z up, as its loaders expect it."""

from __future__ import annotations

import io

import numpy as np

from bodycast.app.files.person_motion import Z_UP, PersonMotion
from bodycast.hmr.geometry.rotations import matrix_to_axis_angle

BODY_JOINTS, COLUMNS, BETAS, DMPLS = 22, 156, 16, 8


def encode(person: PersonMotion, fps: float) -> bytes:
    """The file's content. `person` must be at a steady rate of `fps`.

    `poses` (F,156): SMPL-H's root and 21 body joints, then 30 finger joints, which are 0; SMPL's two hand joints have
    no place there. `trans` (F,3) m; `betas` (16,), zeros behind SMPL's ten; `dmpls` (F,8), zeros; both spellings of the
    frame rate.
    """
    angles = matrix_to_axis_angle(person.turned(Z_UP).rotations[:, :BODY_JOINTS]).reshape(len(person), -1)
    poses = np.zeros((len(person), COLUMNS))
    poses[:, : angles.shape[1]] = angles
    betas = np.zeros(BETAS)
    betas[: len(person.betas)] = person.betas
    content = {
        "poses": poses,
        "trans": person.root_m @ Z_UP.T - person.pelvis_rest_m,
        "betas": betas,
        "dmpls": np.zeros((len(person), DMPLS)),
        "gender": np.array("neutral"),
        "mocap_framerate": np.array(fps),
        "mocap_frame_rate": np.array(fps),
        "surface_model_type": np.array("smplh"),
    }
    stream = io.BytesIO()
    np.savez(stream, allow_pickle=False, **content)
    return stream.getvalue()
