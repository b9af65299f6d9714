"""One frame's people as rows of the motion table."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bodycast.app.errors import RunError
from bodycast.app.files.motion_file import ROW
from bodycast.app.files.motion_parts import FRAME, SMOOTHED
from bodycast.app.records import F32, FrameResult, FrameWorld
from bodycast.app.world.frame_world import world_rows
from bodycast.hmr.geometry.rotations import matrix_to_axis_angle

_FINITE = ("time_s", "bbox_xyxy", "score", "poses", "betas", "trans", "joints_3d")
_COCO = 17


def frame_record(result: FrameResult) -> NDArray[np.void]:
    """One record of dtype FRAME; `end_row` is the writer's to set."""
    world = result.world or FrameWorld.unknown(0)
    record = np.zeros(1, FRAME)
    record["frame"], record["time_s"] = result.frame.index, result.frame.time_s
    record["focal_px"], record["image_wh"] = result.intrinsics.focal_px, result.frame.image_wh
    record["floor"], record["camera_to_world"] = world.floor, world.camera_to_world
    return record


def motion_rows(result: FrameResult) -> NDArray[np.void]:
    """(N,) records of dtype ROW, sorted by person. Raises: RunError for values that are not finite, or a person who
    occurs twice."""
    estimates, bodies, count = result.estimates, result.bodies, len(result.estimates)
    world = result.world or FrameWorld.unknown(count)
    rows = np.empty(count, ROW)
    rows["frame"], rows["time_s"] = result.frame.index, result.frame.time_s
    rows["person_id"], rows["bbox_xyxy"], rows["score"] = estimates.id, result.xyxy, estimates.score
    rows["poses"] = matrix_to_axis_angle(estimates.pose).reshape(count, 72)
    rows["betas"], rows["trans"], rows["joints_3d"] = estimates.betas, estimates.transl_m, bodies.joints
    # A joint at or behind the camera plane has no image; the file says so with NaN.
    rows["joints_2d"] = np.where(np.isfinite(bodies.joints_px), bodies.joints_px, np.nan)
    rows["keypoints_2d"] = estimates.keypoints if estimates.keypoints.shape[1] == _COCO else np.nan
    rows["contacts"] = world.contacts
    placed = world_rows(world.camera_to_world, bodies.joints, estimates.pose[:, 0], estimates.transl_m)
    rows["joints_world"], rows["trans_world"] = placed.joints_world, placed.trans_world
    rows["root_orient_world"] = placed.root_orient_world
    for name in _FINITE:
        if not np.isfinite(rows[name]).all():
            raise RunError(f"frame {result.frame.index}: {name} holds values that are not finite; check the model")
    if len(np.unique(rows["person_id"])) != count:
        raise RunError(f"frame {result.frame.index}: one person occurs twice, ids {rows['person_id'].tolist()}")
    return rows[np.argsort(rows["person_id"])]


def smoothed_rows(result: FrameResult) -> NDArray[np.void]:
    """(N,) records of dtype SMOOTHED, sorted by person: the same people before they were put where they stand."""
    estimates = result.smoothed or result.estimates
    rows = np.empty(len(estimates), SMOOTHED)
    rows["poses"] = matrix_to_axis_angle(estimates.pose).reshape(len(estimates), 72)
    rows["betas"], rows["trans"] = estimates.betas, estimates.transl_m
    turn: F32 = np.zeros(3, np.float32)
    if result.world is not None:
        known = np.isfinite(result.world.turn).all()
        turn = matrix_to_axis_angle(result.world.turn.astype(np.float32)) if known else np.full(3, np.nan, np.float32)
    rows["turn"] = turn
    return rows[np.argsort(estimates.id)]
