"""The figures in the corner of the window: speed, delay, people, drops, milliseconds per stage."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass

from app.errors import require
from app.pipeline.timing import StageTimes
from app.records import U8, FrameResult

SHOWN_STAGES = ("detector", "estimate", "body", "smooth", "draw")


class FrameRate:
    """Frames per second over the last second or so."""

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
        if len(self._ticks) < 2 or self._ticks[-1] <= self._ticks[0]:
            return 0.0
        return (len(self._ticks) - 1) / (self._ticks[-1] - self._ticks[0])


@dataclass(frozen=True, slots=True)
class HudLine:
    """What the HUD says, apart from how it is drawn."""

    fps: float
    people: int
    delay_ms: float | None
    dropped: int
    stage_ms: dict[str, float]

    def lines(self) -> list[str]:
        """The text, top to bottom."""
        first = f"{self.fps:.0f} fps  {self.people} {'person' if self.people == 1 else 'people'}"
        if self.delay_ms is not None:
            first += f"  {self.delay_ms:.0f} ms behind"
        if self.dropped:
            first += f"  {self.dropped} dropped"
        stages = "  ".join(f"{stage} {ms:.1f}" for stage, ms in self.stage_ms.items())
        return [first, stages] if stages else [first]


class Hud:
    """Writes the figures on a copy of the overlay, so that a recorded video stays clean."""

    def __init__(self, times: StageTimes, live: bool) -> None:
        self._times = times
        self._live = live
        self._rate = FrameRate()
        self._cv2 = require("cv2", "live.txt")

    def draw(self, result: FrameResult) -> U8:
        """A new picture with the figures. For a live source the delay is the age of the picture since the grab."""
        now_s = time.monotonic()
        self._rate.tick(now_s)
        stage_ms = {stage: ms for stage in SHOWN_STAGES if (ms := self._times.recent_ms(stage)) is not None}
        line = HudLine(
            fps=self._rate.fps,
            people=len(result.estimates),
            delay_ms=(now_s - result.frame.time_s) * 1e3 if self._live else None,
            dropped=result.dropped,
            stage_ms=stage_ms,
        )
        return self._write(result.overlay, line.lines())

    def _write(self, image: U8, lines: list[str]) -> U8:
        cv2 = self._cv2
        picture = image.copy()
        scale = max(0.4, image.shape[0] / 1200)
        step_px = round(34 * scale)
        for row, text in enumerate(lines):
            at = (step_px // 2, step_px * (row + 1))
            # Dark below light: readable on any picture.
            for colour, width in (((0, 0, 0), 3), ((255, 255, 255), 1)):
                cv2.putText(picture, text, at, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, width, cv2.LINE_AA)
        return picture
