"""Costs of single frames, gathered into windows. Told from the inference and the drawing thread."""

from __future__ import annotations

import threading
from collections.abc import Mapping

import numpy as np

from bodycast.app.governor.policy import Measured

LEAST_FRAMES = 3
STAGES_OF_NETWORKS = ("crop", "estimate")


class Meter:
    """Windows of `window_s`, and longer where frames are so slow that fewer than LEAST_FRAMES were drawn."""

    def __init__(self, window_s: float = 1.0, detector_s: float = 0.0) -> None:
        """detector_s: of one detection, as far as it is known."""
        self._window_s = window_s
        self._lock = threading.Lock()
        self._began_s: float | None = None
        self._detector_s = detector_s
        self._clear()

    def _clear(self) -> None:
        self._frames: list[tuple[float, float, int, int]] = []
        self._drawn: list[tuple[float, float]] = []
        self._detections = 0

    def frame(self, seconds: float, stage_s: Mapping[str, float], people: int, looked: int) -> None:
        """One frame before its drawing. people, looked: followed, and sent through the networks."""
        networks_s = sum(stage_s.get(stage, 0.0) for stage in STAGES_OF_NETWORKS)
        with self._lock:
            self._frames.append((seconds, networks_s, people, looked))

    def detection(self, seconds: float) -> None:
        """One run of the detector."""
        with self._lock:
            self._detections += 1
            # What it costs now: an average over the last few.
            self._detector_s = seconds if not self._detector_s else 0.7 * self._detector_s + 0.3 * seconds

    def drawn(self, seconds: float, latency_s: float) -> None:
        """One frame is drawn, `latency_s` after it was grabbed."""
        with self._lock:
            self._drawn.append((seconds, latency_s))

    @property
    def detector_s(self) -> float:
        """Of one detection, of late; 0: there was none."""
        return self._detector_s

    def restart(self, now_s: float) -> None:
        """Begin a new window: something has changed."""
        with self._lock:
            self._began_s = now_s
            self._clear()

    def window(self, now_s: float) -> Measured | None:
        """The window that ends now; None where it is not over yet."""
        with self._lock:
            if self._began_s is None:
                self._began_s = now_s
                self._clear()
                return None
            length_s = now_s - self._began_s
            if length_s < self._window_s or min(len(self._frames), len(self._drawn)) < LEAST_FRAMES:
                return None
            frame_s, networks_s, people, looked = np.mean(np.array(self._frames, np.float64), axis=0)
            draw_s, latency_s = np.array(self._drawn, np.float64).T
            measured = Measured(
                time_s=now_s,
                fps=len(self._drawn) / length_s,
                latency_s=float(np.percentile(latency_s, 95)),
                frame_s=float(frame_s),
                estimate_s=float(networks_s),
                draw_s=float(draw_s.mean()),
                detector_s=self._detector_s,
                detections=self._detections / length_s,
                people=float(people),
                looked=float(looked),
            )
            self._began_s = now_s
            self._clear()
            return measured
