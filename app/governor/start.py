"""The quarter-second measurement before the first frame: what networks and detector cost on this machine, now."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bodycast.app.governor.policy import Measured
from bodycast.app.records import Frame, Tracks
from bodycast.hmr.geometry.camera import Intrinsics

if TYPE_CHECKING:
    from bodycast.app.detectors.base import Detector
    from bodycast.app.estimation.estimator import Estimator
    from bodycast.app.estimation.fused_estimator import FusedEstimator

MEASURE_S = 0.25
OTHER_STAGES = 0.25
"""Following, smoothing, placing and skinning, in shares of crops and networks; measured once frames come."""


@dataclass(frozen=True, slots=True)
class StartCosts:
    """Seconds: of one person's crop and networks, the same without refinement, of one detection."""

    person_s: float
    unrefined_s: float
    detector_s: float

    @property
    def refinement_share(self) -> float:
        """Of a person's time, 0..1."""
        return min(max(1 - self.unrefined_s / self.person_s, 0.0), 0.9) if self.person_s > 0 else 0.0

    def as_measured(self, now_s: float, fps: float, detect_every_s: float) -> Measured:
        """What a frame with one person is expected to cost."""
        return Measured(
            time_s=now_s,
            fps=fps,
            latency_s=0.0,
            frame_s=self.person_s * (1 + OTHER_STAGES),
            estimate_s=self.person_s,
            draw_s=0.0,
            detector_s=self.detector_s,
            detections=1 / max(detect_every_s, self.detector_s, 1e-3),
            people=1.0,
            looked=1.0,
        )


def measure_start(
    estimator: Estimator | FusedEstimator,
    detector: Detector,
    image_wh: tuple[int, int],
    clock: Callable[[], float] = time.perf_counter,
) -> StartCosts:
    """Time one person and one detection in a grey picture for MEASURE_S in all; each at least once. Medians: the
    machine as it is now, whoever else uses it."""
    width, height = image_wh
    frame = Frame(np.full((height, width, 3), 128, np.uint8), 0, 0.0)
    box = np.array([[0.4 * width, 0.2 * height, 0.6 * width, 0.9 * height]], np.float32)
    tracks = Tracks(np.ones(1, np.int32), box, np.zeros(1))
    intrinsics = Intrinsics.default(image_wh)

    def person() -> None:
        crops = estimator.crop(frame, tracks, estimator.input_hw)
        estimator.estimate(crops, intrinsics, image_wh)

    refines, keypoints = estimator.refines, getattr(estimator, "keypoints", None)
    turned = keypoints is not None and keypoints.look_turned
    if keypoints is not None:
        keypoints.look_turned = False  # a grey picture would be looked at from all sides
    try:
        person_s = median_s(person, MEASURE_S * 0.4, clock)
        estimator.refines = False
        unrefined_s = median_s(person, MEASURE_S * 0.2, clock) if refines else person_s
    finally:
        estimator.refines = refines
        if keypoints is not None:
            keypoints.look_turned = turned
    detector_s = median_s(lambda: detector.detect(frame), MEASURE_S * 0.4, clock)
    return StartCosts(person_s, unrefined_s, detector_s)


def median_s(call: Callable[[], object], limit_s: float, clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds of a call, which is made at least once, and more often while `limit_s` allows it."""
    times: list[float] = []
    while not times or sum(times) + times[-1] < limit_s:
        began_s = clock()
        call()
        times.append(clock() - began_s)
    return float(np.median(times))
