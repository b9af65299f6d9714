"""AMASS-style npz of one person: the keys that tools for SMPL motion read (Mahmood et al., ICCV 2019), y up."""

from __future__ import annotations

import io

import numpy as np

from bodycast.app.files.person_motion import PersonMotion
from bodycast.hmr.body.joints import NUM_JOINTS
from bodycast.hmr.geometry.rotations import matrix_to_axis_angle


def encode(person: PersonMotion, fps: float) -> bytes:
    """The file's content. `person` must be at a steady rate of `fps`.

    `poses` (F,72) float32 axis-angle; `trans` (F,3) float32, so that the root joint is at its rest place plus
    `trans`; `betas` (10,) float32, the mean; `mocap_framerate`; `gender`; `surface_model_type` "smpl";
    `start_time_s`: when the person was first seen, on the clip's clock.
    """
    content = {
        "poses": matrix_to_axis_angle(person.rotations).reshape(-1, NUM_JOINTS * 3).astype(np.float32),
        "trans": (person.root_m - person.pelvis_rest_m).astype(np.float32),
        "betas": person.betas.astype(np.float32),
        "mocap_framerate": np.array(fps, np.float64),
        "gender": np.array("neutral"),
        "surface_model_type": np.array("smpl"),
        "start_time_s": np.array(person.time_s[0], np.float64),
    }
    stream = io.BytesIO()
    np.savez(stream, allow_pickle=False, **content)
    return stream.getvalue()
