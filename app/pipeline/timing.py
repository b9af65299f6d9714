"""How long each stage takes: the last samples of every stage, percentiles on request, bounded memory."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

KEPT_SAMPLES = 5_000  # three minutes at 30 frames/s: from there on a long run's memory is flat


@dataclass(frozen=True, slots=True)
class StageSummary:
    """Percentiles in milliseconds over the last `KEPT_SAMPLES`; `count` is of the whole run."""

    count: int
    p50_ms: float
    p95_ms: float
    p99_ms: float


class StageTimes:
    """Seconds per stage, added from any thread."""

    def __init__(self, kept: int = KEPT_SAMPLES) -> None:
        self._kept = kept
        self._lock = threading.Lock()
        self._samples: dict[str, deque[float]] = {}
        self._count: dict[str, int] = {}

    def add(self, stage: str, seconds: float) -> None:
        """One sample."""
        with self._lock:
            if stage not in self._samples:
                self._samples[stage] = deque(maxlen=self._kept)
                self._count[stage] = 0
            self._samples[stage].append(seconds)
            self._count[stage] += 1

    def add_all(self, stage_s: Mapping[str, float]) -> None:
        """One sample for each stage of a frame."""
        for stage, seconds in stage_s.items():
            self.add(stage, seconds)

    @contextmanager
    def measure(self, stage: str) -> Generator[None]:
        """Time the block as one sample."""
        start_s = time.perf_counter()
        try:
            yield
        finally:
            self.add(stage, time.perf_counter() - start_s)

    def summary(self) -> dict[str, StageSummary]:
        """By stage, in the order in which the stages first appeared."""
        with self._lock:
            copied = {stage: np.array(samples) * 1e3 for stage, samples in self._samples.items()}
            counts = dict(self._count)
        return {
            stage: StageSummary(counts[stage], *(float(value) for value in np.percentile(samples, (50, 95, 99))))
            for stage, samples in copied.items()
        }


@contextmanager
def timed(stage: str, stage_s: dict[str, float]) -> Generator[None]:
    """Time the block into one frame's own record; several blocks of a stage add up."""
    start_s = time.perf_counter()
    try:
        yield
    finally:
        stage_s[stage] = stage_s.get(stage, 0.0) + time.perf_counter() - start_s


class FrameRate:
    """Frames per second over the last `window_s`."""

    def __init__(self, window_s: float = 1.0) -> None:
        self._window_s = window_s
        self._ticks: deque[float] = deque(maxlen=1000)

    def tick(self, now_s: float) -> None:
        """A frame at `now_s`, monotonic seconds."""
        self._ticks.append(now_s)
        while now_s - self._ticks[0] > self._window_s and len(self._ticks) > 2:
            self._ticks.popleft()

    @property
    def fps(self) -> float:
        """0 until two frames are there."""
        ticks = list(self._ticks)
        if len(ticks) < 2 or ticks[-1] <= ticks[0]:
            return 0.0
        return (len(ticks) - 1) / (ticks[-1] - ticks[0])
