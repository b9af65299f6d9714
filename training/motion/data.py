"""Motion capture as SMPL-layout sequences at any frame rate, split by subject.

Clips are CMU `.bvh` / `.bvh.gz` files on the Daz-friendly skeleton (training/mocap) or AMASS `.npz` files (Mahmood et
al., ICCV 2019; keys `poses`, `trans`, `mocap_framerate`; their world has z up). Every clip comes out in a y-up world.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bodycast.hmr.body.body_model import BodyModel
from bodycast.hmr.body.joints import MIRROR, Joint
from bodycast.hmr.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from bodycast.npz import read_npz
from training.mocap.retarget import load_smpl_motion, plausible_frames
from training.synthetic.poses import is_held_out

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

FAST_M_S = 3.0
"""Above this speed of a wrist or an ankle, relative to the pelvis, motion counts as fast."""

ENDS = (Joint.LEFT_ANKLE, Joint.RIGHT_ANKLE, Joint.LEFT_WRIST, Joint.RIGHT_WRIST)
"""What strikes and kicks are made with."""

_Y_UP_FROM_Z_UP = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]], np.float32)


@dataclass(frozen=True)
class MotionClip:
    """One motion in a y-up world, metres. `pose` (T,24,3,3) float32; `transl_m` (T,3) float32 SMPL translation;
    `fps`; `name`; `plausible` (T,) bool, False where the capture is broken."""

    pose: F32
    transl_m: F32
    fps: float
    name: str
    plausible: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.pose)

    @property
    def duration_s(self) -> float:
        """From the first frame to the last, s."""
        return (len(self) - 1) / self.fps

    def cut(self, start: int, stop: int) -> MotionClip:
        """Frames start..stop-1."""
        rows = slice(start, stop)
        return MotionClip(self.pose[rows], self.transl_m[rows], self.fps, self.name, self.plausible[rows])


def load_clip(path: Path, body: BodyModel | None = None) -> MotionClip:
    """Read a `.bvh`, `.bvh.gz` or AMASS `.npz` motion. Raises ValueError naming the file and what it lacks."""
    if not path.is_file():
        raise ValueError(f"{path}: no such motion file; give a .bvh, .bvh.gz or AMASS .npz")
    if path.suffix == ".npz":
        return _load_amass(path)
    motion = load_smpl_motion(path, body)
    return MotionClip(motion.pose, motion.transl_m, motion.fps, motion.name, motion.plausible)


def _load_amass(path: Path) -> MotionClip:
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path}: not a readable .npz archive")
    arrays = read_npz(path, ("poses", "trans", "mocap_framerate", "mocap_frame_rate"))
    rates = [key for key in ("mocap_framerate", "mocap_frame_rate") if key in arrays]
    missing = [key for key in ("poses", "trans") if key not in arrays]
    if missing or not rates:
        lacks = ", ".join(missing + ([] if rates else ["mocap_framerate"]))
        raise ValueError(f"{path}: expected an AMASS motion with poses, trans and mocap_framerate; it lacks {lacks}")
    if arrays[rates[0]].shape != ():
        raise ValueError(f"{path}: expected one number as {rates[0]}, got shape {arrays[rates[0]].shape}")
    poses, transl, fps = arrays["poses"], arrays["trans"].astype(np.float32), float(arrays[rates[0]].item())
    if poses.ndim != 2 or poses.shape[1] < 66 or transl.shape != (len(poses), 3) or fps <= 0:
        raise ValueError(
            f"{path}: expected poses (T, 66 or more), trans (T, 3) and a rate above 0, "
            f"got {poses.shape}, {transl.shape} and {fps:g}"
        )
    turns = np.zeros((len(poses), 24, 3), np.float32)
    # SMPL+H and SMPL-X have fingers where SMPL has its two hand joints: those stay at rest.
    count = 24 if poses.shape[1] == 72 else 22
    turns[:, :count] = poses[:, : 3 * count].reshape(-1, count, 3)
    pose = axis_angle_to_matrix(turns).astype(np.float32)
    pose[:, 0] = _Y_UP_FROM_Z_UP @ pose[:, 0]
    return MotionClip(
        pose, (transl @ _Y_UP_FROM_Z_UP.T).astype(np.float32), fps, path.stem, plausible_frames(pose.astype(float), fps)
    )


def resample(clip: MotionClip, time_s: F64) -> MotionClip:
    """The clip at times (F,) within it, any spacing: rotations on the sphere, translations by a cubic through four
    frames. The result's `fps` is the mean rate of the times."""
    at = np.clip(np.asarray(time_s, np.float64) * clip.fps, 0, len(clip) - 1)
    low = np.minimum(at.astype(np.intp), len(clip) - 2)
    weight = (at - low).astype(np.float32)
    step = matrix_to_axis_angle(clip.pose[low].swapaxes(-1, -2) @ clip.pose[low + 1])
    pose = clip.pose[low] @ axis_angle_to_matrix(step * weight[:, None, None])
    around = [clip.transl_m[np.clip(low + k, 0, len(clip) - 1)] for k in (-1, 0, 1, 2)]
    transl = _catmull_rom(around, weight[:, None])
    fps = (len(at) - 1) / max(float(time_s[-1] - time_s[0]), 1e-6) if len(at) > 1 else clip.fps
    plausible = clip.plausible[low] & clip.plausible[low + 1]
    return MotionClip(pose.astype(np.float32), transl.astype(np.float32), fps, clip.name, plausible)


