"""Boxes in pictures -> bodies: the live program's crop rule, network and camera, without detector, tracker or smoother.

Crops of several pictures go through the network together where the pictures' cameras are the same (frames of a film);
the answer for a person does not depend on whom it shares a batch with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bodycast.app.pipeline.inference import pose_bodies
from bodycast.app.records import F32, U8, BodyEstimates, CropBatch, Frame, Tracks
from bodycast.hmr.body.body_model import BodyModel, forward_kinematics
from bodycast.hmr.body.coco_joints import coco_offsets, coco_points
from bodycast.hmr.body.surface_joints import SURFACE_VERTICES, body_points
from bodycast.hmr.geometry.camera import Intrinsics, project_intrinsics
from bodycast.hmr.geometry.rotations import matrix_to_axis_angle
from evaluation.predictions import TOKEN

NEAR_M = 0.01


class EstimatesBodies(Protocol):
    """What is needed of bodycast.app.estimation.estimator.Estimator."""

    @property
    def input_hw(self) -> tuple[int, int]: ...

    def crop(self, frame: Frame, tracks: Tracks, input_hw: tuple[int, int] | None = None) -> CropBatch: ...

    def estimate(self, crops: CropBatch, intrinsics: Intrinsics, image_wh: tuple[int, int]) -> BodyEstimates: ...


class RowPredictor:
    """Fills rows of prediction columns. `add` a picture with its boxes, `flush` at the end."""

    def __init__(
        self,
        estimator: EstimatesBodies,
        body: BodyModel,
        columns: dict[str, NDArray[Any]],
        batch: int,
        done: Callable[[int], None] = lambda count: None,
    ) -> None:
        """columns: evaluation.predictions.empty_columns. batch: crops a call of the network. done: told how many
        rows were filled."""
        self._estimator = estimator
        self._body = body
        self._columns = columns
        self._batch = batch
        self._done = done
        self._waiting: dict[Intrinsics, list[tuple[int, CropBatch]]] = {}

    def add(self, rows: Sequence[int], image: U8, xyxy: NDArray[np.floating[Any]], intrinsics: Intrinsics) -> None:
        """rows: where the answers go; image (H,W,3) uint8 BGR; xyxy (N,4) px with area."""
        count = len(rows)
        tracks = Tracks(np.arange(1, count + 1, dtype=np.int32), xyxy.astype(np.float32), np.zeros(count))
        crops = self._estimator.crop(Frame(image, 0, 0.0), tracks)
        waiting = self._waiting.setdefault(intrinsics, [])
        for number, row in enumerate(rows):
            waiting.append((row, crops.one(number)))
        while len(waiting) >= self._batch:
            self._run(intrinsics, waiting[: self._batch])
            del waiting[: self._batch]
        # Pictures of many sizes: do not hoard crops for batches that never fill.
        if sum(map(len, self._waiting.values())) > 16 * self._batch:
            self.flush()

    def flush(self) -> None:
        """Run everything that waits."""
        for intrinsics, waiting in self._waiting.items():
            if waiting:
                self._run(intrinsics, waiting)
        self._waiting.clear()

    def _run(self, intrinsics: Intrinsics, waiting: Sequence[tuple[int, CropBatch]]) -> None:
        rows = np.array([row for row, _ in waiting])
        batch = CropBatch.joined([crop for _, crop in waiting], np.arange(1, len(rows) + 1, dtype=np.int32))
        estimates = self._estimator.estimate(batch, intrinsics, intrinsics.image_wh)
        # Bodies that are no numbers are left out by the estimator: their rows stay invalid.
        write_estimates(self._columns, rows[estimates.id - 1], estimates, self._body, intrinsics)
        self._done(len(rows))


def write_estimates(
    columns: dict[str, NDArray[Any]],
    rows: NDArray[np.intp],
    estimates: BodyEstimates,
    body: BodyModel,
    intrinsics: Intrinsics,
) -> None:
    """Put estimates, one per row, into the columns (tokens too, where there is a column for them); skins them for
    joints and points."""
    posed = pose_bodies(body, estimates, intrinsics)
    columns["valid"][rows] = True
    columns["score"][rows] = estimates.score
    columns["poses"][rows] = matrix_to_axis_angle(estimates.pose).reshape(-1, 72)
    columns["betas"][rows] = estimates.betas
    columns["trans"][rows] = estimates.transl_m
    columns["joints_3d"][rows] = posed.joints
    columns["joints_2d"][rows] = posed.joints_px
    if TOKEN in columns:
        columns[TOKEN][rows] = estimates.token
    columns["focal_px"][rows] = intrinsics.focal_px
    columns["image_wh"][rows] = intrinsics.image_wh
    if body.name in SURFACE_VERTICES:
        points = body_points(body, posed.vertices, posed.joints)
        columns["points_3d"][rows] = points
        columns["points_2d"][rows] = _projected(points, intrinsics)
        turns, places = forward_kinematics(estimates.pose, body.joints(estimates.betas))
        coco = coco_points(turns, places + estimates.transl_m[:, None], coco_offsets(body))
        columns["coco_3d"][rows] = coco
        columns["coco_2d"][rows] = _projected(coco, intrinsics)


def _projected(points: F32, intrinsics: Intrinsics) -> NDArray[Any]:
    before_camera = points.copy()
    before_camera[..., 2] = np.maximum(before_camera[..., 2], NEAR_M)
    return project_intrinsics(before_camera, intrinsics)
