"""Clips for `python -m evaluation smooth`: truth and what an engine sees of it, simulated, rendered, or from files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bodycast.hmr.body.body_model import BodyModel, forward_kinematics
from training.motion.data import ENDS, FAST_M_S, MotionClip, at_rate, load_clip, plausible_runs
from training.motion.error_model import ErrorModel, Strength, observe
from training.motion.pairs import PairedMotion, draw_scene

MIN_S = 1.0


@dataclass(frozen=True)
class Case:
    """One clip. `joints` (T,24,3) m, camera frame, of the truth; `fast`: strikes, kicks, jumps, runs."""

    name: str
    paired: PairedMotion
    joints: NDArray[np.float32]
    fast: bool


def case_of(name: str, paired: PairedMotion, body: BodyModel) -> Case:
    """Truth's joints and whether it is fast."""
    joints = posed_joints(body, paired.pose, paired.betas, paired.transl_m)
    ends = joints[:, ENDS] - joints[:, :1]
    speed = np.linalg.norm(np.diff(ends, axis=0), axis=-1) / np.diff(paired.time_s)[:, None]
    return Case(name, paired, joints, bool(np.percentile(speed.max(1), 98) > FAST_M_S))


def posed_joints(
    body: BodyModel, pose: NDArray[np.float32], betas: NDArray[np.float32], transl_m: NDArray[np.float32]
) -> NDArray[np.float32]:
    """(T,24,3) joints in the camera frame."""
    _, places = forward_kinematics(pose, body.joints(betas))
    return (places + transl_m[:, None]).astype(np.float32)


def simulated(
    clip: MotionClip, errors: ErrorModel, body: BodyModel, seed: int, strength: float = 1.0
) -> PairedMotion | None:
    """The clip before a random camera, with errors drawn from the model, `strength` times as large and its events so
    much as frequent; None where no scene fits."""
    rng = np.random.default_rng(seed)
    betas = rng.normal(0, 1, 10).clip(-2, 2).astype(np.float32)
    for _ in range(20):
        scene = draw_scene(rng)
        pose, transl = scene.place(clip, body, betas)
        if transl[:, 2].min() > 1.2:
            break
    else:
        return None
    time_s = np.arange(len(clip)) / clip.fps
    factors = Strength(strength, strength, strength, strength)
    saw_pose, saw_transl, seen = observe(errors, rng, pose[None], transl[None], time_s[None], factors)
    off = strength * (rng.normal(0, errors.beta_std) + rng.normal(0, errors.beta_noise_std, (len(clip), 10)))
    return PairedMotion(
        time_s=time_s,
        pose=pose.astype(np.float32),
        transl_m=transl,
        betas=np.tile(betas, (len(clip), 1)),
        saw_pose=saw_pose[0],
        saw_transl_m=saw_transl[0],
        saw_betas=(betas + off).astype(np.float32),
        score=seen[0].astype(np.float32),
        fps=np.float64(clip.fps),
        up=scene.camera.rotation @ np.array([0, 1, 0], np.float32),
    )


def motion_pieces(paths: Sequence[Path], fps: float, seconds: float) -> Iterator[MotionClip]:
    """The believable stretches of the files, at most `seconds` each, at `fps`."""
    for path in paths:
        clip = load_clip(path)
        for run in plausible_runs(clip, round(clip.fps * MIN_S)):
            stretch = run if fps == run.fps else at_rate(run, fps)
            length = round(seconds * fps)
            for start in range(0, len(stretch), length):
                piece = stretch.cut(start, start + length)
                if piece.duration_s >= MIN_S:
                    yield piece


GAP_PLACES = (0.35, 0.45, 0.55, 0.65, 0.75)
"""Where the gaps are, of the clip's length: all of a gap hangs on how far one frame is off, so several are needed."""


def with_gap(paired: PairedMotion, seconds: float, place: float = 0.5) -> tuple[PairedMotion, NDArray[np.bool_]]:
    """The person hidden for `seconds` about `place` of the clip: the last estimate stays, with score 0. Also (T,)
    where."""
    middle = paired.time_s[0] + place * (paired.time_s[-1] - paired.time_s[0])
    hidden = np.abs(paired.time_s - middle) <= seconds / 2
    last = max(int(np.flatnonzero(hidden)[0]) - 1, 0)
    held = {
        name: np.where(hidden.reshape(-1, *[1] * (column.ndim - 1)), column[last], column)
        for name, column in (
            ("saw_pose", paired.saw_pose),
            ("saw_transl_m", paired.saw_transl_m),
            ("saw_betas", paired.saw_betas),
        )
    }
    return replace(paired, score=np.where(hidden, 0, paired.score).astype(np.float32), **held), hidden


def without_errors(paired: PairedMotion) -> PairedMotion:
    """The truth as what was seen."""
    sure = np.ones(len(paired), np.float32)
    return replace(paired, saw_pose=paired.pose, saw_transl_m=paired.transl_m, saw_betas=paired.betas, score=sure)


def thinned(paired: PairedMotion, keep: NDArray[np.intp]) -> PairedMotion:
    """The given frames alone."""
    columns = ("time_s", "pose", "transl_m", "betas", "saw_pose", "saw_transl_m", "saw_betas", "score")
    return replace(paired, **{name: getattr(paired, name)[keep] for name in columns})
