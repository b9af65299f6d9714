"""The window's side of the pipeline: takes results from its queue, puts the HUD on them, keeps the film's pace."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from bodycast.app.pipeline.stages import Window
from bodycast.app.pipeline.timing import FrameRate, StageTimes
from bodycast.app.records import FrameResult
from bodycast.app.renderers.hud import Hud, HudStatus
from bodycast.app.sources.handoff import Handoff

MakesStatus = Callable[[FrameResult, float], HudStatus]
"""The HUD's text for a result and the frame rate of the window."""


class Display:
    """Displays results one `step` at a time, in the thread that made the window.

    The HUD is drawn on a copy, so that a recorded video stays clean. A live picture is shown at once; a film no faster
    than it was filmed, which holds back the whole run, as its queues wait.
    """

    def __init__(
        self,
        window: Window,
        hud: Hud,
        status: MakesStatus,
        queue: Handoff[FrameResult],
        times: StageTimes,
        *,
        paced: bool,
        mirror: bool = False,
    ) -> None:
        """paced: no faster than the source's frame times. mirror: the picture left-right mirrored, the HUD not."""
        self._window = window
        self._hud = hud
        self._status = status
        self._queue = queue
        self._times = times
        self._paced = paced
        self._mirror = mirror
        self._rate = FrameRate()
        self._next: FrameResult | None = None
        self._clock_offset_s: float | None = None
        self.open = True

    def step(self, timeout_s: float) -> None:
        """Display the next picture, or handle the window's events after waiting `timeout_s` for one."""
        try:
            result = self._next or self._queue.take(timeout_s)
        except TimeoutError:
            self._window.poll()
            return
        if result is None:
            self.end()
            return
        early_s = self._early_s(result) if self._paced else 0.0
        time.sleep(min(early_s, timeout_s))
        if early_s > timeout_s:
            self._next = result
            self._window.poll()
            return
        self._next = None
        self._rate.tick(time.monotonic())
        with self._times.measure("window"):
            overlay = np.ascontiguousarray(result.overlay[:, ::-1]) if self._mirror else result.overlay
            picture = self._hud.draw(overlay, self._status(result, self._rate.fps))
            self._window.write(replace(result, overlay=picture))

    def end(self) -> None:
        """Take no more pictures and remove the window."""
        self.open = False
        self._queue.close()
        self._window.close()

    def _early_s(self, result: FrameResult) -> float:
        """Seconds until this picture is due. Whenever the pipeline is late, the clock starts anew from there."""
        now_s = time.monotonic()
        if self._clock_offset_s is None or result.frame.time_s + self._clock_offset_s < now_s:
            self._clock_offset_s = now_s - result.frame.time_s
        return result.frame.time_s + self._clock_offset_s - now_s
