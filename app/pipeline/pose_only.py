"""Poses of a network on a body that its shapes do not belong to (--pose-only)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bodycast.app.pipeline.stages import EstimatesBodies
from bodycast.app.records import BodyEstimates, CropBatch, Frame, Tracks
from bodycast.hmr.geometry.camera import Intrinsics


class PoseOnly:
    """An estimator whose shapes mean nothing on the body in use: they become the body's average, zero betas."""

    def __init__(self, estimator: EstimatesBodies) -> None:
        self._estimator = estimator

    @property
    def input_hw(self) -> tuple[int, int]:
        """Height and width of the crops."""
        return self._estimator.input_hw

    def crop(self, frame: Frame, tracks: Tracks, input_hw: tuple[int, int] | None = None) -> CropBatch:
        """The estimator's own crops."""
        return self._estimator.crop(frame, tracks, input_hw)

    def estimate(self, crops: CropBatch, intrinsics: Intrinsics, image_wh: tuple[int, int]) -> BodyEstimates:
        """The estimates with zero betas."""
        estimates = self._estimator.estimate(crops, intrinsics, image_wh)
        return replace(estimates, betas=np.zeros_like(estimates.betas))

    @property
    def label(self) -> str:
        """The estimator's own."""
        return self._estimator.label

    def describe(self) -> str:
        """What the estimator says, and that shapes are left out."""
        return f"{self._estimator.describe()}, pose only"

    def close(self) -> None:
        """Release the engine."""
        self._estimator.close()


def pose_only_note(network_body: str, body: str) -> tuple[str, ...]:
    """What a run says where the network's shapes belong to another body; nothing where they do not."""
    if network_body == body:
        return ()
    return (f"--pose-only: shapes of {network_body!r} mean nothing on {body!r}; everybody has the average shape",)
