"""The window's keys, with a GUI that stands in for OpenCV's, and the question whether there is a display."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from bodycast.app.errors import RunError
from bodycast.app.records import U8
from bodycast.app.sinks.window import WindowSink, display_problem
from tests.sinks.results import result_of


class FakeGui:
    """Remembers what is shown; `keys` are pressed one per poll; `open_polls`: polls until the user closes it."""

    def __init__(self, keys: str = "", open_polls: int = 10**6, broken: bool = False) -> None:
        self.keys = [ord(key) for key in keys]
        self.open_polls = open_polls
        self.broken = broken
        self.shown: list[U8] = []
        self.sizes: list[tuple[int, int]] = []
        self.closed = 0

    def open(self, title: str, width: int, height: int) -> None:
        self.sizes.append((width, height))

    def show(self, title: str, image: U8) -> None:
        if self.broken:
            raise cv2.error("display went away")
        self.shown.append(image)

    def poll_key(self) -> int:
        self.open_polls -= 1
        return self.keys.pop(0) if self.keys else -1

    def is_open(self, title: str) -> bool:
        return self.open_polls > 0

    def close(self, title: str) -> None:
        self.closed += 1


class Clicks:
    """Counts what is called back."""

    def __init__(self, gui: FakeGui) -> None:
        self.quits = 0
        self.keys: list[str] = []
        self.sink = WindowSink(on_quit=self._quit, on_key=self.keys.append, gui=gui)

    def _quit(self) -> None:
        self.quits += 1


def test_each_overlay_is_shown_in_one_window() -> None:
    gui = FakeGui()
    clicks = Clicks(gui)
    for index in range(3):
        clicks.sink.write(result_of(index, overlay=np.full((48, 64, 3), index, np.uint8)))
    clicks.sink.close()
    clicks.sink.close()
    assert [int(image[0, 0, 0]) for image in gui.shown] == [0, 1, 2]
    assert (gui.sizes, gui.closed) == ([(64, 48)], 1)


def test_keys_are_passed_on_in_lower_case() -> None:
    clicks = Clicks(FakeGui(keys="hX +"))
    for index in range(5):
        clicks.sink.write(result_of(index))
    assert (clicks.keys, clicks.quits) == (["h", "x", " ", "+"], 0)


@pytest.mark.parametrize("key", ["q", "Q", "\x1b"])
def test_q_and_escape_quit_once(key: str) -> None:
    gui = FakeGui(keys=f" {key}{key}")
    clicks = Clicks(gui)
    for index in range(5):
        clicks.sink.write(result_of(index))
    assert clicks.quits == 1
    assert len(gui.shown) == 2


def test_closing_the_window_quits() -> None:
    clicks = Clicks(FakeGui(open_polls=2))
    for index in range(5):
        clicks.sink.write(result_of(index))
    assert clicks.quits == 1


def test_a_window_that_was_closed_between_two_pictures_is_not_brought_back() -> None:
    gui = FakeGui()
    clicks = Clicks(gui)
    clicks.sink.write(result_of(0))
    gui.open_polls = 0
    clicks.sink.write(result_of(1))
    clicks.sink.write(result_of(2))
    assert (len(gui.shown), clicks.quits) == (1, 1)


def test_keys_work_while_no_frame_comes() -> None:
    clicks = Clicks(FakeGui(keys=" q"))
    clicks.sink.poll()  # no window yet, nothing to ask
    clicks.sink.write(result_of())
    clicks.sink.poll()
    assert clicks.quits == 1


def test_a_large_picture_starts_in_a_smaller_window() -> None:
    gui = FakeGui()
    Clicks(gui).sink.write(result_of(overlay=np.zeros((2160, 3840, 3), np.uint8)))
    assert gui.sizes == [(1600, 900)]


def test_a_display_that_goes_away_is_a_run_error() -> None:
    with pytest.raises(RunError, match="--no-window"):
        Clicks(FakeGui(broken=True)).sink.write(result_of())


def test_no_display_is_known_before_anything_opens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    problem = display_problem()
    assert problem is not None
    assert "--no-window" in str(problem)
    monkeypatch.setenv("DISPLAY", ":987")  # set, but nobody answers there
    assert display_problem() is not None