def _catmull_rom(around: list[F32], w: F32) -> F32:
    a, b, c, d = around
    return 0.5 * (2 * b + (c - a) * w + (2 * a - 5 * b + 4 * c - d) * w**2 + (3 * b - 3 * c + d - a) * w**3)


def at_rate(clip: MotionClip, fps: float) -> MotionClip:
    """The clip at another frame rate."""
    return resample(clip, np.arange(int(clip.duration_s * fps) + 1) / fps)


def motion_files(folders: Sequence[Path], split: str) -> list[Path]:
    """The `.bvh`, `.bvh.gz` and AMASS `.npz` motions of `train` or `test` in folders and all below them.

    CMU's are divided by subject (training/synthetic/poses.py), AMASS's by the first letters of the file name likewise;
    where that holds out none, every sixteenth is. Raises ValueError where there is none.
    """
    if split not in ("train", "test"):
        raise ValueError(f"split: expected train or test, got {split!r}")
    files = sorted(path for folder in folders for path in folder.rglob("*") if _is_motion(path))
    held_out = [path for path in files if is_held_out(path)] or files[15::16]
    chosen = held_out if split == "test" else [path for path in files if path not in set(held_out)]
    if not chosen:
        raise ValueError(
            f"no .bvh, .bvh.gz or AMASS .npz motion of the {split} split in {', '.join(map(str, folders))}"
        )
    return chosen


def _is_motion(path: Path) -> bool:
    # AMASS has the subjects' shapes beside their motions.
    shape = path.name == "shape.npz" or path.name.endswith("_shape.npz")
    return path.name.endswith((".bvh", ".bvh.gz", ".npz")) and not shape


def load_split(folder: Path | Sequence[Path], split: str, fps: float | None = None) -> list[MotionClip]:
    """The clips of a split (`motion_files`), at `fps`, or at the rate of each file."""
    body = BodyModel.load()
    folders = [folder] if isinstance(folder, Path) else list(folder)
    clips = [load_clip(path, body) for path in motion_files(folders, split)]
    return clips if fps is None else [at_rate(clip, fps) for clip in clips]


def plausible_runs(clip: MotionClip, frames: int) -> list[MotionClip]:
    """The stretches of at least `frames` believable frames."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], clip.plausible.astype(np.int8), [0]])))
    return [clip.cut(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if b - a >= frames]


def mirrored(clip: MotionClip) -> MotionClip:
    """The motion in a mirror (x -> -x)."""
    sign = np.array([-1, 1, 1], np.float32)
    pose = clip.pose[:, MIRROR] * (sign[:, None] * sign[None, :])
    return MotionClip(pose, clip.transl_m * sign, clip.fps, clip.name, clip.plausible)


def reversed_in_time(clip: MotionClip) -> MotionClip:
    """The motion played backwards (one of FastHMR's two augmentations; the other, warping, is `resample`)."""
    return MotionClip(clip.pose[::-1], clip.transl_m[::-1], clip.fps, clip.name, clip.plausible[::-1])
