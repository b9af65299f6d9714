"""What every source must do (app/sources/base.py), on all of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import islice, pairwise
from pathlib import Path

import cv2
import pytest

from bodycast.app.sources.array_source import open_array_source
from bodycast.app.sources.base import Source
from bodycast.app.sources.camera import open_camera
from bodycast.app.sources.image_folder import open_images
from bodycast.app.sources.stream import StreamTimeouts, open_stream
from bodycast.app.sources.video_file import open_video_file
from tests.sources.clips import FakeCapture, encode, grey, send_jpegs, serve

FRAMES = 12
Open = Callable[[], Source]


@pytest.fixture(params=["video", "images", "array", "array live", "camera", "stream"])
def open_under_test(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Opens the source under test: FRAMES frames, or endless where it is live."""
    images = [grey(8 * index) for index in range(FRAMES)]
    endless = (grey(index % 256) for index in range(10**6))
    with ExitStack() as stack:
        kind = str(request.param)
        if kind == "video":
            path = encode(tmp_path / "film.mp4", images)
            yield lambda: open_video_file(path)
        elif kind == "images":
            for index, image in enumerate(images):
                cv2.imwrite(str(tmp_path / f"{index}.png"), image)
            yield lambda: open_images(tmp_path, 30.0)
        elif kind == "array":
            yield lambda: open_array_source(images)
        elif kind == "array live":
            yield lambda: open_array_source(endless, fps=200.0, live=True)
        elif kind == "camera":
            yield lambda: open_camera(0, make_capture=lambda index, backend: FakeCapture())
        else:
            url = stack.enter_context(serve(lambda handler, _: send_jpegs(handler, 1000, 0.005)))
            yield lambda: open_stream(url, StreamTimeouts(open_s=3.0, stall_s=0.5, give_up_s=1.0))


def test_the_facts_are_known_once_it_is_open(open_under_test: Open) -> None:
    source = open_under_test()
    assert source.info.name
    assert source.info.image_wh == (64, 48)
    assert source.info.frame_count == (None if source.info.live else FRAMES)
    source.close()


def test_frames_come_in_order_with_times_that_increase(open_under_test: Open) -> None:
    source = open_under_test()
    frames = list(islice(source, FRAMES))
    source.close()
    assert len(frames) == FRAMES
    assert all(frame.image_wh == source.info.image_wh for frame in frames)
    for before, after in pairwise(frames):
        assert after.index > before.index
        assert after.time_s > before.time_s


def test_a_slow_reader_loses_frames_of_live_sources_only(open_under_test: Open) -> None:
    source = open_under_test()
    indices: list[int] = []
    for frame in islice(source, 6):
        indices.append(frame.index)
        time.sleep(0.03)
    dropped = source.dropped
    source.close()
    if source.info.live:
        assert dropped >= indices[-1] + 1 - len(indices) > 0
    else:
        assert indices == list(range(6))
        assert dropped == 0


def test_it_ends_by_itself_or_goes_on_for_ever(open_under_test: Open) -> None:
    source = open_under_test()
    if not source.info.live:
        assert len(list(source)) == FRAMES
        assert list(source) == []
    source.close()


def test_close_may_be_called_twice_and_ends_the_iteration(open_under_test: Open) -> None:
    source = open_under_test()
    frames = iter(source)
    next(frames)
    source.close()
    source.close()
    assert list(frames) == []


def test_close_from_another_thread_frees_the_reader(open_under_test: Open) -> None:
    source = open_under_test()
    done = threading.Event()

    def read() -> None:
        for _ in source:
            time.sleep(0.001)
        done.set()

    threading.Thread(target=read, daemon=True).start()
    time.sleep(0.05)
    start = time.monotonic()
    source.close()
    assert done.wait(2.0)
    assert time.monotonic() - start < 2.5


def test_close_does_not_wait_for_a_reader_that_never_came(open_under_test: Open) -> None:
    source = open_under_test()
    time.sleep(0.1)  # the grab thread has filled its queue and waits, or drops
    start = time.monotonic()
    source.close()
    assert time.monotonic() - start < 1.5
    assert not any(thread.name == f"source {source.info.name}" for thread in threading.enumerate())


def test_errors_of_the_grab_thread_reach_the_reader() -> None:
    for live in (False, True):
        source = open_array_source([grey(0)] * 10, fps=100.0, live=live, fail_at=4, error=lambda: OSError("burst"))
        seen = []
        with pytest.raises(OSError, match="burst"):
            for frame in source:
                seen.append(frame.index)
        assert seen[-1] == 3
        source.close()


def test_a_file_source_reads_no_further_ahead_than_its_queue() -> None:
    made: list[int] = []

    def images() -> Iterator[object]:
        for index in range(1000):
            made.append(index)
            yield grey(0)

    source = open_array_source(images())  # type: ignore[arg-type]
    time.sleep(0.1)
    assert len(made) <= 6
    next(iter(source))
    time.sleep(0.05)
    assert len(made) <= 7
    source.close()
