"""The window's side of the pipeline: takes results from its queue, puts the HUD on them, keeps the film's pace."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from bodycast.app.errors import cannot_write
from bodycast.app.files.output_file import write_whole
from bodycast.app.pipeline.pace import Pace
from bodycast.app.pipeline.stages import Window
from bodycast.app.pipeline.timing import FrameRate, StageTimes
from bodycast.app.pipeline.view import View
from bodycast.app.records import U8, FrameResult
from bodycast.app.renderers.hud import Hud, HudStatus
from bodycast.app.sources.handoff import Handoff

SAID_S = 3.0
"""How long the HUD says what a key did."""

MakesStatus = Callable[[FrameResult, float], HudStatus]
"""The HUD's text for a result and the frame rate of the window."""


def window_keys(
    hud: Hud, view: View, take: Callable[[], None], recentre: Callable[[], None]
) -> dict[str, Callable[[], None]]:
    """What the window's keys do, but for the screenshot."""
    return {
        "h": hud.toggle,
        " ": view.toggle_pause,
        "m": view.next,
        "+": partial(view.step_opacity, 1),
        "=": partial(view.step_opacity, 1),  # the same key without shift
        "-": partial(view.step_opacity, -1),
        "x": view.toggle_mirror,
        "r": take,
        "c": recentre,
    }


class Screenshots:
    """Pictures that the user keeps, numbered, in a folder that is made for the first."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def save(self, picture: U8) -> str:
        """Write one as PNG; says where it is, or why it is not."""
        number = 1
        while os.path.lexists(path := self._folder / f"screenshot-{number:03}.png"):
            number += 1
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            write_whole(path, lambda stream: stream.write(cv2.imencode(".png", picture)[1].tobytes()))
        except OSError as error:
            return str(cannot_write(path, error))
        return f"saved {path}"


class Display:
    """Displays results one `step` at a time, in the thread that made the window.

    The HUD is drawn on a copy, so that a recorded video stays clean. A live picture is shown at once; a film no faster
    than it was filmed, which holds back the whole run, as its queues wait.
    """

    def __init__(
        self,
        window: Window,
        hud: Hud,
        view: View,
        status: MakesStatus,
        queue: Handoff[FrameResult],
        times: StageTimes,
        screenshots: Screenshots,
        *,
        paced: bool,
    ) -> None:
        """view: what the keys choose; the HUD is never mirrored. paced: no faster than the source's frame times."""
        self._window = window
        self._hud = hud
        self._status = status
        self._queue = queue
        self._times = times
        self._paced = paced
        self._view = view
        self._screenshots = screenshots
        self._shown: FrameResult | None = None
        self._said: tuple[str, float] = ("", 0.0)
        self._rate = FrameRate()
        self._next: FrameResult | None = None
        self._pace = Pace()
        self.open = True

    def step(self, timeout_s: float) -> None:
        """Display the next picture, or handle the window's events after waiting `timeout_s` for one."""
        if self._view.paused and self._shown is not None:
            self._stand(timeout_s)
            return
        try:
            result = self._next or self._queue.take(timeout_s)
        except TimeoutError:
            self._window.poll()
            return
        if result is None:
            self.end()
            return
        early_s = self._pace.early_s(result.frame.time_s) if self._paced else 0.0
        time.sleep(min(early_s, timeout_s))
        if early_s > timeout_s:
            self._next = result
            self._window.poll()
            return
        self._next = None
        self._rate.tick(time.monotonic())
        self._show(result)

    def save(self) -> None:
        """Keep the picture that is shown, without the HUD."""
        if self._shown is not None:
            self._said = self._screenshots.save(self._picture(self._shown)), time.monotonic() + SAID_S

    def end(self) -> None:
        """Take no more pictures and remove the window."""
        self.open = False
        self._queue.close()
        self._window.close()

    def _stand(self, timeout_s: float) -> None:
        """Paused: the picture stands. A film waits; what a live source shows meanwhile is let go."""
        if self._paced:
            time.sleep(timeout_s)
        else:
            with suppress(TimeoutError):
                if self._queue.take(timeout_s) is None:
                    self.end()
                    return
        if self._shown is not None:
            self._show(self._shown)

    def _picture(self, result: FrameResult) -> U8:
        picture = result.overlay if result.view is None else result.view
        return np.ascontiguousarray(picture[:, ::-1]) if self._view.mirror else picture

    def _show(self, result: FrameResult) -> None:
        self._shown = result
        with self._times.measure("window"):
            status = self._status(result, self._rate.fps)
            said = (self._said[0],) if time.monotonic() < self._said[1] else ()
            status = replace(status, paused=self._view.paused, notes=(*status.notes, *said))
            self._window.write(replace(result, overlay=self._hud.draw(self._picture(result), status)))
