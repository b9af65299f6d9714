"""`bodycast view DIR`: a run's folder in a browser, with a time line."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from bodycast.app.errors import UsageError
from bodycast.app.files.motion_file import read_motion
from bodycast.app.files.output_folder import MOTION_FILE, OVERLAY_FILE
from bodycast.app.viewer.film_reader import FilmReader
from bodycast.app.viewer.open_viser import OpenViser
from bodycast.app.viewer.picture_feed import PictureFeed
from bodycast.app.viewer.scene import Scene
from bodycast.app.viewer.world_view import Figure, WorldView
from bodycast.hmr.body.body_model import BodyModel

SHOWN_PER_S = 30.0
SPEEDS = ("0.1", "0.25", "0.5", "1", "2")


class RecordedView:
    """The viewer of one folder. `run` plays until `stop`; controls work from viser's threads."""

    def __init__(self, folder: Path, host: str, port: int, body: BodyModel) -> None:
        """Raises: UsageError for a folder without a motion, one that holds nobody, or one of another body."""
        motion = read_motion(folder / MOTION_FILE if folder.is_dir() else folder)
        try:
            self.scene = Scene.of(motion, body)
        except ValueError as error:
            raise UsageError(f"{folder}: {error}") from error
        overlay = folder / OVERLAY_FILE
        try:
            self._film = FilmReader(overlay) if overlay.is_file() else None
        except OSError as error:
            raise UsageError(f"{overlay}: cannot be read ({error})") from error
        self._feed = PictureFeed()
        self._viser = OpenViser(host, port, self._feed.newest)
        self._view = WorldView(self._viser.server, body)
        self._view.set_camera(self.scene.camera_to_world, self.scene.focal_px, self.scene.image_wh)
        self._view.set_home(np.concatenate([person.motion.root_m for person in self.scene.people]))
        for person in self.scene.people:
            self._view.set_curves(person.id, person.motion.time_s - self.scene.start_s, *person.bones)
        self._seconds = self.scene.end_s - self.scene.start_s
        self._time_s, self._playing, self._speed = 0.0, True, 1.0
        self._changed = threading.Event()
        self._stopped = False
        self._make_time_line(self._viser.server.gui)

    @property
    def url(self) -> str:
        """What to open in a browser."""
        return self._viser.url

    @property
    def time_s(self) -> float:
        """The time that is shown, from frame 0."""
        return self._time_s

    def _make_time_line(self, gui: Any) -> None:
        with gui.add_folder("Time", order=-1):
            step_s = 1 / self.scene.fps
            self._slider = gui.add_slider("s", 0.0, max(self._seconds, step_s), step_s, 0.0)
            self._button = gui.add_button("Pause")
            steps = gui.add_button_group("Step", ("back", "on"))
            speed = gui.add_dropdown("Speed", SPEEDS, initial_value="1")

        def seek(event: Any) -> None:
            if event.client is not None:  # not our own update
                self.seek(float(self._slider.value))

        def play(_: Any) -> None:
            self.play(not self._playing)

        def step(event: Any) -> None:
            self.step(1 if event.target.value == "on" else -1)

        def set_speed(_: Any) -> None:
            self._speed = float(speed.value)

        self._slider.on_update(seek)
        self._button.on_click(play)
        steps.on_click(step)
        speed.on_update(set_speed)

    def play(self, on: bool) -> None:
        """Play or pause. From any thread."""
        self._playing = on
        self._button.label = "Pause" if on else "Play"
        self._changed.set()

    def seek(self, time_s: float) -> None:
        """Go to a time. From any thread."""
        self._time_s = min(max(time_s, 0.0), self._seconds)
        self._view.forget_trails()
        self._changed.set()

    def step(self, frames: int) -> None:
        """Pause, and go on or back by frames."""
        self.play(False)
        self.seek((round(self._time_s * self.scene.fps) + frames) / self.scene.fps)

    def run(self) -> None:
        """Show and play until `stop`."""
        before_s = time.monotonic()
        while not self._stopped:
            now_s = time.monotonic()
            if self._playing and self._view.watched:
                ahead_s = self._time_s + (now_s - before_s) * self._speed
                if ahead_s > self._seconds:
                    self._view.forget_trails()
                self._time_s = ahead_s if ahead_s <= self._seconds else 0.0
            before_s = now_s
            self._show()
            wait_s = 1 / SHOWN_PER_S if self._playing else 0.5
            self._changed.wait(max(0.002, wait_s - (time.monotonic() - now_s)))
            self._changed.clear()

    def stop(self) -> None:
        """End `run`. From any thread."""
        self._stopped = True
        self._changed.set()

    def close(self) -> None:
        """Close server and film."""
        self._viser.close()
        if self._film is not None:
            self._film.close()

    def _show(self) -> None:
        time_s = self._time_s
        figures: list[Figure] = []
        for person in self.scene.people:
            row = person.row_at(self.scene.start_s + time_s)
            if row is None:
                continue
            places, turns = person.bones
            rest = person.joints_rest
            figures.append(Figure(person.id, person.colour, places[row], turns[row], person.vertices, rest))
        self._view.show(figures, time_s)
        if self._film is not None and (picture := self._film.picture_at(time_s)) is not None:
            self._feed.put(picture)
        if abs(self._slider.value - time_s) > 1e-6:
            self._slider.value = time_s
