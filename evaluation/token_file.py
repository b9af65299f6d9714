"""TOKENS.npz: an HMR network's tokens of a film's people beside their true poses, for `training.motion.prior --tokens`.

R rows: `token` (R,C) float32, `pose` (R,24,3,3) float32 true rotations, root relative to the camera, `time_s` (R,)
float64, `person_id` (R,) int32; `package`: the name of the network's package. No pickles.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bodycast.app.errors import RunError
from bodycast.app.files.motion_file import Motion
from bodycast.app.files.output_file import write_whole
from bodycast.hmr.geometry.rotations import axis_angle_to_matrix
from evaluation.predictions import TOKEN


def write_tokens(path: Path, columns: dict[str, NDArray[Any]], truth: Motion, fps: float, package: str) -> None:
    """Write the rows that were predicted; columns and truth have the same rows. Raises: RunError."""
    rows = columns["valid"]
    content = {
        "token": columns[TOKEN][rows],
        "pose": axis_angle_to_matrix(truth.poses[rows].reshape(-1, 24, 3)).astype(np.float32),
        "time_s": columns["image_id"][rows] / fps,
        "person_id": truth.person_id[rows],
        "package": np.array(package),
    }
    try:
        write_whole(path, lambda stream: np.savez_compressed(stream, allow_pickle=False, **content))
    except OSError as error:
        raise RunError(f"{path}: cannot be written ({error.strerror or error})") from error
