"""Cameras, with a capture that stands in for the device."""

from __future__ import annotations

import time

import cv2
import pytest

from bodycast.app.errors import RunError, UsageError
from bodycast.app.sources.camera import open_camera
from bodycast.app.sources.camera_list import list_cameras
from bodycast.app.sources.threaded import ThreadedSource
from tests.sources.clips import FakeCapture


def opened(capture: FakeCapture, **options: object) -> ThreadedSource:
    return open_camera(3, make_capture=lambda index, backend: capture, **options)  # type: ignore[arg-type]


def test_mjpg_is_asked_for_before_size_and_rate() -> None:
    capture = FakeCapture()
    opened(capture, size_wh=(64, 48), fps=30.0).close()
    wanted = (cv2.CAP_PROP_FOURCC, cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FPS)
    order = [prop for prop, _ in capture.asked if prop in wanted]
    assert order == list(wanted)


def test_a_slow_reader_gets_the_newest_frame_and_the_rest_is_counted() -> None:
    source = opened(FakeCapture())
    seen = []
    for frame in source:
        seen.append(frame)
        time.sleep(0.05)
        if len(seen) == 5:
            break
        assert time.monotonic() - frame.time_s < 1.0
    skipped = seen[-1].index + 1 - len(seen)
    assert skipped > 5
    assert source.dropped >= skipped
    source.close()


def test_time_is_the_monotonic_clock_at_the_grab() -> None:
    before = time.monotonic()
    source = opened(FakeCapture())
    frame = next(iter(source))
    assert before <= frame.time_s <= time.monotonic()
    source.close()


def test_a_lost_camera_is_a_run_error_after_the_last_frame() -> None:
    capture = FakeCapture(lost_after=8)
    source = opened(capture)
    with pytest.raises(RunError, match="camera 3 was lost after 8 frames"):
        for _ in source:
            pass
    assert capture.released.wait(1.0)


def test_a_camera_that_falls_silent_is_a_run_error() -> None:
    source = opened(FakeCapture(hang_after=3), silence_limit_s=0.2)
    with pytest.raises(RunError, match="no picture for"):
        for _ in source:
            pass


def test_a_camera_that_hangs_while_opening_is_given_up_and_released() -> None:
    capture = FakeCapture(hang_after=0)
    start = time.monotonic()
    with pytest.raises(UsageError, match="did not respond"):
        opened(capture, open_timeout_s=0.2)
    assert time.monotonic() - start < 2.0


def test_a_device_without_pictures_is_refused() -> None:
    capture = FakeCapture(lost_after=0, interval_s=0.0)
    with pytest.raises(UsageError, match="gives no picture"):
        opened(capture)
    assert capture.released.is_set()


def test_what_the_camera_does_not_offer_is_told() -> None:
    source = opened(FakeCapture(), size_wh=(1280, 720), fps=60.0)
    source.close()
    assert source.warnings == (
        "the camera gives 64x48, not the 1280x720 asked for",
        "the camera runs at 30 frames/s, not the 60 asked for",
    )


def test_a_camera_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(UsageError, match="camera 9876") as caught:
        open_camera(9876)
    for device in list_cameras():
        assert device.name in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.camera
def test_the_first_camera_gives_pictures() -> None:
    source = open_camera(0)
    assert next(iter(source)).image_wh == source.info.image_wh
    source.close()
