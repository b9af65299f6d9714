"""The live window: shows the overlay and reads the keys."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from bodycast.app.errors import RunError
from bodycast.app.records import U8, FrameResult

QUIT_KEYS = ("q", "\x1b")

LARGEST_WH = (1600, 900)
"""The window starts no larger than this; it can be dragged to any size."""

PROBE_TIMEOUT_S = 15.0


class Gui(Protocol):
    """What the window needs of a GUI library."""

    def open(self, title: str, width: int, height: int) -> None: ...
    def show(self, title: str, image: U8) -> None: ...
    def poll_key(self) -> int: ...
    def is_open(self, title: str) -> bool: ...
    def close(self, title: str) -> None: ...


class OpenCvGui:
    """OpenCV's HighGUI. All calls from one thread."""

    def open(self, title: str, width: int, height: int) -> None:
        """A resizable window that keeps the picture's proportions."""
        import cv2

        cv2.namedWindow(title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)
        cv2.resizeWindow(title, width, height)

    def show(self, title: str, image: U8) -> None:
        """Put a picture into the window."""
        import cv2

        cv2.imshow(title, image)

    def poll_key(self) -> int:
        """Handle the window's events for a millisecond; the key that was pressed, or -1."""
        import cv2

        key = cv2.waitKey(1)
        return key if key < 0 else key & 0xFF

    def is_open(self, title: str) -> bool:
        """False once the user has closed the window."""
        import cv2

        try:
            return cv2.getWindowProperty(title, cv2.WND_PROP_VISIBLE) >= 1
        except cv2.error:
            return False  # some backends raise for a window that is gone

    def close(self, title: str) -> None:
        """Remove the window if it is still there."""
        import cv2

        if self.is_open(title):
            cv2.destroyWindow(title)
            cv2.waitKey(1)


class WindowSink:
    """Shows each frame's overlay. `q`, Esc or closing the window call `on_quit`, once; other keys `on_key`, in lower
    case.

    GUI libraries want one thread: make it anywhere, but call `write`, `poll` and `close` from the same thread. Ask
    `display_problem()` before the run: without a display, GUI libraries end the whole program.
    """

    def __init__(
        self,
        title: str = "Bodycast",
        *,
        on_quit: Callable[[], None],
        on_key: Callable[[str], None],
        gui: Gui | None = None,
    ) -> None:
        self._title = title
        self._on_quit = on_quit
        self._on_key = on_key
        self._gui = gui or OpenCvGui()
        self._opened = False
        self._quit = False

    @property
    def name(self) -> str:
        """For messages."""
        return "window"

    def write(self, result: FrameResult) -> None:
        """Show one frame and handle the keys. Raises RunError where the display is gone."""
        import cv2

        if self._opened and not self._quit and not self._gui.is_open(self._title):
            self._end()  # a new picture would bring the closed window back
        if self._quit:
            return
        try:
            if not self._opened:
                self._gui.open(self._title, *_start_size(result.overlay))
                self._opened = True
            self._gui.show(self._title, result.overlay)
        except cv2.error as error:
            raise RunError(f"the window failed ({error}); run again with --no-window") from error
        self.poll()

    def poll(self) -> None:
        """Handle keys and the close button; call it now and then while no frame comes."""
        if not self._opened or self._quit:
            return
        code = self._gui.poll_key()
        key = "" if code < 0 else chr(code).lower()
        if key in QUIT_KEYS or not self._gui.is_open(self._title):
            self._end()
        elif key:
            self._on_key(key)

    def close(self) -> None:
        """Remove the window. May be called twice."""
        if self._opened:
            self._opened = False
            self._gui.close(self._title)

    def _end(self) -> None:
        self._quit = True
        self._on_quit()


def _start_size(image: U8) -> tuple[int, int]:
    height, width = image.shape[:2]
    scale = min(1.0, LARGEST_WH[0] / width, LARGEST_WH[1] / height)
    return round(width * scale), round(height * scale)


@dataclass(frozen=True, slots=True)
class DisplayProblem:
    """Why no window can be opened, and what to do about it."""

    what: str
    way_out: str = "run with --no-window, or give --output to keep the result"

    def __str__(self) -> str:
        return f"{self.what}: {self.way_out}"


def display_problem() -> DisplayProblem | None:
    """Why no window can be opened here, or None where it can.

    Tried in a process of its own (0.3 s), because Qt aborts the whole program where it cannot reach the display.
    """
    if sys.platform.startswith("linux") and not os.environ.get("DISPLAY"):
        return DisplayProblem("there is no display (DISPLAY is not set)")
    probe = "import cv2; cv2.namedWindow('probe'); cv2.waitKey(1); cv2.destroyAllWindows()"
    run = partial(subprocess.run, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        done = run([sys.executable, "-c", probe], timeout=PROBE_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return DisplayProblem("the display does not respond")
    if done.returncode == 0:
        return None
    if "not implemented" in done.stderr:
        way_out = "pip uninstall opencv-python-headless, then install requirements/live.txt"
        return DisplayProblem("this OpenCV has no windows", way_out)
    return DisplayProblem(f"no window can be opened on display {os.environ.get('DISPLAY', '(default)')}")
