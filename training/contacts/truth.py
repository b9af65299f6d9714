"""When the feet of a motion touch the floor, and the motion as the program has it before its contacts are judged."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bodycast.app.records import BodyEstimates
from bodycast.app.smoothers.factory import open_smoother
from bodycast.app.world.person_series import PersonSeries, Skeleton, ankles_seen, resized_root
from bodycast.hmr.geometry.camera import Intrinsics
from training.contacts.watched import WatchedMotion

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
NEAR_FLOOR_M = 0.05
STANDS_M_S = 0.5
FLOOR_PERCENTILE = 5.0


def true_contacts(time_s: F64, soles_m: F32, heights_m: F32) -> NDArray[np.bool_]:
    """(F,4) which soles (F,4,3) touch: within 5 cm of the lowest place of the clip (its 5th percentile; retargeted
    motion capture floats a little) and slower than 0.5 m/s over two frames."""
    ground = np.percentile(heights_m.min(axis=1), FLOOR_PERCENTILE)
    step_s = np.maximum(np.diff(time_s), 1e-6)[:, None]
    speed = np.linalg.norm(np.diff(soles_m, axis=0), axis=-1) / step_s
    slowest = np.minimum(np.concatenate([speed, speed[-1:]]), np.concatenate([speed[:1], speed]))
    return (heights_m < ground + NEAR_FLOOR_M) & (slowest < STANDS_M_S)


def true_series(watched: WatchedMotion, skeleton: Skeleton) -> PersonSeries:
    """The truth; every foot counts as seen."""
    rest = skeleton.rest(watched.betas[None])
    seen = np.ones((len(watched), 2), np.float32)
    return PersonSeries.of(skeleton, watched.time_s, watched.pose, watched.betas, watched.transl_m + rest[:, 0], seen)


def estimates_of(watched: WatchedMotion) -> list[BodyEstimates]:
    """Frame by frame, as the estimator gave them, with focal length and keypoints as they were assumed and seen."""
    return [
        BodyEstimates(
            id=np.ones(1, np.int32),
            pose=watched.saw_pose[row : row + 1],
            betas=watched.saw_betas[row : row + 1],
            transl_m=watched.saw_transl_m[row : row + 1],
            score=watched.score[row : row + 1],
            token=np.zeros((1, 0), np.float32),
            keypoints=watched.keypoints[row : row + 1],
        )
        for row in range(len(watched))
    ]


def seen_series(watched: WatchedMotion, skeleton: Skeleton, smoother: str = "one-euro") -> PersonSeries:
    """What the program has after its smoother, with the mean of the betas."""
    stage = open_smoother(smoother, None)
    out = BodyEstimates.joined(
        [stage.update(frame, float(now)) for frame, now in zip(estimates_of(watched), watched.time_s, strict=True)]
    )
    stage.close()
    betas = out.betas.mean(axis=0).astype(np.float32)
    rest, new_rest = skeleton.rest(out.betas), skeleton.rest(betas[None])
    root = resized_root(out.transl_m + rest[:, 0], rest, np.repeat(new_rest, len(rest), axis=0))
    _, soles = skeleton.place(out.pose, np.repeat(new_rest, len(rest), axis=0), root)
    wh = (int(watched.image_wh[0]), int(watched.image_wh[1]))
    lens = Intrinsics.from_focal(float(watched.assumed_focal_px), wh)
    seen = ankles_seen(out.keypoints, soles, out.score, lens, wh)
    return PersonSeries.of(skeleton, watched.time_s, out.pose, betas, root, seen)
