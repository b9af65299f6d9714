"""What a smoother does to clips: run it as the program does, and measure the result."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bodycast.app.records import BodyEstimates
from bodycast.app.smoothers.base import Smoother
from bodycast.app.smoothers.interpolation import interpolate_bodies
from bodycast.hmr.body.body_model import BodyModel
from bodycast.hmr.body.joints import PARENTS, Joint
from bodycast.hmr.geometry.metrics import acceleration, acceleration_error_mm, jitter_m_s3, mpjpe_mm, pa_mpjpe_mm
from evaluation.smooth_cases import Case, posed_joints
from training.motion.pairs import PairedMotion

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
STANDING_M_S = 0.15
FEET = [int(Joint.LEFT_FOOT), int(Joint.RIGHT_FOOT)]
WRISTS = [int(Joint.LEFT_WRIST), int(Joint.RIGHT_WRIST)]
_DUE_S = 1e-3
WARM_UP_S = 0.5
"""The start of every clip, not scored: all smoothers are new there."""


@dataclass(frozen=True)
class Smoothed:
    """(T,...) answers, one per frame of the clip, and ms per call."""

    pose: F32
    betas: F32
    transl_m: F32
    ms: F64


def run_smoother(smoother: Smoother, paired: PairedMotion) -> Smoothed:
    """Frame by frame, as the program does (app/pipeline/smoothing.py): an answer belongs to the newest frame that is
    due when it comes, others lie between it and the one before; at the end the last estimate is held until all have
    theirs."""
    smoother.reset()
    count = len(paired)
    pose, transl = paired.saw_pose.copy(), paired.saw_transl_m.copy()
    betas, ms = paired.saw_betas.copy(), np.zeros(count)
    step_s = float(np.median(np.diff(paired.time_s)))
    due, call = 0, 0
    last: BodyEstimates | None = None
    while due < count:
        at = min(call, count - 1)
        now_s = float(paired.time_s[at]) + (call - at) * step_s
        began = time.perf_counter()
        answer = smoother.update(estimates_at(paired, at), now_s)
        if call < count:
            ms[call] = 1e3 * (time.perf_counter() - began)
        about_s = now_s - smoother.lag_s + _DUE_S
        newest = min(int(np.searchsorted(paired.time_s, about_s, side="right")), count) - 1
        for frame in range(due, newest + 1):
            passed, span = (float(paired.time_s[k] - paired.time_s[max(due - 1, 0)]) for k in (frame, newest))
            found = answer if last is None else interpolate_bodies(last, answer, passed / span)
            pose[frame], betas[frame], transl[frame] = found.pose[0], found.betas[0], found.transl_m[0]
        if newest >= due:
            due, last = newest + 1, answer
        call += 1
    return Smoothed(pose, betas, transl, ms)


def estimates_at(paired: PairedMotion, frame: int) -> BodyEstimates:
    """What the program's smoother gets for one frame: one person, id 1."""
    row = slice(frame, frame + 1)
    return BodyEstimates(
        id=np.array([1], np.int32),
        pose=paired.saw_pose[row].astype(np.float32),
        betas=paired.saw_betas[row].astype(np.float32),
        transl_m=paired.saw_transl_m[row].astype(np.float32),
        score=paired.score[row].astype(np.float32),
        token=np.zeros((1, 0), np.float32),
    )


def measure(case: Case, found: Smoothed, body: BodyModel, rows: NDArray[np.bool_] | None = None) -> dict[str, float]:
    """Figures of one clip; `rows` (T,): frames that count for the positions (default: all after the warm-up)."""
    fps = float(case.paired.fps)
    joints = posed_joints(body, found.pose, found.betas, found.transl_m)
    begin = int(np.searchsorted(case.paired.time_s, case.paired.time_s[0] + WARM_UP_S))
    truth = case.joints[begin:]
    joints = joints[begin:]
    counted = np.ones(len(truth), bool) if rows is None else rows[begin:]
    own, true = joints - joints[:, :1], truth - truth[:, :1]
    bones = np.linalg.norm(joints[:, 1:] - joints[:, PARENTS[1:]], axis=-1)
    per_frame = float(acceleration_error_mm(own, true).mean())
    figures = {
        "mpjpe_mm": float(mpjpe_mm(own, true)[counted].mean()),
        "pa_mpjpe_mm": float(pa_mpjpe_mm(own, true)[counted].mean()),
        "accel_mm_frame2": per_frame,
        "accel_mm_s2": per_frame * fps**2,
        "jitter_m_s3": float(jitter_m_s3(own, fps).mean()),
        "place_mm": 1e3 * float(np.linalg.norm(joints[:, 0] - truth[:, 0], axis=-1)[counted].mean()),
        "place_accel_mm_frame2": 1e3
        * float(np.linalg.norm(acceleration(joints[:, :1]) - acceleration(truth[:, :1]), axis=-1).mean()),
        "foot_slide_mm_s": foot_slide_mm_s(joints, truth, fps),
        "bone_change_mm": 1e3 * float(bones.std(axis=0).mean()),
        "delay_ms": 1e3 * delay_s(own, true, fps),
        "wrist_speed_ratio": wrist_speed_ratio(own, true, fps),
        "ms": float(np.median(found.ms[begin:])),
    }
    return figures


def foot_slide_mm_s(joints: F32, truth: F32, fps: float) -> float:
    """Mean speed of feet while the true ones stand; nan where they never do."""
    true_speed = np.linalg.norm(np.diff(truth[:, FEET], axis=0), axis=-1) * fps
    speed = np.linalg.norm(np.diff(joints[:, FEET], axis=0), axis=-1) * fps
    standing = true_speed < STANDING_M_S
    return 1e3 * float(speed[standing].mean()) if standing.any() else float("nan")


def delay_s(found: F32, truth: F32, fps: float) -> float:
    """By how much the found motion trails: the shift of the truth that fits it best, a parabola through the best three
    (mean square distance of the joints after taking out what stays constant)."""
    most = max(1, round(0.3 * fps))
    core = slice(most, len(truth) - most)
    if len(truth) <= 2 * most + 8:
        return float("nan")

    def misfit(shift: int) -> float:
        off = found[core] - truth[most - shift : len(truth) - most - shift]
        return float((off - off.mean(0)).var())

    shifts = list(range(-most // 2, most + 1))
    errors = np.array([misfit(shift) for shift in shifts])
    best = int(errors.argmin())
    if not 0 < best < len(shifts) - 1:
        return shifts[best] / fps
    a, b, c = errors[best - 1 : best + 2]
    return (shifts[best] + 0.5 * (a - c) / max(a - 2 * b + c, 1e-12)) / fps


def wrist_speed_ratio(found: F32, truth: F32, fps: float) -> float:
    """Highest speed of a wrist (over two frames, relative to the pelvis) near the true peak, over the true peak."""
    near = max(1, round(0.1 * fps))

    def speed(joints: F32) -> NDArray[np.floating]:
        return np.linalg.norm(joints[2:, WRISTS] - joints[:-2, WRISTS], axis=-1) * fps / 2

    true, own = speed(truth), speed(found)
    frame, hand = np.unravel_index(int(true.argmax()), true.shape)
    window = own[max(0, frame - near) : frame + near + 1, hand]
    return float(window.max() / max(float(true[frame, hand]), 1e-6))
