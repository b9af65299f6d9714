"""The quarter-second measurement before the first frame: what networks and detector cost on this machine.

Not what they cost beside other programs that happen to run then: what those take shows in the frames, and is traded
for as long as they do.
"""

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
Clocks = tuple[Callable[[], float], Callable[[], float]]
CLOCKS: Clocks = (time.perf_counter, time.process_time)
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
    threads: int | None = None,
    clocks: Clocks = CLOCKS,
) -> StartCosts:
    """Time one person and one detection in a grey picture for MEASURE_S in all; each at least once, after a first time
    that does not count. threads: of the networks, where other programs use the CPU (see `typical_s`)."""
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
        person()  # the first time, memory is taken and libraries start their threads
        person_s = typical_s(person, MEASURE_S * 0.4, threads, clocks)
        estimator.refines = False
        unrefined_s = typical_s(person, MEASURE_S * 0.2, threads, clocks) if refines else person_s
    finally:
        estimator.refines = refines
        if keypoints is not None:
            keypoints.look_turned = turned
    detector.detect(frame)
    detector_s = typical_s(lambda: detector.detect(frame), MEASURE_S * 0.4, None if threads is None else 1, clocks)
    return StartCosts(person_s, unrefined_s, detector_s)


def typical_s(call: Callable[[], object], limit_s: float, threads: int | None = None, clocks: Clocks = CLOCKS) -> float:
    """Seconds of a call, which is made at least once, and more often while `limit_s` allows it: the median.

    threads: that share its work, where other programs use the CPU and nothing else runs in this process. What it would
    take without them is not known then: between the CPU time and a share of it. The shortest that it may be is given: a
    run that is too slow shows it within seconds, one that began with less than it can would not.
    """
    wall, cpu = clocks
    times: list[float] = []
    passed_s = last_s = 0.0
    while not times or passed_s + last_s < limit_s:
        wall_s, cpu_s = wall(), cpu()
        call()
        last_s, used_s = wall() - wall_s, cpu() - cpu_s
        passed_s += last_s
        times.append(last_s if threads is None else min(last_s, used_s / threads))
    return float(np.median(times))
