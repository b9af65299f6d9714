"""SMPL's body files in a folder of the user's, by gender: 3DPW's and EMDB's labels are poses of the gendered bodies."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bodycast.hmr.body.body_files import BodyFileError
from bodycast.hmr.body.body_model import BodyModel
from bodycast.hmr.geometry.rotations import axis_angle_to_matrix
from training.datasets.errors import DatasetError

GENDERS = {"m": "male", "male": "male", "f": "female", "female": "female", "n": "neutral", "neutral": "neutral"}


class SmplFiles:
    """Bodies of a folder that holds SMPL's `.pkl` or converted `.npz`, named as published (SMPL_MALE.pkl,
    basicModel_f_lbs_10_207_0_v1.0.0.pkl, smpl-male.npz); each is read when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        """Raises DatasetError where there is no such folder."""
        if not folder.is_dir():
            raise DatasetError(f"{folder}: no such folder; expected SMPL's files for male, female and neutral")
        self.folder = folder
        self._load = lru_cache(maxsize=None)(self._load_body)

    def body(self, gender: str) -> BodyModel:
        """The body of "male", "female" or "neutral". Raises DatasetError where its file is missing or unusable."""
        return self._load(GENDERS.get(gender, gender))

    def _load_body(self, gender: str) -> BodyModel:
        marks = (f"_{gender[0]}_lbs", f"_{gender}", f"-{gender}")
        files = [p for p in sorted(self.folder.iterdir()) if p.suffix in (".npz", ".pkl")]
        chosen = next((p for p in files if any(mark in p.stem.lower() for mark in marks)), None)
        if chosen is None:
            raise DatasetError(f"{self.folder}: no SMPL file for {gender}; expected SMPL_{gender.upper()}.pkl or .npz")
        try:
            return BodyModel.load(chosen)
        except BodyFileError as error:
            raise DatasetError(str(error)) from error

    def rest_root(self, gender: str, betas: NDArray[np.floating]) -> NDArray[np.float64]:
        """(3,) the root joint of the rest pose, about which SMPL turns."""
        return self.body(gender).joints(np.asarray(betas, np.float32)[None])[0, 0].astype(np.float64)


def smpl_pose(axis_angle: NDArray[np.floating]) -> NDArray[np.float64]:
    """(..., 72) axis-angle -> (..., 24, 3, 3)."""
    array = np.asarray(axis_angle, np.float64)
    return axis_angle_to_matrix(array.reshape(*array.shape[:-1], 24, 3)).astype(np.float64)


def world_to_camera(
    pose: NDArray[np.float64],
    transl_m: NDArray[np.float64],
    T_cam_world: NDArray[np.float64],
    rest_root: NDArray[np.float64] | None,
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """SMPL's pose (24,3,3) and translation (3,) from world to camera.

    T_cam_world (4,4) rigid. SMPL turns about its rest root (3,), so the translation needs that joint:
    t' = R (t + root) + T - root; without it the translation is None.
    """
    rotation, shift = T_cam_world[:3, :3], T_cam_world[:3, 3]
    turned = pose.copy()
    turned[0] = rotation @ pose[0]
    if rest_root is None:
        return turned, None
    return turned, rotation @ (transl_m + rest_root) + shift - rest_root
