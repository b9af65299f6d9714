"""Where people are in the world, against a truth of known floor.

By person:

- W-MPJPE and WA-MPJPE mm: world joints in stretches of 100 frames, aligned by a similarity over the first two frames,
  or over all of them (Kaufmann et al., EMDB, ICCV 2023, section 4; Shin et al., WHAM, CVPR 2024, section 4).
- root mm: the root's place in the camera frame, less its median offset, which focal length and size decide.
- slide cm/s of sole points while the truth has them in contact; deepest cm: how deep the lowest soles of one frame in a
  hundred are under one's own floor, and how often one is deeper than 3 cm.
- stand height, stand depth m: over the frames in which the truth stands (a sole in contact, the root slower than 0.1
  m/s), the spread of the lowest joint's height and of the distance less the true one, 2.5th to 97.5th percentile.
- jitter of world joints, 10 m/s^3; bones %: largest relative spread of a bone's length; height m.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bodycast.app.errors import UsageError
from bodycast.app.files.motion_file import Motion
from bodycast.app.records import F64
from bodycast.app.world.person_series import Skeleton
from bodycast.app.world.shapes import body_height_m
from bodycast.hmr.body.body_model import BodyModel
from bodycast.hmr.body.joints import PARENTS
from bodycast.hmr.geometry.boxes import iou_matrix
from bodycast.hmr.geometry.metrics import jitter_m_s3
from bodycast.hmr.geometry.rotations import axis_angle_to_matrix

MIN_IOU = 0.3
STRETCH = 100
STANDS_M_S = 0.1
DEEP_M = 0.03


def match_rows(predicted: Motion, truth: Motion) -> list[tuple[int, int]]:
    """Pairs (predicted row, true row): per frame the best boxes first, each used once, IoU of at least 0.3."""
    pairs: list[tuple[int, int]] = []
    for frame in np.unique(truth.frame):
        ours, theirs = np.flatnonzero(predicted.frame == frame), np.flatnonzero(truth.frame == frame)
        overlap = iou_matrix(predicted.bbox_xyxy[ours], truth.bbox_xyxy[theirs])
        while overlap.size and overlap.max() >= MIN_IOU:
            a, b = np.unravel_index(int(overlap.argmax()), overlap.shape)
            pairs.append((int(ours[a]), int(theirs[b])))
            overlap[a], overlap[:, b] = -1, -1
    return pairs


@dataclass(frozen=True)
class Track:
    """Frames of one person that both files have: world joints (F,24,3), soles (F,4,3), roots (F,3) of the camera frame,
    m."""

    joints: F64
    soles: F64
    root: F64


def umeyama(source: F64, target: F64) -> tuple[float, F64, F64]:
    """Scale, rotation (3,3) and shift (3,) that take points (P,3) nearest to others (Umeyama 1991)."""
    a, b = source.mean(axis=0), target.mean(axis=0)
    x, y = source - a, target - b
    left, size, right = np.linalg.svd(y.T @ x)
    sign = np.diag([1.0, 1.0, float(np.sign(np.linalg.det(left @ right)))])
    turn = left @ sign @ right
    scale = float((size * np.diag(sign)).sum() / max(float(np.square(x).sum()), 1e-12))
    return scale, turn, b - scale * turn @ a


def world_mpjpe_mm(predicted: F64, truth: F64, first: int | None) -> float:
    """Mean joint error (F,24,3) in stretches, aligned over their `first` frames; None: over all."""
    errors: list[F64] = []
    for begin in range(0, len(truth), STRETCH):
        ours, theirs = predicted[begin : begin + STRETCH], truth[begin : begin + STRETCH]
        if len(ours) < 3:
            continue
        scale, turn, shift = umeyama(ours[:first].reshape(-1, 3), theirs[:first].reshape(-1, 3))
        errors.append(np.linalg.norm(scale * ours @ turn.T + shift - theirs, axis=-1).mean(axis=1))
    return 1e3 * float(np.concatenate(errors).mean()) if errors else float("nan")


def track_of(motion: Motion, rows: NDArray[np.intp], skeleton: Skeleton) -> Track:
    """The rows of one person."""
    rest = skeleton.rest(motion.betas[rows])
    pose = axis_angle_to_matrix(motion.poses[rows].reshape(-1, 24, 3))
    pose[:, 0] = axis_angle_to_matrix(motion.root_orient_world[rows])
    root = motion.trans_world[rows] + rest[:, 0]
    _, soles = skeleton.place(pose, rest, root.astype(np.float32))
    return Track(
        motion.joints_world[rows].astype(np.float64), soles.astype(np.float64),
        motion.joints_3d[rows, 0].astype(np.float64),
    )  # fmt: skip


def score_person(
    predicted: Motion, truth: Motion, pairs: NDArray[np.intp], skeleton: Skeleton, fps: float
) -> dict[str, float]:
    """Figures of one true person. pairs (F,2): rows of both files, in time order."""
    rows = pairs[:, 0]
    ours, theirs = track_of(predicted, rows, skeleton), track_of(truth, pairs[:, 1], skeleton)
    frames = truth.frame[pairs[:, 1]]
    # Where a person's id changes, two tracks meet; that is no motion.
    steady = (np.diff(frames) == 1) & (np.diff(predicted.person_id[rows]) == 0)
    contact = truth.contacts[pairs[:, 1]] > 0.5
    figures = {
        "w_mpjpe_mm": world_mpjpe_mm(ours.joints, theirs.joints, 2),
        "wa_mpjpe_mm": world_mpjpe_mm(ours.joints, theirs.joints, None),
        "root_mm": 1e3 * _median_free(ours.root - theirs.root),
    }
    slides = np.linalg.norm(np.diff(ours.soles, axis=0), axis=-1) * fps
    held = contact[1:] & contact[:-1] & steady[:, None]
    figures["slide_cm_s"] = 100 * float(slides[held].mean()) if held.any() else float("nan")
    lowest = ours.soles[..., 1].min(axis=1)
    figures["deepest_cm"] = -100 * float(np.percentile(lowest, 1))
    figures["deeper_than_3cm"] = float((lowest < -DEEP_M).mean())
    figures |= _standing(ours, theirs, contact, steady, fps)
    figures["jitter"] = float(jitter_m_s3(ours.joints, fps)) / 10 if len(ours.joints) > 3 else float("nan")
    joints = predicted.joints_3d[rows]
    bones = np.linalg.norm(joints[:, 1:] - joints[:, PARENTS[1:]], axis=-1)
    figures["bones_percent"] = 100 * float(((bones.max(axis=0) - bones.min(axis=0)) / bones.mean(axis=0)).max())
    height = body_height_m(skeleton.body, predicted.betas[rows[0]])
    figures["height_m"] = height
    figures["height_off_m"] = height - body_height_m(skeleton.body, truth.betas[pairs[0, 1]])
    return figures


def _median_free(off: F64) -> float:
    return float(np.linalg.norm(off - np.median(off, axis=0), axis=1).mean())


def _standing(
    ours: Track, theirs: Track, contact: NDArray[np.bool_], steady: NDArray[np.bool_], fps: float
) -> dict[str, float]:
    """Over the frames in which the truth stands."""
    speed = np.linalg.norm(np.diff(theirs.root[:, [0, 2]], axis=0), axis=1) * fps
    slow = np.append(speed < STANDS_M_S, False) & np.append(steady, False)
    stands = slow & contact.any(axis=1)
    if stands.sum() < fps / 2:
        return {"stand_height_m": float("nan"), "stand_depth_m": float("nan"), "stands_s": float(stands.sum()) / fps}
    lowest = ours.joints[..., 1].min(axis=1)[stands]
    off = (ours.root[:, 2] - theirs.root[:, 2])[stands]
    return {
        "stand_height_m": float(np.percentile(lowest, 97.5) - np.percentile(lowest, 2.5)),
        "stand_depth_m": float(np.percentile(off, 97.5) - np.percentile(off, 2.5)),
        "stands_s": float(stands.sum()) / fps,
    }


def score_world(predicted: Motion, truth: Motion, body: BodyModel) -> dict[int, dict[str, float]]:
    """Figures of every true person, by id. Raises: UsageError where either has no world, or nobody fits."""
    if not predicted.has_world:
        raise UsageError("the motion has no world coordinates: its camera moves, or an older version wrote it")
    if not (truth.has_world and np.isfinite(truth.contacts).all()):
        raise UsageError("the truth has no world coordinates or no contacts: give one of known floor")
    matched = match_rows(predicted, truth)
    if not matched:
        raise UsageError("nobody of the motion is where the truth has somebody")
    pairs = np.array(matched)
    skeleton = Skeleton.of(body)
    found: dict[int, dict[str, float]] = {}
    for person in truth.person_ids:
        own = pairs[truth.person_id[pairs[:, 1]] == person]
        if len(own) > 3:
            found[person] = score_person(predicted, truth, own[np.argsort(truth.frame[own[:, 1]])], skeleton, truth.fps)
    return found
