"""When the detector runs, and that it never holds a live frame."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from bodycast.app.records import Detections, Frame
from bodycast.app.tracking.detection_schedule import DetectAtOnce, Detected, DetectInBackground, DetectionSchedule

IMAGE = np.zeros((4, 4, 3), np.uint8)


def times_of(schedule: DetectionSchedule, fps: float, seconds: float, followed: int = 1) -> list[float]:
    asked: list[float] = []
    for index in range(round(fps * seconds)):
        if schedule.due(index / fps, followed, None):
            schedule.started(index / fps)
            asked.append(index / fps)
    return asked


@pytest.mark.parametrize("fps", [24.0, 30.0, 29.97, 60.0])
def test_it_is_due_every_interval_of_frame_time(fps: float) -> None:
    asked = times_of(DetectionSchedule(0.5), fps, 5.0)
    gaps = np.diff(asked)
    assert (gaps >= 0.5 - 1e-4).all()
    assert (gaps <= 0.5 + 1 / fps + 1e-4).all()


def test_exact_intervals_are_not_missed_by_rounding() -> None:
    np.testing.assert_allclose(times_of(DetectionSchedule(0.5), 30.0, 10.0), np.arange(0, 10, 0.5), atol=1e-9)


def test_while_nobody_is_followed_it_runs_more_often_though_not_in_every_frame() -> None:
    asked = times_of(DetectionSchedule(0.5), 30.0, 1.0, followed=0)
    np.testing.assert_allclose(asked, np.arange(0, 1.0, 0.1), atol=1e-9)


def test_it_runs_soon_after_a_loss() -> None:
    schedule = DetectionSchedule(5.0)
    schedule.started(0.0)
    assert not schedule.due(1.0, 2, None)
    assert schedule.due(1.0, 2, 1.0)
    schedule.started(1.1)
    assert not schedule.due(1.3, 2, 1.0)


def test_zero_means_every_frame_and_a_reset_means_now() -> None:
    assert len(times_of(DetectionSchedule(0.0), 30.0, 1.0)) == 30
    schedule = DetectionSchedule(10.0)
    schedule.started(0.0)
    assert not schedule.due(0.5, 1, None)
    schedule.reset()
    assert schedule.due(0.5, 1, None)


def test_time_that_runs_backwards_is_a_new_beginning() -> None:
    schedule = DetectionSchedule(10.0)
    schedule.started(100.0)
    assert schedule.due(0.0, 1, None)


def test_a_negative_interval_is_refused() -> None:
    with pytest.raises(ValueError, match="-1"):
        DetectionSchedule(-1.0)


class Gate:
    """A detector that waits until it is let through."""

    name = "gate"

    def __init__(self) -> None:
        self.open = threading.Event()
        self.closed_in = ""
        self.error: Exception | None = None

    def describe(self) -> str:
        return self.name

    def detect(self, frame: Frame) -> Detections:
        assert self.open.wait(5.0)
        if self.error is not None:
            raise self.error
        return Detections.empty()

    def close(self) -> None:
        self.closed_in = threading.current_thread().name


def wait_for_answer(runner: DetectInBackground) -> Detected:
    deadline_s = time.monotonic() + 5.0
    while (answer := runner.poll()) is None:
        assert time.monotonic() < deadline_s
        time.sleep(0.001)
    return answer


def test_in_the_background_one_frame_at_a_time() -> None:
    gate = Gate()
    runner = DetectInBackground(gate)
    assert runner.submit(Frame(IMAGE, 0, 1.0))
    assert not runner.submit(Frame(IMAGE, 1, 2.0))
    assert runner.poll() is None
    gate.open.set()
    assert wait_for_answer(runner).time_s == 1.0
    assert runner.poll() is None
    assert runner.submit(Frame(IMAGE, 2, 3.0))
    assert wait_for_answer(runner).time_s == 3.0
    runner.close()
    runner.close()
    assert gate.closed_in == "detector"


def test_an_error_in_the_background_reaches_whoever_polls() -> None:
    gate = Gate()
    gate.error = RuntimeError("no weights")
    gate.open.set()
    runner = DetectInBackground(gate)
    runner.submit(Frame(IMAGE, 0, 0.0))
    with pytest.raises(RuntimeError, match="no weights"):
        wait_for_answer(runner)
    runner.close()


def test_closing_while_a_detection_hangs_is_bounded() -> None:
    gate = Gate()
    runner = DetectInBackground(gate, join_s=0.1)
    runner.submit(Frame(IMAGE, 0, 0.0))
    start_s = time.monotonic()
    runner.close()
    assert time.monotonic() - start_s < 2.0
    gate.open.set()


def test_at_once_the_answer_is_there_when_submit_returns() -> None:
    gate = Gate()
    gate.open.set()
    runner = DetectAtOnce(gate)
    assert runner.submit(Frame(IMAGE, 0, 7.0))
    answer = runner.poll()
    assert answer is not None
    assert answer.time_s == 7.0
    assert runner.poll() is None
    runner.close()
    assert gate.closed_in == threading.current_thread().name
