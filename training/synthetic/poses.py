"""Poses for synthetic people: frames of motion capture, split by subject, mixed and perturbed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hmr.body.joints import Joint
from hmr.geometry.rotations import axis_angle_to_matrix
from training.mocap.retarget import load_smpl_motion

F32 = NDArray[np.float32]
# Subjects never seen in training: varied (02: walk, run, jump, punch), walking (08), football (10).
HELD_OUT_SUBJECTS = ("02", "08", "10")
UPPER_BODY = (3, 6, 9, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23)
# How far a joint may be turned at random beyond the captured pose, rad (one standard deviation).
_JITTER_RAD = {
    Joint.HEAD: 0.18,
    Joint.NECK: 0.15,
    Joint.LEFT_WRIST: 0.25,
    Joint.RIGHT_WRIST: 0.25,
    Joint.LEFT_ELBOW: 0.15,
    Joint.RIGHT_ELBOW: 0.15,
    Joint.LEFT_SHOULDER: 0.2,
    Joint.RIGHT_SHOULDER: 0.2,
    Joint.LEFT_ANKLE: 0.1,
    Joint.RIGHT_ANKLE: 0.1,
}


def is_held_out(path: Path) -> bool:
    """Whether a clip (`SUBJECT_TRIAL.bvh.gz`) belongs to the test subjects."""
    return path.name.split("_")[0] in HELD_OUT_SUBJECTS


def split_files(folder: Path, split: str) -> list[Path]:
    """The clips of a split, `train` or `test`, in name order. Raises ValueError where there is none."""
    if split not in ("train", "test"):
        raise ValueError(f"split: expected train or test, got {split!r}")
    files = sorted(p for p in folder.glob("*.bvh*") if is_held_out(p) == (split == "test"))
    if not files:
        raise ValueError(f"no .bvh or .bvh.gz clip of the {split} split in {folder}")
    return files


def heading_rad(root: F32) -> NDArray[np.floating]:
    """Yaw about +y of the direction that a root rotation (..., 3, 3) turns +z to; rad."""
    return np.arctan2(root[..., 0, 2], root[..., 2, 2])


@dataclass(frozen=True)
class PoseLibrary:
    """All frames of a split. `pose` (T, 24, 3, 3) float32, world y up."""

    pose: F32

    @staticmethod
    def load(folder: Path, split: str, every: int = 2) -> PoseLibrary:
        """Read every `every`-th believable frame of the split's clips in `folder`."""
        motions = (load_smpl_motion(path) for path in split_files(folder, split))
        return PoseLibrary(np.concatenate([m.pose[m.plausible][::every] for m in motions]))

    def sample(self, rng: np.random.Generator) -> F32:
        """(24, 3, 3): a captured pose facing +z, with a chance of other arms, of relaxed arms and of small turns."""
        pose = self.pose[rng.integers(len(self.pose))].copy()
        pose[0] = axis_angle_to_matrix(np.array([0, -heading_rad(pose[0]), 0], np.float32)) @ pose[0]
        if rng.random() < 0.4:  # another frame's upper body on these legs
            pose[list(UPPER_BODY)] = self.pose[rng.integers(len(self.pose))][list(UPPER_BODY)]
        if rng.random() < 0.3:  # each arm from frames of its own
            for arm in ((13, 16, 18, 20, 22), (14, 17, 19, 21, 23)):
                pose[list(arm)] = self.pose[rng.integers(len(self.pose))][list(arm)]
        if rng.random() < 0.15:
            pose = sit(pose, rng)
        turns = np.zeros((24, 3), np.float32)
        turns[1:] = rng.normal(0, 0.03, (23, 3))
        for joint, sigma in _JITTER_RAD.items():
            turns[joint] = rng.normal(0, sigma, 3)
        return (pose @ axis_angle_to_matrix(turns * (rng.random() < 0.7))).astype(np.float32)


def sit(pose: F32, rng: np.random.Generator) -> F32:
    """The same arms and trunk on sitting legs: thighs forward, shins down (24, 3, 3)."""
    out = pose.copy()
    out[0] = axis_angle_to_matrix(np.array([rng.normal(0, 0.1), 0, rng.normal(0, 0.05)], np.float32))
    for hip, knee, side in ((1, 4, 1.0), (2, 5, -1.0)):
        bend = rng.normal(1.45, 0.15)
        out[hip] = axis_angle_to_matrix(np.array([-bend, 0, side * rng.normal(0.15, 0.12)], np.float32))
        out[knee] = axis_angle_to_matrix(np.array([rng.normal(bend, 0.25), 0, 0], np.float32))
    return out
