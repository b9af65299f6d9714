"""What every sink must do (app/sinks/base.py), on all of them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bodycast.app.errors import RunError, UsageError
from bodycast.app.files.motion_file import read_motion
from bodycast.app.sinks.base import Sink
from bodycast.app.sinks.motion import MotionSink
from bodycast.app.sinks.video import VideoSink
from bodycast.app.sinks.window import WindowSink
from bodycast.app.sources.video_file import open_video_file
from tests.sinks.results import META, disk_of, result_of
from tests.sinks.test_window_sink import FakeGui

Open = Callable[[], Sink]
FILES = {"video": "overlay.mp4", "motion": "motion.npz"}


def count_frames(path: Path) -> int:
    """Frames that an output file holds; raises where it does not open."""
    return read_motion(path).meta.frame_count if path.suffix == ".npz" else len(list(open_video_file(path)))


@pytest.fixture(params=["window", "video", "motion"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture()
def open_under_test(kind: str, tmp_path: Path) -> Open:
    """Makes the sink under test; files go to the test's own folder."""
    if kind == "window":
        return lambda: WindowSink(on_quit=lambda: None, on_key=lambda key: None, gui=FakeGui())
    if kind == "video":
        return lambda: VideoSink(tmp_path / FILES[kind], 30.0)
    return lambda: MotionSink(tmp_path / FILES[kind], META, 30.0)


def test_frames_with_and_without_people_are_taken(open_under_test: Open, kind: str, tmp_path: Path) -> None:
    sink = open_under_test()
    assert sink.name
    for index, people in enumerate([[], [1], [1, 2], []]):
        sink.write(result_of(index, people=people))
    sink.close()
    if kind in FILES:
        assert count_frames(tmp_path / FILES[kind]) == 4


def test_close_may_be_called_twice_and_without_a_frame(open_under_test: Open) -> None:
    sink = open_under_test()
    sink.close()
    sink.close()


def test_it_runs_in_a_thread_of_its_own(open_under_test: Open, kind: str, tmp_path: Path) -> None:
    sink = open_under_test()
    failures: list[Exception] = []

    def run() -> None:
        try:
            for index in range(3):
                sink.write(result_of(index, people=[1]))
            sink.close()
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(10.0)
    assert not thread.is_alive()
    assert failures == []
    if kind in FILES:
        assert count_frames(tmp_path / FILES[kind]) == 3


def test_the_picture_is_not_changed(open_under_test: Open) -> None:
    image = np.random.default_rng(0).integers(0, 255, (47, 63, 3)).astype(np.uint8)
    before = image.copy()
    sink = open_under_test()
    sink.write(result_of(0, people=[1], overlay=image))
    sink.close()
    np.testing.assert_array_equal(image, before)


def test_a_full_disk_is_a_run_error_and_leaves_nothing_strange(
    open_under_test: Open, kind: str, tmp_path: Path
) -> None:
    if kind not in FILES:
        pytest.skip("the window writes no file")
    noise = np.random.default_rng(0).integers(0, 255, (240, 320, 3)).astype(np.uint8)
    sink = open_under_test()

    def write_and_close() -> None:
        for index in range(150):
            sink.write(result_of(index, people=[1], overlay=np.roll(noise, index, axis=0)))
        sink.close()

    with disk_of(60_000), pytest.raises(RunError, match="cannot be written") as caught:
        write_and_close()
    sink.close()
    assert "\n" not in str(caught.value)
    assert {path.name for path in tmp_path.iterdir()} == {FILES[kind]}


def test_nothing_is_replaced_unasked(open_under_test: Open, kind: str, tmp_path: Path) -> None:
    if kind not in FILES:
        pytest.skip("the window writes no file")
    (tmp_path / FILES[kind]).write_text("precious")
    with pytest.raises(UsageError, match="--overwrite"):
        open_under_test()
    assert (tmp_path / FILES[kind]).read_text() == "precious"
